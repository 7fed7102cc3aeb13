"""The tokens of X-Trace-Log (docs/x-trace-log.md): made and checked, nothing else."""

import base64
import hashlib
import hmac

LIFE_MAX_S = 24 * 3600  # a token that holds longer is none: it would be copied into scripts and stay


def _signature(secret: bytes, expires: str) -> str:
    digest = hmac.new(secret, f"otel-ingest x-trace-log v1.{expires}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def make(secret: bytes, expires: int) -> str:
    """Return a token that holds until ``expires`` (Unix seconds)."""
    return f"v1.{expires}.{_signature(secret, str(expires))}"


def valid(token: str, secret: bytes, now: float) -> bool:
    """Return whether a token is signed with ``secret`` and holds at ``now``."""
    version, _, rest = token.partition(".")
    expires, _, signature = rest.partition(".")
    if version != "v1" or not secret or not (expires.isascii() and expires.isdigit()) or len(expires) > 12:  # noqa: PLR2004
        return False
    signed = hmac.compare_digest(signature.encode("utf-8", "replace"), _signature(secret, expires).encode())
    return signed and now <= int(expires) <= now + LIFE_MAX_S
