"""What is drawn at a terminal: within its width whatever a record says, and ``run``, which starts a program."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from mcp_tools import render, terminal
from otel_ingest.cli.running import missing, reachable, service_name
from otel_ingest.config import Endpoint

ROW = terminal.Row(7, "2026-11-27T08:11:25.129Z", "WARN", "shop", "stock of 285714 shelves", "516ac581" * 4)
# What a record says is cleaned before it is drawn.
_said = st.text(max_size=300).map(render.clean)
_rows = st.builds(
    terminal.Row,
    st.integers(1, 10**9),
    st.sampled_from(["2026-11-27T08:11:25.129Z", "2026-11-28T00:00:00.000Z"]),
    st.sampled_from(["INFO", "ERROR", "warning", "", "a long one"]),
    _said,
    _said,
    st.none() | st.just("4b" * 16),
)


@given(st.lists(_rows, max_size=4), st.integers(20, 160))
def test_no_line_is_wider_than_the_terminal(rows: list[terminal.Row], width: int) -> None:
    """In cells: wide characters count two. Two columns over where one character alone is wider than what is left."""
    component_fits = all(Text(row.component).cell_len < width - 20 for row in rows)

    for line in terminal.Drawing(width).lines(rows):
        assert "\n" not in line.plain
        if component_fits:
            assert line.cell_len <= max(width, 22) + 1


@given(_said, st.integers(20, 160))
def test_nothing_of_a_short_text_is_lost(text: str, width: int) -> None:
    """Wrapped, it has all of its characters but the spaces it was cut at."""
    lines = list(terminal.wrapped(Text(), Text(text), Text(), width, 2))

    if len(lines) < 6:
        assert "".join("".join(line.plain.split()) for line in lines) == "".join(text.split())


@given(st.text(max_size=200).map(render.clean), st.integers(20, 160), st.integers(0, 12))
def test_lines_of_a_trace_keep_their_text(name: str, width: int, depth: int) -> None:
    """Span, log and any other line."""
    span = f"{'  ' * depth}*shop {name} server 1.5ms [0b21b1cd0d3d12e9] ERROR"
    for line in (span, f"{'  ' * depth}· ERROR shop {name} (#7)", name):
        drawn = list(terminal.tree_line(line, width))
        if len(drawn) < 6:
            shown = sorted(c for part in drawn for c in part.plain if not c.isspace())
            assert shown == sorted(c for c in line if not c.isspace())


def test_a_record_in_columns_and_in_few_of_them() -> None:
    """Wide: time to the millisecond and columns; narrow: what matters, below itself."""
    wide = [line.plain for line in terminal.Drawing(100).lines([ROW])]
    narrow = [line.plain for line in terminal.Drawing(44).lines([ROW])]

    assert wide[0].startswith("── 2026-11-27 UTC ──")
    assert wide[1] == "08:11:25.129 WARN  shop stock of 285714 shelves  516ac581"
    assert narrow[1:] == ["08:11:25 WARN  shop stock of 285714 shelves", "  516ac581"]


def test_colours_and_none() -> None:
    """NO_COLOR and a dumb terminal get the same text without."""
    (_, line) = terminal.Drawing(100).lines([ROW])

    def printed(**how: object) -> str:
        console = Console(width=100, force_terminal=True, **how)  # type: ignore[arg-type]
        with console.capture() as shown:
            console.print(line, no_wrap=True)
        return shown.get()

    assert "\x1b[33m" in printed(color_system="standard", no_color=False)
    assert "\x1b[3" not in printed(color_system="standard", no_color=True)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["./shop"], "shop"),
        (["python", "app.py"], "app"),
        (["python3.12", "-m", "shop.web"], "shop.web"),
        (["/usr/bin/python3", "-u", "dir/app.py", "x"], "app"),
        (["opentelemetry-instrument", "python", "app.py"], "app"),
        (["node", "server.js"], "server"),
        (["python"], "python"),
    ],
)
def test_a_program_has_a_name(command: list[str], name: str) -> None:
    """Its own, or its script's."""
    assert service_name(command) == name


def test_what_is_set_is_left_alone() -> None:
    """service.name may be set in either of two ways."""
    assert missing({}, "http://h:1", "shop")["OTEL_SERVICE_NAME"] == "shop"
    given = {"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=mine", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other"}
    assert missing(given, "http://h:1", "shop").keys() == {
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_TRACES_EXPORTER",
        "OTEL_LOGS_EXPORTER",
        "OTEL_METRICS_EXPORTER",
    }
    assert reachable(Endpoint("0.0.0.0:4318")) == "127.0.0.1:4318"
    assert reachable(Endpoint("h:1")) == "h:1"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "otel_ingest", "run", *arguments],
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_program_is_started_with_the_variables() -> None:
    """In its place, with its own arguments and status; what the caller had set stays."""
    shown = (
        "import os, sys; e = os.environ\n"
        "print(e['OTEL_SERVICE_NAME'], e['OTEL_EXPORTER_OTLP_ENDPOINT'], sys.argv[1:]); sys.exit(3)"
    )
    given = {"OTEL_SERVICE_NAME": "mine", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}

    kept = run("--name", "shop", "--", sys.executable, "-c", shown, "-n", "--help", **given)
    gone = run("no-such-program")

    assert (kept.returncode, kept.stdout) == (3, "mine http://127.0.0.1:4317 ['-n', '--help']\n")
    assert (gone.returncode, gone.stderr) == (127, "error: there is no program 'no-such-program'\n")
