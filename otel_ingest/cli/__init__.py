"""The command line: the composition root that puts the write side and the read side together."""

import typer

from mcp_tools import commands
from otel_ingest.cli import acting, admin, demo, doctor, export, grafana, partitioning, rejected, running, spool, up
from otel_ingest.cli.common import open_reader

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="OpenTelemetry logs, traces and metrics in PostgreSQL; acknowledged means committed.",
)

up.register(app)
demo.register(app)
commands.register(app, open_reader)
admin.register(app)
acting.register(app)
partitioning.register(app)
export.register(app)
grafana.register(app)
rejected.register(app)
running.register(app)
spool.register(app)
doctor.register(app)
