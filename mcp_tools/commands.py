"""The tools in a terminal: query, trace, traces, tail, stats, status. The same functions, arguments and errors."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import typer
from rich.console import Console

from mcp_tools import more_commands, terminal
from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from mcp_tools.tail import line_of
from storage.errors import StoreError
from storage.reader import Reader

OpenReader = Callable[[], AbstractAsyncContextManager[Reader]]
Ask = Callable[..., None]
"""(tool, as_json, **arguments): ask and print."""

Component = Annotated[str | None, typer.Option("--component", "-c", help="service.name, or namespace/name")]
Since = Annotated[str | None, typer.Option(help='Start: "15m", "2h", RFC 3339 [1h]')]
Until = Annotated[str | None, typer.Option(help="End, exclusive [now]")]
Severity = Annotated[str | None, typer.Option("--severity-min", "-s", help="trace, debug, info, warn, error, fatal")]
Text = Annotated[str | None, typer.Option("--text", help="Part of the body, any case")]
Question = Annotated[
    str | None, typer.Argument(help='In the query language: component:shop level:>=warn "timed out" (docs/query.md)')
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]
# A terminal has no context to spare; agents do.
_TOKENS = 20_000
_TAIL_PAGE = 1_000
_TAIL_WAIT_S = 25


def register(app: typer.Typer, open_reader: OpenReader) -> None:
    """Add the commands to ``app``; ``open_reader`` is how the composition root reaches the store."""

    def ask(tool: str, as_json: bool, **arguments: Any) -> None:  # noqa: FBT001
        given = {k: v for k, v in arguments.items() if v is not None}
        _print(_run(_ask(open_reader, tool, given | {"max_tokens": _TOKENS})), as_json=as_json)

    _register_search(app, ask)
    _register_traces(app, ask)
    _register_counts(app, ask)
    more_commands.register(app, ask)
    _register_tail(app, open_reader)


def _register_search(app: typer.Typer, ask: Ask) -> None:
    """Add query and trace."""

    @app.command()
    def query(
        question: Question = None,
        component: Component = None,
        severity_min: Severity = None,
        text: Text = None,
        trace_id: Annotated[str | None, typer.Option(help="32 hex digits")] = None,
        span_id: Annotated[str | None, typer.Option(help="16 hex digits")] = None,
        attribute: Annotated[list[str] | None, typer.Option("--attribute", "-a", help="KEY=VALUE, repeatable")] = None,
        since: Since = None,
        until: Until = None,
        order: Annotated[str | None, typer.Option(help="newest or oldest")] = None,
        limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 100,
        cursor: Annotated[str | None, typer.Option(help="next_cursor of the former page")] = None,
        collapse: Annotated[str | None, typer.Option(help="repeats or patterns: equal messages as one line")] = None,
        field: Annotated[list[str] | None, typer.Option("--field", help="Only these columns; repeatable")] = None,
        record: Annotated[int | None, typer.Option("--id", help="One record in full")] = None,
        around: Annotated[
            int | None, typer.Option(help="What the component logged beside the record of this id")
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Print log records, newest first: otel-ingest query 'component:shop level:>=warn -health' --since 2h ."""
        ask(
            "logger_query", as_json, query=question, component=component, severity_min=severity_min, text=text,
            trace_id=trace_id, span_id=span_id, attributes=_attributes(attribute), since=since, until=until,
            order=order, limit=limit, cursor=cursor, id=record, collapse=collapse, fields=field,
            around={"id": around} if around else None,
        )  # fmt: skip

    @app.command()
    def trace(
        trace_id: Annotated[str, typer.Argument(help="32 hex digits")],
        view: Annotated[
            str | None, typer.Option(help="summary, tree, critical_path, errors, logs, spans or full [tree]")
        ] = None,
        span: Annotated[list[str] | None, typer.Option("--span", help="These spans in full; repeatable")] = None,
        focus: Annotated[str | None, typer.Option("--focus", help="Only this span and what is below it")] = None,
        at: Annotated[
            str | None, typer.Option(help="About when it was, if nothing is found: expired or never seen")
        ] = None,
        cursor: Annotated[str | None, typer.Option(help="next_cursor of the former page")] = None,
        as_json: Json = False,
    ) -> None:
        """Print one whole trace: its spans as a tree, with their log records."""
        shown = view or (None if span else "tree")
        ask(
            "logger_trace", as_json, trace_id=trace_id, view=shown, span_ids=span, focus_span=focus, at=at,
            cursor=cursor,
        )  # fmt: skip


def _register_traces(app: typer.Typer, ask: Ask) -> None:
    """Add traces."""

    @app.command()
    def traces(
        question: Annotated[
            str | None, typer.Argument(help="Of a span: component:shop status:error duration:>100ms (docs/query.md)")
        ] = None,
        component: Component = None,
        status: Annotated[str | None, typer.Option(help="error, ok or unset")] = None,
        min_duration: Annotated[str | None, typer.Option(help='For example "250ms"')] = None,
        since: Since = None,
        sort: Annotated[str, typer.Option(help="newest, slowest or errors")] = "newest",
        limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200)] = 20,
        as_json: Json = False,
    ) -> None:
        """Search traces: otel-ingest traces 'component:shop duration:>1s' --sort slowest --since 1d ."""
        ask(
            "logger_search_traces", as_json, query=question, component=component, status=status,
            min_duration=min_duration, since=since, sort=sort, limit=limit,
        )  # fmt: skip


def _register_counts(app: typer.Typer, ask: Ask) -> None:
    """Add stats and status."""

    @app.command()
    def stats(
        question: Question = None,
        component: Component = None,
        severity_min: Severity = None,
        text: Text = None,
        signal: Annotated[str | None, typer.Option(help="logs, spans or metrics [logs]")] = None,
        agg: Annotated[
            str | None, typer.Option(help="count, rate, p50 … p99, avg, max, count_distinct [count]")
        ] = None,
        field: Annotated[str | None, typer.Option(help="What is measured: an attribute; of spans the duration")] = None,
        name: Annotated[str | None, typer.Option(help="Span or metric name")] = None,
        group_by: Annotated[list[str] | None, typer.Option(help="A field or attribute; repeatable")] = None,
        interval: Annotated[str | None, typer.Option(help='Width of a time bin, "1m"')] = None,
        since: Since = None,
        until: Until = None,
        as_json: Json = False,
    ) -> None:
        """Count and measure: otel-ingest stats --interval 5m, stats --signal spans --agg p95 --group-by name ."""
        ask(
            "logger_stats", as_json, query=question, component=component, severity_min=severity_min, text=text,
            group_by=group_by, interval=interval, since=since, until=until, signal=signal, agg=agg, field=field,
            name=name,
        )  # fmt: skip

    @app.command()
    def status(since: Since = None, as_json: Json = False) -> None:
        """Print what is there: components, counts, how fresh, how far back, how large."""
        ask("logger_overview", as_json, since=since)


def _register_tail(app: typer.Typer, open_reader: OpenReader) -> None:
    """Add tail."""

    @app.command()
    def tail(
        question: Question = None,
        component: Component = None,
        severity_min: Severity = None,
        text: Text = None,
        limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Records to begin with")] = 10,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what arrives until Ctrl-C")] = False,
        as_json: Json = False,
    ) -> None:
        """Print the latest log records, oldest first; with -f also those that arrive."""
        given = {"component": component, "severity_min": severity_min, "text": text, "query": question, "limit": limit}
        wanted = {name: value for name, value in given.items() if value is not None}
        try:
            _run(_tail(open_reader, wanted, follow=follow, as_json=as_json))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


async def _ask(open_reader: OpenReader, tool: str, arguments: dict[str, Any]) -> Answer:
    async with open_reader() as reader:
        # Who may read the data directory may read the store.
        return await call(reader, "read", tool, arguments)


async def _tail(open_reader: OpenReader, wanted: dict[str, Any], *, follow: bool, as_json: bool) -> None:
    """Print the newest records, then, each once, what is stored after them."""
    asked = wanted | {"max_tokens": _TOKENS}
    async with open_reader() as reader:
        emit = _emitter(as_json=as_json)
        while True:
            answer = await call(reader, "read", "logger_tail", asked)
            emit(answer.data)
            if not follow:
                return
            asked |= {"after": answer.data["cursor"], "wait_s": _TAIL_WAIT_S, "limit": _TAIL_PAGE}


def _emitter(*, as_json: bool) -> Callable[[dict[str, Any]], None]:
    """Return what prints records: JSON lines, drawn at a terminal, plain lines into a pipe."""
    drawing = terminal.Drawing(Console().width) if sys.stdout.isatty() and not as_json else None

    def emit(data: dict[str, Any]) -> None:
        if drawing is not None:
            _draw(drawing.lines(terminal.rows_of(data) or []))
        for row in data["rows"] if drawing is None else ():
            shown = dict(zip(data["columns"], row, strict=True))
            sys.stdout.write((json.dumps(shown) if as_json else line_of(row)) + "\n")
        sys.stdout.flush()

    return emit


def _draw(lines: Iterable[Any]) -> None:
    """Print lines that are as wide as the terminal already; NO_COLOR and TERM=dumb leave the colours out."""
    console = Console(highlight=False)
    for line in lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except (UserInputError, StoreError) as error:
        _fail(error)


def _fail(error: Exception) -> Any:
    """Print one sentence; exit 2 for a wrong question, 1 for what is not there."""
    typer.echo(f"error: {error}", err=True)
    wrong = isinstance(error, UserInputError) and error.code.startswith(("INVALID", "UNKNOWN_ARGUMENT", "EMPTY"))
    raise typer.Exit(2 if wrong else 1) from None


def _print(answer: Answer, *, as_json: bool) -> None:
    at_terminal = sys.stdout.isatty() and not as_json
    drawn = terminal.drawn(answer.data, Console().width) if at_terminal else None
    if drawn is None:
        typer.echo(json.dumps(answer.data, default=str) if as_json else answer.text)
    else:
        _draw(drawn)
    if not answer.found:
        raise typer.Exit(1)


def _attributes(pairs: list[str] | None) -> dict[str, Any] | None:
    """Return KEY=VALUE pairs; true, 7 and 1.5 are what they look like, everything else is text."""
    if not pairs:
        return None
    attributes = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--attribute")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        attributes[key] = parsed if isinstance(parsed, str | int | float | bool) else value
    return attributes
