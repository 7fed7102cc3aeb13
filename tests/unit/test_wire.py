"""Protobuf salvage: what is damaged costs itself, its neighbours stay, positions are those of the request as sent."""

import time

import pytest

from otel_ingest.decode import decode
from otel_ingest.errors import MalformedRequest, UnsupportedEncoding
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import LOGS, METRICS, TRACES, Signal
from otel_ingest.wire import Encoding, Parsed, encoding_of, parse
from otel_ingest.wire.protobuf import parse_whole
from storage.rows import ResourceRow
from tests.wire_bytes import field

BAD_TEXT = b"\xff\xfe"
GAUGE, SUM = 5, 7
GOOD_POINT = field(1, b"\x19" + bytes(8))  # time_unix_nano: 0
BAD_POINT = field(1, field(7, field(1, BAD_TEXT)))
GOOD_METRIC = field(2, field(1, b"good"), field(GAUGE, GOOD_POINT))


def metrics(*parts: bytes) -> Parsed:
    """Parse a request with these ``metrics`` fields under one scope."""
    return parse(METRICS, field(1, field(2, *parts)), Encoding.PROTOBUF, Limits())


def outcome(parsed: Parsed) -> tuple[list[int] | None, list[tuple[int, int]]]:
    """Return where the good ones stand, and (position, count) of the rejected ones."""
    return parsed.indexes, [(r.index, r.count) for r in parsed.rejections]


@pytest.mark.parametrize("number", [2, 15, 16, 31, 32, 1000])
def test_a_bad_point_beside_any_other_field(number: int) -> None:
    """Fields of a gauge that are not known, whatever their number, do not spoil its good points."""
    parsed = metrics(field(2, field(GAUGE, BAD_POINT, field(number, b"x"), GOOD_POINT)), GOOD_METRIC)

    assert outcome(parsed) == ([1, 2], [(0, 1)])


@pytest.mark.parametrize(
    "broken",
    [b"\x0a\x7f", b"\x0b", field(GAUGE, b"\x0a\x7f"), field(GAUGE, b"\x0b"), field(1, BAD_TEXT)],
    ids=["length of a metric", "group", "length in a gauge", "group in a gauge", "name"],
)
def test_a_broken_metric_costs_itself(broken: bytes) -> None:
    """Its framing is its own: the metric after it is stored."""
    parsed = metrics(field(2, broken), GOOD_METRIC)

    assert outcome(parsed) == ([1], [(0, 1)])
    assert [m.name for m in parsed.message.resource_metrics[0].scope_metrics[0].metrics if m.name] == ["good"]


def test_of_two_kinds_of_data_the_last_counts() -> None:
    """A oneof: positions go by the points of the last kind, as the parser keeps only those."""
    both = field(2, field(GAUGE, GOOD_POINT, GOOD_POINT), field(SUM, BAD_POINT, GOOD_POINT))

    parsed = metrics(both, GOOD_METRIC)

    assert outcome(parsed) == ([1, 2], [(0, 1)])
    assert parsed.message.resource_metrics[0].scope_metrics[0].metrics[0].WhichOneof("data") == "sum"


def test_split_resources_merge_and_bad_ones_cost_their_records() -> None:
    """A singular message sent in two parts is one; a resource with bad text takes its own records with it."""
    record = field(2, field(3, b"INFO"))
    two_parts = field(1, field(1, field(1, field(1, b"a"))), field(1, field(1, field(1, b"b"))), field(2, record))
    bad = field(1, field(1, field(1, field(1, BAD_TEXT))), field(2, record, record))

    whole = parse_whole(LOGS, bad + two_parts)
    parsed = parse(LOGS, bad + two_parts, Encoding.PROTOBUF, Limits())
    items = list(decode(LOGS, parsed, received_ns=time.time_ns(), limits=Limits()))

    assert outcome(whole) == ([2], [(0, 2)])
    assert [a.key for a in whole.message.resource_logs[0].resource.attributes] == ["a", "b"]
    rejections = [*parsed.rejections, *(i for i in items if isinstance(i, Rejection))]
    assert [r.index + n for r in rejections for n in range(r.count)] == [0, 1]
    assert [i.attributes for i in items if isinstance(i, ResourceRow)] == [b'{"a":null,"b":null}']


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05abc", b"\xff" * 11, b"\x0b\x00", b"\x00\x00"])
def test_broken_framing_names_the_byte(body: bytes) -> None:
    """A body that is no message at all."""
    with pytest.raises(MalformedRequest, match=r"byte \d+"):
        parse(LOGS, body, Encoding.PROTOBUF, Limits())


@pytest.mark.parametrize("given", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8"])
def test_content_types(given: str) -> None:
    """Media types have no case and may have parameters."""
    assert encoding_of(given) is Encoding.JSON


def test_other_content_types_are_refused() -> None:
    """The error names the header."""
    with pytest.raises(UnsupportedEncoding) as caught:
        encoding_of("text/plain")

    assert caught.value.header == "Content-Type"


DEEPEST = {
    LOGS: lambda pair: field(2, field(6, pair)),
    TRACES: lambda pair: field(2, field(11, field(3, pair))),  # of an event
    METRICS: lambda pair: field(2, field(GAUGE, field(1, field(5, field(7, pair))))),  # of an exemplar
}
BAD_NEIGHBOUR = {
    LOGS: field(2, field(3, BAD_TEXT)),
    TRACES: field(2, field(5, BAD_TEXT)),
    METRICS: field(2, field(GAUGE, BAD_POINT)),
}


@pytest.mark.parametrize("signal", DEEPEST, ids=lambda signal: signal.name)
@pytest.mark.parametrize("salvaged", [False, True])
def test_values_of_any_depth_cost_only_themselves(signal: Signal, salvaged: bool) -> None:
    """Maps in maps, to the limit and past what the library takes of a record, or of a request around it."""
    limit = Limits().value_depth_max
    for depth in (1, limit, *range(limit + 1, limit + 6), 60, 400):
        value = field(1, b"text")
        for _ in range(depth):
            value = field(6, field(1, field(1, b"k"), field(2, value)))
        record = DEEPEST[signal](field(1, b"deep") + field(2, value))
        others = [BAD_NEIGHBOUR[signal]] * salvaged
        body = field(1, field(2, *others, record, DEEPEST[signal](field(1, b"flat"))))

        parsed = parse(signal, body, Encoding.PROTOBUF, Limits())
        items = list(decode(signal, parsed, received_ns=time.time_ns(), limits=Limits()))

        rejected = {r.index for r in [*parsed.rejections, *(i for i in items if isinstance(i, Rejection))]}
        assert rejected == set(range(salvaged)) | ({int(salvaged)} if depth > limit else set()), depth
