"""A client that goes away takes its question along: PostgreSQL does not work on for nobody."""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Parts of a body that wait for the application; past it the client's going away is seen once it reads on.
_WAITING_MAX = 16


class UntilGone:
    """Middleware that cancels what answers a request once its client is gone; psycopg then cancels the statement.

    Not for /mcp, which does so itself: at once since 2026-07-28; before, a closed stream may be taken up again, and a
    client says ``notifications/cancelled``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http" or scope["path"].startswith("/mcp"):
            await self._app(scope, receive, send)
            return
        arrived: asyncio.Queue[Message] = asyncio.Queue(_WAITING_MAX)
        answering = asyncio.ensure_future(self._app(scope, arrived.get, send))
        watching = asyncio.create_task(_watch(receive, arrived, answering))
        try:
            await answering
        except asyncio.CancelledError:
            # The watcher ended it: nobody is there to be answered. Otherwise the server ends us.
            if not (watching.done() and not watching.cancelled()):
                answering.cancel()
                raise
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def _watch(receive: Receive, arrived: "asyncio.Queue[Message]", answering: "asyncio.Future[None]") -> None:
    """Pass on what arrives until the client is gone; cancel then."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            answering.cancel()
            return
        await arrived.put(message)
