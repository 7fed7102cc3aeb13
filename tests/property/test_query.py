"""The query language: what is written is read back, and any text is read or refused in one sentence."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.query.errors import QueryError
from storage.query.fields import Signal
from storage.query.reading import DEPTH_MAX, QUERY_CHARS_MAX, TERMS_MAX, parse
from storage.query.tree import Node, depth, leaves
from storage.query.writing import text_of
from tests.query_world import log_queries, span_queries

_signals: st.SearchStrategy[Signal] = st.sampled_from(["logs", "spans"])
_PIECES = (
    " TO ", " OR ", " AND ", " NOT ", " ", "\n", "\0", "\ud800", "component:", "level:", "@", "@k:", "resource.", ">=",
    "<", "[", "]", "{", "}", "(", ")", '"', "\\", "*", "-", ":", "a", "5", "5ms", "error", "trace:", "4bf9", "é", "日",
)  # fmt: skip
_fragments = st.sampled_from(_PIECES)


@settings(max_examples=400)
@given(log_queries)
def test_a_log_query_reads_as_it_is_written(node: Node) -> None:
    """parse(text_of(tree)) is the tree."""
    assert parse(text_of(node)) == node


@settings(max_examples=400)
@given(span_queries)
def test_a_span_query_reads_as_it_is_written(node: Node) -> None:
    """The same for spans."""
    assert parse(text_of(node), "spans") == node


@settings(max_examples=1_000)
@given(st.text(max_size=60) | st.lists(_fragments, max_size=25).map("".join), _signals)
@example("(" * (QUERY_CHARS_MAX + 1), "logs")
@example("(" * QUERY_CHARS_MAX, "logs")
@example("NOT " * (QUERY_CHARS_MAX // 4), "logs")
@example("NOT " * 499 + "a", "logs")
@example("-" * 1_999 + "a", "logs")
@example("(a OR NOT (b " * 40 + "c" + "))" * 40, "logs")
@example('"' * QUERY_CHARS_MAX, "logs")
@example("@k:" + "9" * 1_000, "logs")
@example("@k:>" + "9" * 1_000, "logs")
@example("@k:>1e999", "logs")
@example("duration:>9999999999999999999h", "spans")
def test_any_text_is_a_tree_or_one_error(text: str, signal: Signal) -> None:
    """No other exception, no tree past the limits; an error points into the text."""
    try:
        node = parse(text, signal)
    except QueryError as refused:
        _points_into(refused, text)
        return
    assert sum(1 for _ in leaves(node)) <= TERMS_MAX
    assert depth(node) <= DEPTH_MAX
    assert parse(text_of(node), signal) == node


def _points_into(error: QueryError, text: str) -> None:
    assert 0 <= error.position <= len(text)
    assert error.length >= 1
    sentence, shown, carets = str(error).split("\n")
    assert sentence.startswith(error.message)
    assert len(shown) < 200
    assert set(carets.strip()) == {"^"}


@given(st.text())
def test_a_quoted_text_is_found_as_it_is(text: str) -> None:
    """Whatever stands between quotes (json's escapes of quote and backslash are the language's) is one text."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    try:
        node = parse(f"@k:{quoted}")
    except QueryError:
        assert len(text) > QUERY_CHARS_MAX // 3 or "\0" in text or any("\ud800" <= c <= "\udfff" for c in text)
        return
    assert node == parse(f"@k:{json.loads(json.dumps(quoted))}")
    assert getattr(getattr(node, "test", None), "text", None) == text
