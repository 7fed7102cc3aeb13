"""Random queries and random records, what a query means by plain Python, and how the records are stored."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from storage.batch import Batch
from storage.columns import LOG_RECORDS, SPANS
from storage.encoding import row_encoder
from storage.query.fields import SPAN_KINDS, STATUSES
from storage.query.tree import (
    EVERYTHING,
    And,
    Attribute,
    Between,
    Exists,
    Field,
    Is,
    Like,
    Node,
    Not,
    Or,
    Test,
    Text,
    conjunction,
    disjunction,
    negation,
)
from storage.query.words import looks_loose, number_of
from storage.rows import ResourceRow, ScopeRow
from tests.factories import log_row, span_row

WORDS = [
    "shop",
    "pay",
    "time",
    "Timeout",
    "50%",
    "a_b",
    "c\\d",
    "x*y",
    'q"t',
    "OR",
    "-1",
    "é",
    "500",
    "true",
    "a:b",
    "()",
]
KEYS = ["k", "http.route", "n", "weird key", "a:b", 'q"t', "*", "@x", "\\"]
TRACES = ["4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4737", "f" * 32]
SPAN_IDS = ["00f067aa0ba902b7", "00f067aa0ba902b8", "ff00000000000001"]
NUMBERS: list[int | float] = [-1, 0, 1, 1.5, 200.0, 499, 500, 10**20]

words = st.sampled_from(WORDS)
texts = st.lists(words, min_size=1, max_size=3).map(" ".join)
values: st.SearchStrategy[Any] = words | st.sampled_from(NUMBERS) | st.booleans() | st.none() | st.just(["shop", 500])
attributes = st.dictionaries(st.sampled_from(KEYS), values, max_size=3)


@dataclass(frozen=True)
class Record:
    """A log record or a span, by the names of the language's fields; level and duration are numbers."""

    fields: dict[str, Any]
    text: tuple[str | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)


_common = {
    "component": words,
    "trace": st.none() | st.sampled_from(TRACES),
    "span": st.none() | st.sampled_from(SPAN_IDS),
    "scope": st.sampled_from(["", "lib", "lib.sub"]),
}
_log_fields = st.fixed_dictionaries(
    _common | {"level": st.sampled_from([0, 1, 9, 12, 13, 17, 20, 21, 24, 25]), "event": st.just("") | words}
)
_span_fields = st.fixed_dictionaries(
    _common
    | {
        "name": texts,
        "kind": st.integers(0, 5),
        "status": st.sampled_from([None, 0, 1, 2]),
        "message": st.just("") | texts,
        "duration": st.sampled_from([0, 1_500_000, 100_000_000, 2_000_000_000]),
        "parent": st.none() | st.sampled_from(SPAN_IDS),
    }
)
log_worlds = st.lists(
    st.builds(lambda f, b, a, r: Record(f, (b,), a, r), _log_fields, st.none() | texts, attributes, attributes),
    max_size=30,
)
span_worlds = st.lists(
    st.builds(lambda f, a, r: Record(f, (f["name"], f["message"]), a, r), _span_fields, attributes, attributes),
    max_size=30,
)


def _pieces(inner: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    middle = st.lists(inner, max_size=1)
    end = st.just("") | inner
    return st.builds(lambda a, m, z: (a, *m, z), end, middle, end).filter(lambda p: p != ("", ""))


def _is(text: str, as_written: bool) -> Is:
    return Is(text, loose=as_written and looks_loose(text))


@st.composite
def _between(draw: st.DrawFn, numbers: Sequence[int | float]) -> Between:
    low, high = draw(st.none() | st.sampled_from(numbers)), draw(st.none() | st.sampled_from(numbers))
    if low is None and high is None:
        low = numbers[0]
    return Between(low, high, low is None or draw(st.booleans()), high is None or draw(st.booleans()))


_named = st.builds(Is, words | texts | st.just("")) | st.builds(Like, _pieces(words)) | st.just(Exists())
_attribute_tests = st.one_of(
    st.builds(_is, words | st.sampled_from(["1.5", "0", "false", "-1"]), st.booleans()),
    st.builds(Like, _pieces(words | st.just("00"))),
    _between(NUMBERS),
    st.just(Exists()),
)


def _hexadecimal(ids: list[str]) -> st.SearchStrategy[Test]:
    return (
        st.builds(Is, st.sampled_from(ids))
        | st.sampled_from([Like((ids[0][:n], "")) for n in (1, 2, 15)])
        | st.just(Exists())
    )


_level = st.sampled_from(
    [Between(13, None), Between(17, 20), Between(1, 12), Between(9, 9), Between(5, 16), Between(21, None), Exists()]
)
_duration = _between([0, 1_500_000, 100_000_000, 2_000_000_000]).filter(
    lambda b: b.low != b.high or (b.low_included and b.high_included)
)


def _field(name: str, tests: st.SearchStrategy[Test]) -> st.SearchStrategy[Node]:
    return st.builds(Field, st.just(name), tests)


_both = [_field("component", _named), _field("trace", _hexadecimal(TRACES)), _field("span", _hexadecimal(SPAN_IDS))]
_scope = _field("scope", st.sampled_from([Is("lib"), Like(("lib", "")), Exists()]))
_any = st.builds(Attribute, st.sampled_from(KEYS), _attribute_tests, st.sampled_from(["any", "resource"]))
_text = st.builds(Text, st.lists(words, min_size=1, max_size=2).map(tuple))
_log_leaf = st.one_of(
    *_both, _scope, _any, _text, _field("level", _level), _field("event", _named), st.just(Text(("",)))
)
_coded = {"kind": SPAN_KINDS, "status": tuple(STATUSES)}
_span_leaf = st.one_of(
    *_both, _scope, _any, _text,
    _field("name", _named), _field("message", _named), _field("duration", _duration),
    _field("parent", _hexadecimal(SPAN_IDS)),
    *(_field(name, st.sampled_from([*(Is(w) for w in known), Exists()])) for name, known in _coded.items()),
)  # fmt: skip


def _trees(leaf: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def above(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        several = st.lists(inner, min_size=2, max_size=3)
        return st.one_of(
            several.map(lambda nodes: conjunction(*nodes)),
            several.map(lambda nodes: disjunction(*nodes)),
            inner.map(negation),
        )

    return st.recursive(leaf | st.just(EVERYTHING), above, max_leaves=8)


log_queries, span_queries = _trees(_log_leaf), _trees(_span_leaf)


def holds(node: Node, record: Record) -> bool:
    """Whether a query finds a record."""
    if isinstance(node, And):
        return all(holds(o, record) for o in node.operands)
    if isinstance(node, Or):
        return any(holds(o, record) for o in node.operands)
    if isinstance(node, Not):
        return not holds(node.operand, record)
    if isinstance(node, Text):
        return any(text is not None and _like(("", *node.pieces, ""), text, re.IGNORECASE) for text in record.text)
    if isinstance(node, Attribute):
        places = [record.resource] if node.scope == "resource" else [record.attributes, record.resource]
        return any(node.key in place and _attribute(place[node.key], node.test) for place in places)
    return _field_holds(node.name, node.test, record.fields[node.name])


def _like(pieces: tuple[str, ...], text: str, flags: int = 0) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pieces)), text, flags | re.DOTALL) is not None


def _field_holds(name: str, test: Test, value: Any) -> bool:
    if isinstance(test, Between):
        return _within(value, test)
    if isinstance(test, Exists):
        return 1 <= value <= 24 if name == "level" else bool(value)
    if isinstance(test, Like):
        return value is not None and _like(test.pieces, value)
    if name in _coded:
        return bool(value == (_coded["kind"].index(test.text) if name == "kind" else STATUSES[test.text]))
    return bool(value == test.text)


def _within(value: Any, test: Between) -> bool:
    above = test.low is None or value > test.low or (test.low_included and value == test.low)
    return above and (test.high is None or value < test.high or (test.high_included and value == test.high))


def _attribute(value: Any, test: Test) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(test, Exists):
        return True
    if isinstance(test, Between):
        return is_number and _within(value, test)
    if isinstance(test, Like):
        return isinstance(value, str | int | float) and _like(
            test.pieces, value if isinstance(value, str) else json.dumps(value)
        )
    if isinstance(value, str):
        return value == test.text
    if not test.loose:
        return False
    return value is (test.text == "true") if isinstance(value, bool) else is_number and value == number_of(test.text)


def logs_of(world: Sequence[Record]) -> Batch:
    """Return the log records of a world, the position of each as its time in microseconds of a day."""
    rows = [
        log_row(
            time=START_US + n,
            component=r.fields["component"],
            severity_number=r.fields["level"],
            severity_text="",
            event_name=r.fields["event"],
            body=r.text[0],
            body_kind=r.text[0] is not None,
            **_shared(r),
        )
        for n, r in enumerate(world)
    ]
    return _batch(LOG_RECORDS, rows, world)


def spans_of(world: Sequence[Record]) -> Batch:
    """Return the spans of a world, each with its position as its time."""
    rows = [
        span_row(
            time=START_US + n,
            component=r.fields["component"],
            name=r.fields["name"],
            kind=r.fields["kind"],
            status_code=r.fields["status"],
            status_message=r.fields["message"],
            duration_ns=r.fields["duration"],
            end_time_unix_nano=(START_US + n) * 1000 + r.fields["duration"],
            parent_span_id=_span_id(r.fields["parent"]),
            **_shared(r),
        )
        for n, r in enumerate(world)
    ]
    return _batch(SPANS, rows, world)


START_US = 1_790_000_000_000_000


def _shared(record: Record) -> dict[str, Any]:
    trace = record.fields["trace"]
    return {
        "trace_id": bytes.fromhex(trace) if trace else None,
        "span_id": _span_id(record.fields["span"]),
        "attributes": _json(record.attributes),
        "resource_id": _id("resource", record.fields["component"].encode() + _json(record.resource)),
        "scope_id": _id("scope", record.fields["scope"].encode()),
    }


def _span_id(digits: str | None) -> int | None:
    return int.from_bytes(bytes.fromhex(digits), "big", signed=True) if digits else None


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _id(kind: str, content: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(kind.encode() + content).digest()[:16]


def _batch(table: Any, rows: Sequence[Any], world: Sequence[Record]) -> Batch:
    batch, encode = Batch(table), row_encoder(table)
    for record, row in zip(world, rows, strict=True):
        batch.resources[row.resource_id] = ResourceRow(
            row.resource_id, record.fields["component"], _json(record.resource), 0, "", None
        )
        batch.scopes[row.scope_id] = ScopeRow(row.scope_id, record.fields["scope"], "", b"{}", 0, "", None)
        batch.add(row, encode(row))
    return batch
