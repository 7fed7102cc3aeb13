"""PURE: answers as a person at a terminal reads them: colour, columns, wrapped to the width. Pipes get plain lines."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from rich.cells import get_character_cell_size
from rich.text import Text

from mcp_tools import render
from storage.mapping import severity_name
from storage.views import LogEntry

_STYLES = {
    "TRACE": "dim",
    "DEBUG": "cyan",
    "INFO": "green",
    "WARN": "yellow",
    "ERROR": "bold red",
    "FATAL": "bold magenta",
}
_ALIASES = {"WARNING": "WARN", "ERR": "ERROR", "CRITICAL": "FATAL", "NOTICE": "INFO"}
_DIM = "bright_black"
# A colour a component, told apart on dark and on light.
_COMPONENTS = ("blue", "magenta", "cyan", "bright_blue", "bright_magenta", "bright_cyan")
_COMPONENT_CHARS_MAX = 16
_LEVEL_CHARS = 5
_TRACE_CHARS = 8
# Below it text begins on the left again rather than below its column.
_NARROW = 80
_LINES_MAX = 6  # of one record; all of it is there by --id
_TREE_LOG = re.compile(r"(\s*)· (\S+) (.*?)( \(#\d+\))?$", re.DOTALL)
_TREE_SPAN = re.compile(r"(\s*)(\*?)(.*?)( (?:\d+(?:\.\d+)?(?:us|ms|s)))( \[[0-9a-f]{16}\])(.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it is drawn; ``time``: RFC 3339 in UTC. All text is clean (``render.clean``)."""

    id: int
    time: str
    severity: str
    component: str
    body: str
    trace_id: str | None


def row_of(entry: LogEntry) -> Row:
    """Return what is drawn of a record."""
    said = entry.body if entry.body is not None else entry.event_name
    return Row(
        entry.id,
        render.time_of(entry.time_ns),
        render.clean(entry.severity_text, 20) or severity_name(entry.severity_number),
        render.clean(entry.component, 120),
        render.clean(said) + render.exception_of(entry),
        entry.trace_id,
    )


def rows_of(data: Mapping[str, Any]) -> list[Row] | None:
    """Return the rows of an answer of logger_query; None where it has other columns."""
    columns = data.get("columns", [])
    if columns[:6] != ["id", "time", "severity", "component", "body", "trace_id"]:
        return None
    found = []
    for identifier, at, severity, component, body, trace_id, *rest in data["rows"]:
        more = [f"{name}={value}" for name, value in zip(columns[7:], rest[1:], strict=True)]
        found.append(Row(identifier, at, severity, component, " ".join([str(body), *more]), trace_id))
    return found


class Drawing:
    """Draws rows one after the other: a line for a new day, and columns as wide as what came so far."""

    def __init__(self, width: int) -> None:
        self._width = max(width, 20)
        self._day = ""
        self._component = 0

    def lines(self, rows: Sequence[Row]) -> Iterator[Text]:
        """Yield the lines of rows."""
        longest = max((len(row.component) for row in rows), default=0)
        self._component = min(max(self._component, longest), _COMPONENT_CHARS_MAX)
        for row in rows:
            day, _, clock = row.time.partition("T")
            if day != self._day:
                self._day = day
                yield Text(f"── {day} UTC ".ljust(min(self._width, _NARROW), "─"), style=_DIM)
            yield from self._row(row, clock.removesuffix("Z"))

    def _row(self, row: Row, clock: str) -> Iterator[Text]:
        style = level_style(row.severity)
        narrow = self._width < _NARROW
        component = row.component if narrow else _fitted(row.component, self._component)
        head = Text.assemble(
            (clock[:8] if narrow else clock, _DIM),
            " ",
            (_fitted(_ALIASES.get(row.severity.upper(), row.severity.upper()), _LEVEL_CHARS), style),
            " ",
            (component, component_style(row.component)),
            " ",
        )
        loud = "" if style in {"green", "cyan"} else style
        tail = Text(f"  {row.trace_id[:_TRACE_CHARS]}", style=_DIM) if row.trace_id else Text()
        indent = 2 if narrow else head.cell_len
        yield from wrapped(head, Text(row.body, style=loud), tail, self._width, indent)


def wrapped(head: Text, body: Text, tail: Text, width: int, indent: int) -> Iterator[Text]:
    """Yield ``head`` and ``body`` in lines of ``width``, all but the first indented; ``tail`` ends the last of them."""
    room, line = width - head.cell_len, head.copy()
    if room < min(width // 3, 20):
        yield line
        line, room = Text(" " * indent), width - indent
    count = 0
    rest = body
    while rest.cell_len > room and count < _LINES_MAX:
        first, rest = _split(rest, room)
        yield line + first
        line, room, count = Text(" " * indent), width - indent, count + 1
    if count == _LINES_MAX and rest.cell_len > room:
        rest = rest[: max(room - 1, 0)] + Text("…")
    line = line + rest
    if tail.cell_len and line.cell_len + tail.cell_len > width:
        yield line
        line = Text(" " * max(indent - 2, 0))
    yield line + tail


def _split(text: Text, room: int) -> tuple[Text, Text]:
    """Return what fits into ``room`` columns, cut at a space where there is one in its last half, and the rest."""
    plain = text.plain
    cells = end = 0
    for character in plain:
        cells += get_character_cell_size(character)
        if cells > room:
            break
        end += 1
    end = max(end, 1)
    space = plain.rfind(" ", end // 2, end + 1)
    if space > 0:
        return text[:space], text[space + 1 :]
    return text[:end], text[end:]


def tree_line(line: str, width: int) -> Iterator[Text]:
    """Yield one line of a trace's tree, wrapped below itself."""
    if log := _TREE_LOG.match(line):
        indent, severity, said, number = log.groups()
        style = level_style(severity)
        head = Text.assemble(indent, ("· ", _DIM), (severity, style), " ")
        loud = "" if style in {"green", "cyan"} else style
        yield from wrapped(head, Text(said, style=loud), Text(number or "", style=_DIM), width, len(indent) + 4)
    elif span := _TREE_SPAN.match(line):
        indent, critical, name, took, identifier, rest = span.groups()
        component, _, what = name.partition(" ")
        body = Text.assemble(
            (component, f"bold {component_style(component)}"), " ", what, (took, "cyan"), (rest, "bold red")
        )
        head = Text.assemble(indent, (critical, "bold yellow"))
        yield from wrapped(head, body, Text(identifier or "", style=_DIM), width, len(indent) + 4)
    else:
        yield from wrapped(Text(), Text(line, style=_DIM if line.startswith("critical path") else ""), Text(), width, 2)


def trace_summary(summary: str) -> Text:
    """Return the first line of a trace."""
    text = Text(summary, style="bold")
    text.highlight_regex(r"\b[1-9]\d* errors", "bold red")
    text.highlight_regex(r"\b0 errors", "green")
    return text


def level_style(severity: str) -> str:
    """Return the style of a severity, by its name."""
    word = severity.upper()
    word = _ALIASES.get(word, word)
    return next((style for name, style in _STYLES.items() if word.startswith(name)), "")


def component_style(component: str) -> str:
    """Return the colour of a component, the same each time."""
    return _COMPONENTS[crc32(component.encode()) % len(_COMPONENTS)]


def _fitted(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"


def drawn(data: Mapping[str, Any], width: int) -> Iterator[Text] | None:
    """Return an answer as it is drawn ``width`` columns wide; None where its text is as good."""
    if "trace_id" in data and "lines" in data:
        return _drawn_trace(data, width)
    rows = rows_of(data)
    return None if rows is None else _drawn_rows(data, rows, width)


def _drawn_rows(data: Mapping[str, Any], rows: list[Row], width: int) -> Iterator[Text]:
    yield from Drawing(width).lines(rows)
    yield Text(data["summary"].partition("; more: ")[0], style="bold")
    yield from (Text(hint, style=_DIM) for hint in data["hints"])
    if data["next_cursor"]:
        yield Text(f"more: --cursor {data['next_cursor']}", style=_DIM)


def _drawn_trace(data: Mapping[str, Any], width: int) -> Iterator[Text]:
    yield from wrapped(Text(), trace_summary(data["summary"]), Text(), width, 2)
    for line in data["lines"]:
        yield from tree_line(line, width)
    told = [data.get("state"), data.get("left_out")]
    yield Text("; ".join(text for text in told if text), style=_DIM)
    if data.get("next_cursor"):
        yield Text(f"more: --cursor {data['next_cursor']}", style=_DIM)
