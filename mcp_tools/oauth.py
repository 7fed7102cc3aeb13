"""OAuth 2.1 access tokens (RFC 9068) of one configured issuer, beside the tokens of the store: a JWT becomes a Token.

What a token may do is what its scopes are mapped to. Signatures are asymmetric alone: ``none`` and HMAC are refused by
name, before any key is looked for, and each key serves one algorithm: the one it says, else the first of its kind
(RS256, or that of its curve).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
import structlog

from mcp_tools.keys import IssuerKeys
from storage.tokens import ROLES, Token

_log = structlog.get_logger(__name__)

VerifyToken = Callable[[str], Awaitable[Token | None]]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
CLOCK_SKEW_S = 30
TOKEN_BYTES_MAX = 16 * 1024
_TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt"})
_RS256_BITS_MIN = 2048
_DOTS = 2
OAUTH_ID = 0
"""Id of a Token that is not in the store; those of the store begin at 1."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """An issuer of access tokens for this server."""

    issuer: str
    """As the claim ``iss`` has it, to the letter."""
    resource: str
    """This server as clients know it, https://host/mcp: the claim ``aud`` must hold it."""
    scopes: Mapping[str, str]
    """Scope -> role; other scopes count for nothing."""
    jwks_url: str | None = None


class AccessTokens:
    """Checks access tokens of an issuer; everything else is ``otherwise``'s to check."""

    def __init__(self, oauth: OAuth, otherwise: VerifyToken) -> None:
        self._oauth = oauth
        self._otherwise = otherwise
        self._keys = IssuerKeys(oauth.issuer, oauth.jwks_url)

    async def verify(self, text: str) -> Token | None:
        """Return who a token is of and what it may do, or None. Raises StoreError: it cannot be told now."""
        if text.count(".") != _DOTS:
            return await self._otherwise(text)
        try:
            return self._token(await self._claims(text))
        except jwt.PyJWTError as error:
            # Why, for who runs the server; whoever sent it is told 401. No word of the token itself.
            _log.info("an access token was refused", reason=f"{type(error).__name__}: {str(error)[:200]}")
            return None

    async def _claims(self, text: str) -> dict[str, Any]:
        """Return the claims of a token that is valid. Raises jwt.PyJWTError, StoreError."""
        if len(text) > TOKEN_BYTES_MAX:
            raise jwt.InvalidTokenError(f"longer than {TOKEN_BYTES_MAX} bytes")
        header = jwt.get_unverified_header(text)
        if header.get("alg") not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError("an algorithm that is not taken")
        if str(header.get("typ", "jwt")).lower() not in _TYPES:
            raise jwt.InvalidTokenError("not an access token by its typ")
        identifier = header.get("kid")
        key = await self._keys.key(identifier) if isinstance(identifier, str) and identifier else None
        if key is None:
            raise jwt.InvalidKeyError("it names no key of the issuer")
        if getattr(key.key, "key_size", _RS256_BITS_MIN) < _RS256_BITS_MIN and key.key_type == "RSA":
            raise jwt.InvalidKeyError("the issuer's RSA key is too short")
        return jwt.decode(
            text,
            key,
            algorithms=list(ALGORITHMS),
            audience=[self._oauth.resource, self._oauth.resource.rstrip("/"), f"{self._oauth.resource}/"],
            issuer=self._oauth.issuer,
            leeway=CLOCK_SKEW_S,
            options={"require": ["iss", "aud", "exp", "sub"]},
        )

    def _token(self, claims: Mapping[str, Any]) -> Token:
        given = claims.get("scope", claims.get("scp", ""))
        scopes = given.split() if isinstance(given, str) else [s for s in given if isinstance(s, str)]
        roles = {self._oauth.scopes[scope] for scope in scopes if scope in self._oauth.scopes}
        return Token(
            id=OAUTH_ID,
            name=f"{claims['sub']} of {self._oauth.issuer}",
            role="admin" if "admin" in roles else "+".join(role for role in ROLES if role in roles),
            created_at=datetime.fromtimestamp(int(claims.get("iat", 0)), UTC),
            expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
            revoked_at=None,
            last_used_at=None,
        )


def metadata(oauth: OAuth) -> dict[str, Any]:
    """PURE: return the protected resource's metadata (RFC 9728)."""
    return {
        "resource": oauth.resource,
        "authorization_servers": [oauth.issuer],
        "scopes_supported": list(oauth.scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": "otel-ingest",
    }
