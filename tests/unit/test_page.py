"""The pure parts of the page: what is shown, where one is, how bars stand; and how large it is in all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tools.page import files, graph, show, state
from mcp_tools.page.exports import csv_line
from mcp_tools.page.histogram import BARS_MAX, HEIGHT, draw, interval_s
from storage.views import Call, LogCount

NS = 1_000_000_000


def test_the_page_is_small() -> None:
    """Everything a browser loads for every view, and every template: under 300 KB."""
    static = sum(len(file.content) for file in files.FILES.values())
    templates = sum(path.stat().st_size for path in (files.FOLDER.parent / "templates").iterdir())
    assert static + templates < 300_000


def test_files_name_no_other_server() -> None:
    """No stylesheet or module loads anything from elsewhere."""
    for name, file in files.FILES.items():
        text = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|url\(", text), name


@given(st.text())
def test_no_text_becomes_markup_or_hides(text: str) -> None:
    """Whatever a record says: no bracket of its own is left, nothing invisible either."""
    for shown in (str(show.line(text)), str(show.block(text))):
        bare = re.sub(r'<span class="ctl"[^<>]*>|</span>', "", shown)
        assert not {"<", ">", '"', "'"} & set(bare)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", shown)
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f\u202a-\u202e\u2066-\u2069]", show.plain(text))


@given(st.text())
def test_what_can_be_seen_is_shown_as_it_is(text: str) -> None:
    """Letters of every language stand as they are."""
    kept = "".join(c for c in text if c.isalpha() and c not in "\u115f\u1160\u3164\uffa0")
    assert show.plain(kept, len(kept)) == kept


@pytest.mark.parametrize("target", ["//evil", "/\\evil", "https://evil", "javascript:x", "", "/a\nb", "evil"])
def test_login_leads_nowhere_else(target: str) -> None:
    """Only a path of this server is gone to."""
    assert state.local(target) == "/logs"
    assert state.local("/trace/ab?span=1") == "/trace/ab?span=1"


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_a_link_holds_the_state(params: dict[str, str]) -> None:
    """What a link says is what comes back; empty parameters are left out."""
    from urllib.parse import parse_qsl, urlsplit

    url = state.Here("/logs", params).link()
    found = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, errors="surrogatepass"))
    assert found == {k: v for k, v in params.items() if v}
    assert urlsplit(url).path == "/logs"


@given(st.integers(0, 2**40), st.integers(1, 10 * 366 * 86_400))
def test_bars_are_few_and_cover_the_window(since_s: int, span_s: int) -> None:
    """However long the window is: BARS_MAX bars at most, each record in one of them."""
    since, until = since_s * NS, (since_s + span_s) * NS
    width = interval_s(since, until)
    counts = [
        LogCount(group={"severity": "INFO"}, start_ns=t // (width * NS) * width * NS, count=1)
        for t in (since, until - 1)
    ]
    drawn = draw(counts, since, until, width)
    assert drawn.slots <= BARS_MAX
    assert sum(bar.total for bar in drawn.bars) == 2


def test_what_is_rare_is_seen_beside_what_is_common() -> None:
    """One error among ten thousand records has a height one can see, and no bar is too high."""
    counts = [
        LogCount(group={"severity": s}, start_ns=0, count=n) for s, n in (("INFO", 10_000), ("ERROR", 1), ("FATAL", 1))
    ]
    (bar,) = draw(counts, 0, 60 * NS, 60).bars
    heights = {level: height for level, _, height in bar.parts}
    assert min(heights.values()) > 2
    assert round(sum(heights.values()), 1) == HEIGHT


@given(st.lists(st.text(), min_size=1))
def test_no_cell_is_a_formula(cells: list[str]) -> None:
    """What a spreadsheet would compute begins with an apostrophe; the rest is as it was."""
    import csv
    import io

    (row,) = csv.reader(io.StringIO(csv_line(cells).decode(), newline=""))
    assert not [cell for cell in row if cell[:1] in set("=+-@\t\r\n")]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh"), st.integers(1, 10**9)), max_size=30)
)
def test_the_map_draws_every_call_once(told: list[tuple[str, str, int]]) -> None:
    """Whatever calls whom, in circles too: each component once, inside of the drawing, on nobody else's place."""
    calls = [Call(parent=a, child=b, count=n) for a, b, n in {(a, b): (a, b, n) for a, b, n in told if a != b}.values()]
    drawn = graph.draw(calls)
    assert {n.name for n in drawn.nodes} == {name for c in calls for name in (c.parent, c.child)}
    assert len({(n.x, n.y) for n in drawn.nodes}) == len(drawn.nodes)
    assert all(0 <= n.x <= drawn.width - graph.WIDTH and 0 <= n.y <= drawn.height - graph.HEIGHT for n in drawn.nodes)
    assert {(e.parent, e.child) for e in drawn.edges} == {(c.parent, c.child) for c in calls}


def test_the_map_has_callers_on_the_left() -> None:
    """A chain stands in a line; a call that closes a circle does not change it."""
    calls = [Call(parent=a, child=b, count=1) for a, b in ("ab", "bc", "ac", "ca")]
    place = {n.name: n.x for n in graph.draw(calls).nodes}
    assert place["a"] < place["b"] < place["c"]


def test_the_map_has_a_bound() -> None:
    """Of a thousand components the busiest are drawn, the others are counted."""
    drawn = graph.draw([Call(parent="gate", child=f"c{n}", count=n + 1) for n in range(1000)])
    assert (len(drawn.nodes), drawn.left_out) == (graph.NODES_MAX, 1001 - graph.NODES_MAX)
