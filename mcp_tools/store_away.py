"""What a door answers while tokens cannot be checked: 503 and when to try again; never 401, "log in again"."""

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from storage.errors import StoreError

RETRY_S = 1


class StoreAway:
    """Middleware that answers 503 where the store was needed before anything was answered, and is away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        try:
            await self._app(scope, receive, send)
        except StoreError as error:
            await answer(error)(scope, receive, send)


def answer(error: StoreError) -> Response:
    """Return the answer to a request whose token cannot be checked now."""
    return PlainTextResponse(
        f"tokens cannot be checked now: {error}\n",
        503,
        {"Retry-After": str(RETRY_S), "Cache-Control": "no-store"},
    )
