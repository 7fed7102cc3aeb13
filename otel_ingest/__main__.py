"""The command ``otel-ingest``: the outermost composition root."""

import os
import sys
from pathlib import Path

# opentelemetry-instrument works through sitecustomize in a directory that it puts on PYTHONPATH.
_AUTO_INSTRUMENTATION = str(Path("opentelemetry", "instrumentation", "auto_instrumentation"))
_KEEP = ("OTEL_INGEST_",)


def quiet_environment(environ: dict[str, str]) -> dict[str, str]:
    """Return ``environ`` without what could make this process export telemetry: OTEL_* and auto-instrumentation.

    The server must never log into itself, whatever the environment says. ``OTEL_INGEST_*`` are our own settings.
    """
    quiet = {name: value for name, value in environ.items() if not name.startswith("OTEL_") or name.startswith(_KEEP)}
    if _AUTO_INSTRUMENTATION in quiet.get("PYTHONPATH", ""):
        paths = quiet["PYTHONPATH"].split(os.pathsep)
        quiet["PYTHONPATH"] = os.pathsep.join(p for p in paths if _AUTO_INSTRUMENTATION not in p)
    return quiet


def main() -> None:
    """Run the command line; first start over in a quiet environment where this one is not."""
    environ = dict(os.environ)  # noqa: TID251 - the one place that looks at all of it
    quiet = quiet_environment(environ)
    # `run` starts a program of somebody else's, which gets its environment as it is.
    if quiet != environ and sys.argv[1:2] != ["run"]:
        # An instrumentation that is already loaded goes away with this process image.
        os.execve(sys.executable, [sys.executable, "-m", "otel_ingest", *sys.argv[1:]], quiet)  # noqa: S606
    from otel_ingest.cli import app  # noqa: PLC0415 - only now, in a quiet environment

    app(prog_name="otel-ingest")


if __name__ == "__main__":
    main()
