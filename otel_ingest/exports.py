"""Step 1, what both transports do with a request: token, body, one call, answer. Thin."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from otel_ingest import errors
from otel_ingest.ingest import BATCH_ID_HEADER, Ingest
from otel_ingest.levels import ConfigurationHash
from otel_ingest.request import PeerGoneError, Request
from otel_ingest.signals import Signal
from otel_ingest.wire import Encoding
from otel_ingest.wire.status import encode_response

Authorize = Callable[[str | None], Awaitable[None]]
"""Takes the Authorization header; raises Unauthenticated or PermissionDenied, or StoreUnavailable."""

_BATCH_ID = BATCH_ID_HEADER.encode()


class Call(Protocol):
    """One request in the words of its transport."""

    transport: str

    @property
    def request(self) -> Request:
        """What came."""

    def signal(self) -> Signal:
        """Return what it exports. Raises RequestError: it exports nothing."""

    def encoding(self) -> Encoding:
        """Return what its body is encoded in. Raises UnsupportedEncoding."""

    async def body(self) -> bytes:
        """Return its body, decompressed, charged and held to its limits while it arrives.

        Raises RequestError, TransientError, PeerGoneError.
        """

    async def answer(self, body: bytes, configuration: str | None) -> None:
        """Answer that it is durable; ``configuration``: the hash of the levels that its component has, if any."""

    async def fail(self, error: errors.IngestError) -> None:
        """Answer that it is not."""


class Exports:
    """Serves calls."""

    def __init__(self, ingest: Ingest, authorize: Authorize, configuration_hash: ConfigurationHash) -> None:
        self._ingest = ingest
        self._authorize = authorize
        self._configuration_hash = configuration_hash

    async def serve(self, call: Call) -> None:
        """Answer a call, whatever happens. Raises PeerGoneError: nobody is there to be answered."""
        signal: Signal | None = None
        reading = True
        text = call.request.text
        try:
            signal = call.signal()
            await self._authorize(text(b"authorization"))
            encoding = call.encoding()
            body = await call.body()
            reading = False
            batch_id = text(_BATCH_ID) or ""
            result = await self._ingest.export(signal, body, encoding, call.transport, call.request.lease, batch_id)
        except errors.IngestError as error:
            if reading and signal is not None:
                self._ingest.turned_away(signal, call.transport, error)
            await call.fail(error)
        except PeerGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours is told as one, and its sender tries again
            await call.fail(self._ingest.unexpected(signal, call.transport, error))
        else:
            answer = encode_response(signal, encoding, result.rejected, result.message)
            await call.answer(answer, self._configuration_hash(result.component))
