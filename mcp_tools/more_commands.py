"""More tools in a terminal: patterns, fields, diff. The same functions, arguments and errors."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

Ask = Callable[..., None]
"""(tool, as_json, **arguments): ask and print."""
Component = Annotated[str | None, typer.Option("--component", "-c", help="service.name, or namespace/name")]
Since = Annotated[str | None, typer.Option(help='Start: "15m", "2h", RFC 3339 [1h]')]
Until = Annotated[str | None, typer.Option(help="End, exclusive [now]")]
Severity = Annotated[str | None, typer.Option("--severity-min", "-s", help="trace, debug, info, warn, error, fatal")]
Query = Annotated[str | None, typer.Option("--query", "-q", help="As in docs/query.md: level:>=warn @http.route:/pay")]
Signal = Annotated[str | None, typer.Option(help="logs, spans or metrics [logs]")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]


def register(app: typer.Typer, ask: Ask) -> None:
    """Add the commands to ``app``."""

    @app.command()
    def patterns(
        component: Component = None,
        severity_min: Severity = None,
        query: Query = None,
        since: Since = None,
        until: Until = None,
        compare_to: Annotated[str | None, typer.Option(help="previous, or the start of another window")] = None,
        as_json: Json = False,
    ) -> None:
        """Print messages by their templates: otel-ingest patterns -s error --compare-to previous ."""
        other: Any = compare_to if compare_to in {None, "none", "previous"} else {"since": compare_to, "until": since}
        ask(
            "logger_patterns", as_json, component=component, severity_min=severity_min, query=query, since=since,
            until=until, compare_to=other,
        )  # fmt: skip

    @app.command()
    def fields(
        key: Annotated[str | None, typer.Argument(help="One field or attribute: each of its values")] = None,
        signal: Signal = None,
        component: Component = None,
        query: Query = None,
        prefix: Annotated[str | None, typer.Option(help='Only keys that begin so, for example "http."')] = None,
        since: Since = None,
        until: Until = None,
        as_json: Json = False,
    ) -> None:
        """Print which fields and attributes there are, with their values: otel-ingest fields http.route ."""
        ask(
            "logger_fields", as_json, key=key, signal=signal, component=component, query=query, prefix=prefix,
            since=since, until=until,
        )  # fmt: skip

    @app.command()
    def diff(
        a: Annotated[str, typer.Argument(help="A trace id, or the start of a window that was well")],
        b: Annotated[str, typer.Argument(help="Another trace id, or the start of the window in question")],
        signal: Signal = None,
        component: Component = None,
        query: Query = None,
        as_json: Json = False,
    ) -> None:
        """Print what differs: otel-ingest diff TRACE TRACE, or two windows: otel-ingest diff 2h 1h ."""
        if len(a.replace("-", "")) == 32 and len(b.replace("-", "")) == 32:  # noqa: PLR2004 - digits of a trace id
            ask("logger_diff", as_json, kind="traces", a=a, b=b)
            return
        ask(
            "logger_diff", as_json, kind="windows", a={"since": a, "until": b}, b={"since": b}, signal=signal,
            component=component, query=query,
        )  # fmt: skip
