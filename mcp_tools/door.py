"""What the doors for other tools share: a read token first, and errors in the words of each door."""

from collections.abc import Awaitable, Callable

import structlog
from starlette.requests import Request
from starlette.responses import Response

from mcp_tools.errors import UserInputError
from mcp_tools.store_away import RETRY_S
from storage.errors import PermanentStoreError, QueryTimeout, StoreError
from storage.tokens import Token, allows

_log = structlog.get_logger(__name__)

Verify = Callable[[str], Awaitable[Token | None]]
Endpoint = Callable[[Request], Awaitable[Response]]
Say = Callable[[int, str], Response]
"""(HTTP status, sentence) -> the answer as this door gives it."""


class DoorError(Exception):
    """A question that gets ``status`` and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def bearer(header: str | None) -> str:
    """Return the token of an Authorization header, empty where there is none."""
    scheme, _, text = (header or "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def guarded(verify: Verify, say: Say, endpoint: Endpoint) -> Endpoint:
    """Return ``endpoint`` behind a token with the role read; what it raises becomes an answer of ``say``."""

    async def answer(request: Request) -> Response:
        try:
            refusal = await refused(verify, request.headers.get("authorization"))
            response = say(*refusal) if refusal else await endpoint(request)
        except DoorError as error:
            response = say(error.status, str(error))
        except UserInputError as error:
            response = say(400, str(error).partition(": ")[2])
        except QueryTimeout as error:
            response = say(504, str(error))
        except PermanentStoreError as error:
            response = say(400, str(error))
        except StoreError as error:
            response = say(503, str(error))
        except Exception:  # noqa: BLE001 - the top of a request: logged, and answered without its text
            _log.exception("unexpected error", path=request.url.path)
            response = say(500, "an unexpected error in the server; it is in the server's log")
        response.headers["Cache-Control"] = "no-store"
        if response.status_code == 401:  # noqa: PLR2004
            response.headers["WWW-Authenticate"] = 'Bearer realm="otel-ingest"'
        if response.status_code == 503:  # noqa: PLR2004
            response.headers["Retry-After"] = str(RETRY_S)
        return response

    return answer


async def refused(verify: Verify, header: str | None) -> tuple[int, str] | None:
    """Return why a caller may not read, None where it may. Raises StoreError: tokens cannot be checked now."""
    text = bearer(header)
    token = await verify(text) if text else None
    if token is None:
        return 401, "send Authorization: Bearer TOKEN with a read token"
    if not allows(token.role, "read"):
        return 403, f"this needs a token with the role read; yours has {token.role}"
    return None
