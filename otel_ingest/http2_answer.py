"""The usual answer of HTTP/2: HEADERS, DATA and trailers in one piece, as h2 would write them, in a part of its time.

h2 makes an object of each frame and checks it against rules that what is written here meets by construction. It stays
the one who knows the connection: its state machines take each step, its windows and its header table are used.
"""

import struct

from h2.connection import ConnectionInputs, H2Connection
from h2.stream import StreamInputs, StreamState

from otel_ingest.http2_headers import Headers

# RFC 9113, 4.1: length (24 bits), type, flags, stream. A frame of this length is taken by every peer (4.2).
_HEADER = struct.Struct(">HBBBI")
_FRAME_BYTES_LEAST = 16_384
_DATA, _HEADERS = 0, 1
_END_STREAM, _END_HEADERS = 1, 4


def whole_answer(h2: H2Connection, stream_id: int, headers: Headers, body: bytes, trailers: Headers) -> bytes | None:
    """Return the frames of an answer that ends its stream; h2 takes it for sent.

    None, and nothing has happened, where h2 must write it: the request has not ended, or ``body`` does not fit into
    one frame and the peer's windows. ``headers`` and ``trailers`` are short: some hundred bytes.
    Raises h2.exceptions.ProtocolError where nothing may be sent any more.
    """
    stream = h2.streams.get(stream_id)
    size = len(body)
    if stream is None or stream.state_machine.state is not StreamState.HALF_CLOSED_REMOTE:
        return None
    if size > min(_FRAME_BYTES_LEAST, stream.outbound_flow_control_window, h2.outbound_flow_control_window):
        return None
    h2.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
    for step in (StreamInputs.SEND_HEADERS, StreamInputs.SEND_HEADERS, StreamInputs.SEND_END_STREAM):
        stream.state_machine.process_input(step)
    stream.outbound_flow_control_window -= size
    h2.outbound_flow_control_window -= size
    head, tail = h2.encoder.encode(headers), h2.encoder.encode(trailers)
    return b"".join(
        (
            _header(_HEADERS, _END_HEADERS, stream_id, head),
            head,
            _header(_DATA, 0, stream_id, body),
            body,
            _header(_HEADERS, _END_HEADERS | _END_STREAM, stream_id, tail),
            tail,
        )
    )


def _header(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id)
