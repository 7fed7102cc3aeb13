"""HTTP/2 for OTLP/gRPC: h2 speaks the protocol; here a peer's cost is bounded before it is paid.

A stream's bytes are charged to the budget as they arrive, and the peer may send more only as they are consumed (flow
control): memory is known at any moment, which grpc.aio, with whole messages held before a handler runs, cannot say
(docs/adr, "Own gRPC server").
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError, H2Error, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

from otel_ingest.budget import Budget
from otel_ingest.connections import TransportServer
from otel_ingest.http2_answer import whole_answer
from otel_ingest.http2_headers import BlockDecoder, BlockEncoder, Headers, Heads
from otel_ingest.http2_stream import Stream
from otel_ingest.request import UNREAD_TIMEOUT_S, PeerGoneError

_log = structlog.get_logger(__name__)

# What a peer may have under way: bytes of one request and of one connection that were not consumed yet.
_STREAM_WINDOW_BYTES = 1024 * 1024
_CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024
_DEFAULT_WINDOW_BYTES = 65_535
# Of a connection's window what may stay shut although it was consumed: a frame and a write for each call cost more.
_OWED_BYTES_MAX = _CONNECTION_WINDOW_BYTES // 4
# Four times the least: a large body in a quarter of the frames; it waits in memory until it is whole.
_FRAME_BYTES_MAX = 64 * 1024
_FRAME_HEADER_BYTES = 9
_STREAMS_MAX = 128
# gRPC's own soft limit is 8 KiB; a token and what proxies add fit well.
_HEADER_BYTES_MAX = 16 * 1024
# Answers are 4 KiB at most: a peer that lets this many wait does not read them.
_UNREAD_BYTES_MAX = 256 * 1024
# Until the first frame; then a connection without a call is closed after the other one.
_PREFACE_TIMEOUT_S = 10.0
_IDLE_TIMEOUT_S = 600.0
# Opening and cancelling calls costs a peer nothing (CVE-2023-44487): cancelled ones beyond the answered ones.
_RESETS_MAX = 200
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    # Checked by ``Heads``, once for all calls that have the same.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    # gRPC's own rules are checked by the handler; ours are right by construction.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
# h2 makes a text of each frame for its log, also where that is off: of DATA with copies and all of it in hex digits,
# which takes two thirds of what a call of 512 records costs in h2.
Frame.__repr__ = object.__repr__  # type: ignore[method-assign]


class Connection(asyncio.Protocol):
    """One peer."""

    def __init__(
        self, server: TransportServer, budget: Budget, serve: Callable[[Stream], Coroutine[Any, Any, None]]
    ) -> None:
        self._server = server
        self._budget = budget
        self._serve_one = serve
        self._transport: asyncio.Transport
        self._h2 = H2Connection(_CONFIG)
        self._h2.decoder, self._h2.encoder = BlockDecoder(_HEADER_BYTES_MAX), BlockEncoder()
        self._heads = Heads()
        self._streams: dict[int, Stream] = {}
        self._last_id = self._answered = self._resets = self._owed_bytes = 0
        self._greeted = self._draining = False
        self._active_at = time.monotonic()
        self._unread_since: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._streams

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer, or close: there are too many."""
        self._transport = transport  # type: ignore[assignment]
        if not self._server.admit(self):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_UNREAD_BYTES_MAX)
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: _STREAMS_MAX,
                SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW_BYTES,
                SettingCodes.MAX_FRAME_SIZE: _FRAME_BYTES_MAX,
                SettingCodes.MAX_HEADER_LIST_SIZE: _HEADER_BYTES_MAX,
            },
        )
        self._h2.max_inbound_frame_size = _FRAME_BYTES_MAX
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what came; close on what breaks the protocol, or abuses it."""
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
            # h2 looks at the length of a frame only once all of it is there: up to 16 MiB that nobody counted.
            if len(self._h2.incoming_buffer._data) > _FRAME_BYTES_MAX + _FRAME_HEADER_BYTES:  # noqa: SLF001
                self._h2.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
                raise FrameTooLargeError
        except (H2Error, RecursionError) as error:
            # h2 has made the GOAWAY that says so; RecursionError: thousands of unknown frames in one read.
            _log.debug("an HTTP/2 peer broke the protocol", reason=repr(error))
            self._flush()
            self._transport.close()
            return
        if self._resets > _RESETS_MAX + self._answered:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
            self._transport.close()
            return
        self._flush()

    def eof_received(self) -> None:
        """Close: a peer that ends its side of HTTP/2 has ended the connection."""

    def pause_writing(self) -> None:
        """Take nothing more from a peer that does not read: its answers can only become more."""
        self._unread_since = time.monotonic()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on: it has read."""
        self._unread_since = None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End the calls under way: nobody is there to be answered."""
        self._server.leave(self)
        for stream in list(self._streams.values()):
            stream.fail(PeerGoneError())

    # What streams call.

    def consumed(self, stream_id: int, flow: int, *, ended: bool) -> None:
        """See ``Link``."""
        if not flow or self._transport.is_closing():
            return
        try:
            if ended:
                # Small calls come by the thousand: the connection's window is opened again for many of them at once.
                self._owed_bytes += flow
                if self._owed_bytes < _OWED_BYTES_MAX:
                    return
                self._h2.increment_flow_control_window(self._owed_bytes)
                self._owed_bytes = 0
            else:
                self._h2.acknowledge_received_data(flow, stream_id)
        except H2Error:
            return
        self._flush()

    def window(self, stream_id: int) -> int:
        """See ``Link``."""
        try:
            return self._h2.local_flow_control_window(stream_id)
        except H2Error as error:
            raise PeerGoneError from error

    def answer(self, stream_id: int, headers: Headers, body: bytes, trailers: Headers, *, reset: bool) -> None:
        """See ``Link``."""
        if self._transport.is_closing():
            raise PeerGoneError
        try:
            frames = whole_answer(self._h2, stream_id, headers, body, trailers) if body else None
            if frames is None:
                self._have_answered(stream_id, headers, body, trailers, reset=reset)
        except H2Error as error:
            raise PeerGoneError from error
        self._answered += 1
        self._flush(frames or b"")

    def _have_answered(self, stream_id: int, headers: Headers, body: bytes, trailers: Headers, *, reset: bool) -> None:
        """Have h2 write an answer, frame by frame. Raises H2Error."""
        self._h2.send_headers(stream_id, headers, end_stream=not body)
        if body:
            self._h2.send_data(stream_id, body)
            self._h2.send_headers(stream_id, trailers, end_stream=True)
        if reset:
            self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    # What the server calls.

    def drain(self) -> None:
        """Take no new call, finish those under way, close."""
        self._draining = True
        if self.is_idle:
            self._transport.close()
            return
        # h2 would refuse to answer after a GOAWAY of its own.
        self._transport.write(GoAwayFrame(0, last_stream_id=self._last_id).serialize())

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Close what is silent: no first frame, no call for long, answers that nobody reads."""
        if self._unread_since is not None and now - self._unread_since > UNREAD_TIMEOUT_S:
            self._transport.abort()
        elif self.is_idle and now - self._active_at > (_IDLE_TIMEOUT_S if self._greeted else _PREFACE_TIMEOUT_S):
            self._transport.write(GoAwayFrame(0, last_stream_id=self._last_id).serialize())
            self._transport.close()

    def _handle(self, event: events.Event) -> None:
        if isinstance(event, events.DataReceived):
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.feed(event.data, event.flow_controlled_length)
            else:
                self.consumed(event.stream_id, event.flow_controlled_length, ended=True)
        elif isinstance(event, events.StreamEnded):
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.end()
        elif isinstance(event, events.RequestReceived):
            self._open(event.stream_id, event.headers)
        elif isinstance(event, events.StreamReset):
            self._resets += 1
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.fail(PeerGoneError())
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            self._greeted = True
            for stream in self._streams.values():
                stream.wake()

    def _open(self, stream_id: int, headers: Headers) -> None:
        if self._draining:
            # Beyond the last one that GOAWAY named: its sender takes it elsewhere.
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._last_id = stream_id
        try:
            head = self._heads.checked(headers)
        except ProtocolError:
            self._resets += 1
            self._reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        stream = Stream(self, stream_id, head, self._budget.lease())
        self._streams[stream_id] = stream
        stream.task = asyncio.create_task(self._serve(stream_id, stream))

    async def _serve(self, stream_id: int, stream: Stream) -> None:
        try:
            await self._serve_one(stream)
        except (PeerGoneError, TimeoutError):
            self._reset(stream_id, ErrorCodes.CANCEL)
        finally:
            stream.fail(PeerGoneError())
            stream.lease.release()
            del self._streams[stream_id]
            self._active_at = time.monotonic()
            if self._draining and self.is_idle:
                self._transport.close()

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        """End a stream; its peer may have ended it already, in the same bytes that opened it."""
        with contextlib.suppress(ProtocolError):
            self._h2.reset_stream(stream_id, code)
        self._flush()

    def _flush(self, more: bytes = b"") -> None:
        data = self._h2.data_to_send() + more
        if data and not self._transport.is_closing():
            self._transport.write(data)
