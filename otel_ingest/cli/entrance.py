"""Who is let in: the check of exports."""

from collections.abc import Awaitable, Callable

from otel_ingest.errors import PermissionDenied, StoreUnavailable, Unauthenticated
from storage import tokens
from storage.errors import StoreError
from storage.tokens import Token

Verify = Callable[[str], Awaitable[Token | None]]


def authorizer(verify: Verify, *, needed: bool) -> Callable[[str | None], Awaitable[None]]:
    """Return the check of exports: nothing on loopback by default; elsewhere a token with the ingest role.

    An unknown, an expired and a revoked token are one answer; no answer repeats what was sent.
    """

    async def authorize(header: str | None) -> None:
        if not needed:
            return
        scheme, _, text = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise Unauthenticated("exports to this server need Authorization: Bearer TOKEN, role ingest")
        try:
            token = await verify(text.strip())
        except StoreError as error:
            raise StoreUnavailable(f"the token cannot be checked now: {error}") from error
        if token is None:
            raise Unauthenticated("the token is unknown, expired or revoked")
        if not tokens.allows(token.role, "ingest"):
            raise PermissionDenied(f"exports need a token with the role ingest; this one has {token.role}")

    return authorize
