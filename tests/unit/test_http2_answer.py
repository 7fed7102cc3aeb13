"""An answer in one piece beside h2's own: the same bytes, and h2 knows the same afterwards."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import RstStreamFrame, WindowUpdateFrame

from otel_ingest.http2_answer import whole_answer

HEADERS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS = ((b"grpc-status", b"0"), (b"x-otel-ingest-config", b"0123456789abcdef"))
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "x")]


class Pair:
    """A client of h2, and two servers that were told the same: h2 alone, and one that answers in one piece."""

    def __init__(self, **settings: int) -> None:
        self.client = H2Connection(H2Configuration())
        self.plain, self.quick = (H2Connection(H2Configuration(client_side=False)) for _ in range(2))
        self.client.initiate_connection()
        self.client.update_settings({SettingCodes[name.upper()]: value for name, value in settings.items()})
        self.tell()

    def tell(self, data: bytes = b"") -> None:
        """Give both servers what the client has to say, and ``data``."""
        data = self.client.data_to_send() + data
        for server in (self.plain, self.quick):
            server.receive_data(data)
            server.clear_outbound_data_buffer()

    def call(self, *, ended: bool = True) -> int:
        """Let the client make a call; return its stream."""
        stream = int(self.client.get_next_available_stream_id())
        self.client.send_headers(stream, REQUEST)
        self.client.send_data(stream, b"request", end_stream=ended)
        self.tell()
        return stream

    def answered(self, stream: int, body: bytes) -> bytes:
        """Return what h2 writes."""
        self.plain.send_headers(stream, HEADERS)
        self.plain.send_data(stream, body)
        self.plain.send_headers(stream, TRAILERS, end_stream=True)
        return self.plain.data_to_send()


@pytest.mark.parametrize("size", [1, 5, 4_096, 16_384])
def test_the_bytes_are_those_of_h2(size: int) -> None:
    """Of several calls on one connection, so with a header table that fills; windows shrink alike."""
    pair = Pair()
    for _ in range(3):
        stream, body = pair.call(), b"x" * size

        frames = whole_answer(pair.quick, stream, HEADERS, body, TRAILERS)

        assert frames == pair.answered(stream, body)
        assert pair.client.receive_data(frames)
        assert pair.quick.outbound_flow_control_window == pair.plain.outbound_flow_control_window
    assert pair.quick.open_inbound_streams == pair.plain.open_inbound_streams == 0


def test_what_comes_late_is_taken_as_after_an_answer_of_h2() -> None:
    """A window or a reset of a stream that has ended, before and after h2 has forgotten it."""
    pair = Pair()
    first, second = pair.call(), pair.call()
    for stream in (first, second):
        whole_answer(pair.quick, stream, HEADERS, b"body", TRAILERS)
        pair.answered(stream, b"body")
    for late in (WindowUpdateFrame(first, window_increment=5), RstStreamFrame(first, error_code=8)) * 2:
        events = [server.receive_data(late.serialize()) for server in (pair.plain, pair.quick)]
        assert list(map(repr, events[0])) == list(map(repr, events[1]))
        assert pair.plain.data_to_send() == pair.quick.data_to_send()
        pair.tell(WindowUpdateFrame(0, window_increment=5).serialize())
        assert pair.quick.open_inbound_streams == 0


@pytest.mark.parametrize("settings", [{}, {"initial_window_size": 10}])
def test_what_does_not_fit_is_left_to_h2(settings: dict[str, int]) -> None:
    """A body past the least frame, or past the window of its stream; nothing has happened then."""
    pair = Pair(**settings)
    stream = pair.call()

    assert whole_answer(pair.quick, stream, HEADERS, b"x" * (11 if settings else 16_385), TRAILERS) is None
    assert pair.quick.outbound_flow_control_window == pair.plain.outbound_flow_control_window
    assert whole_answer(pair.quick, stream, HEADERS, b"x" * 10, TRAILERS) == pair.answered(stream, b"x" * 10)


def test_the_window_of_the_connection_bounds_too() -> None:
    """65,535 bytes until the peer opens it: the fourth answer of 16 KiB waits."""
    pair = Pair(initial_window_size=1 << 20)
    answers = [whole_answer(pair.quick, pair.call(), HEADERS, b"x" * 16_384, TRAILERS) for _ in range(4)]

    assert [answer is None for answer in answers] == [False, False, False, True]


def test_a_request_that_has_not_ended_is_left_to_h2() -> None:
    """Its stream is to be reset after the answer; one that is not there any more has none."""
    pair = Pair()
    stream = pair.call(ended=False)

    assert whole_answer(pair.quick, stream, HEADERS, b"body", TRAILERS) is None
    assert whole_answer(pair.quick, stream + 2, HEADERS, b"body", TRAILERS) is None
    pair.answered(stream, b"body")  # h2 can


def test_nothing_is_sent_on_a_connection_that_was_closed() -> None:
    """After a GOAWAY of h2's own."""
    pair = Pair()
    stream = pair.call()
    pair.quick.close_connection()

    with pytest.raises(ProtocolError):
        whole_answer(pair.quick, stream, HEADERS, b"body", TRAILERS)
