"""Who looks: sessions of browsers. A token is exchanged once for a random cookie; it never comes back from a browser.

A session lives in this process alone: logging out ends it here and not just in the browser, a restart asks to log in
again. Its tokens are checked with each request, so that a revoked one ends what it opened at once.
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from starlette.requests import Request
from starlette.responses import Response

from storage.tokens import Token, allows

IDLE_S = 12 * 3600
"""Seconds a session lives without a request: a working day."""
SESSIONS_MAX = 1_000
"""Sessions in memory, some 500 bytes each; the one that was idle for longest goes first."""

VerifyToken = Callable[[str], Awaitable[Token | None]]


@dataclass(slots=True)
class Session:
    """One browser: a token for each role it showed, and what its forms prove themselves with."""

    csrf: str
    until: float
    tokens: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: the valid tokens of a request, and its session (None: it came with a bearer token)."""

    tokens: tuple[Token, ...]
    session: Session | None

    def token_for(self, role: str) -> Token | None:
        """Return the token that allows what needs ``role``."""
        return next((t for t in self.tokens if allows(t.role, role)), None)

    def may(self, role: str) -> bool:
        """Whether this visitor may do what needs ``role``."""
        return self.token_for(role) is not None

    @property
    def roles(self) -> str:
        """The roles of its tokens, in words."""
        return ", ".join(dict.fromkeys(t.role for t in self.tokens))


class Sessions:
    """The sessions of one process."""

    def __init__(self, verify: VerifyToken, cookie: str, *, secure: bool) -> None:
        """``cookie``: its name, one a server, as browsers do not keep ports apart; ``secure``: over TLS alone."""
        self._verify = verify
        self._secure = secure
        self._cookie = f"__Host-{cookie}" if secure else cookie
        self._open: OrderedDict[str, Session] = OrderedDict()

    async def visitor(self, request: Request) -> Visitor | None:
        """Return who asks; None: nobody we know. Raises StoreError: it cannot be told now."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            token = await self._verify(text.strip())
            return Visitor((token,), None) if token is not None else None
        key = request.cookies.get(self._cookie, "")
        session = self._open.get(key)
        if session is None:
            return None
        found = {role: await self._verify(text) for role, text in session.tokens.items()}
        for role, token in found.items():
            if token is None:
                session.tokens.pop(role, None)
        if not session.tokens or session.until < monotonic():
            self._open.pop(key, None)
            return None
        session.until = monotonic() + IDLE_S
        self._open.move_to_end(key)
        return Visitor(tuple(t for t in found.values() if t is not None), session)

    async def enter(self, request: Request, text: str) -> str | None:
        """Add a token to the session of a browser, or open one; return the cookie's value, None: no such token.

        The value is a new one each time: whoever knew the old one is out. Raises StoreError.
        """
        token = await self._verify(text.strip())
        if token is None:
            return None
        old = self._open.pop(request.cookies.get(self._cookie, ""), None)
        known = old.tokens if old is not None and old.until > monotonic() else {}
        key = secrets.token_urlsafe(32)
        session = Session(secrets.token_urlsafe(24), monotonic() + IDLE_S, known | {token.role: text.strip()})
        self._open[key] = session
        while len(self._open) > SESSIONS_MAX:
            self._open.popitem(last=False)
        return key

    def leave(self, request: Request) -> None:
        """End the session of a browser."""
        self._open.pop(request.cookies.get(self._cookie, ""), None)

    def set_cookie(self, response: Response, key: str) -> None:
        """Give the browser its cookie. Lax: a link that a colleague sent must open; every change is a POST."""
        response.set_cookie(
            self._cookie, key, max_age=IDLE_S, httponly=True, samesite="lax", secure=self._secure, path="/"
        )

    def drop_cookie(self, response: Response) -> None:
        """Take it away."""
        response.delete_cookie(self._cookie, httponly=True, samesite="lax", secure=self._secure, path="/")
