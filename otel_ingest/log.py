"""The server's own voice: structlog to stderr, and nowhere else; stdlib loggers are routed through it.

Never through OTLP: a server that exports to itself would log about its own logging.
"""

import logging
import sys

import structlog


def configure(level: str, *, as_json: bool) -> None:
    """Send structlog and stdlib logging to stderr at ``level`` (debug, info, warning, error)."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_tail(renderer),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # One line a request or statement is noise; their warnings and errors still come through.
    for name in ("uvicorn.access", "uvicorn.error", "sqlalchemy", "alembic", "mcp", "httpx2"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def _tail(renderer: structlog.typing.Processor) -> list[structlog.typing.Processor]:
    """Render tracebacks as text before JSON; the console renderer draws its own."""
    if isinstance(renderer, structlog.processors.JSONRenderer):
        return [structlog.processors.format_exc_info, renderer]
    return [renderer]
