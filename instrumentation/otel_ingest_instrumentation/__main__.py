"""``python -m otel_ingest_instrumentation``: a token for X-Trace-Log, and dead letters sent once more."""

import argparse
import sys
import time
from pathlib import Path

from otel_ingest_instrumentation import settings, trace_token


def _token(seconds: int) -> int:
    secret = settings.read().trace_secret
    if not secret:
        sys.stderr.write("OTEL_INGEST_CLIENT_TRACE_SECRET is not set\n")
        return 2
    sys.stdout.write(trace_token.make(secret, int(time.time()) + min(seconds, trace_token.LIFE_MAX_S)) + "\n")
    return 0


def _resend(directory: Path) -> int:
    """Give refused batches back to the spool: the next process of the service sends them again."""
    moved = 0
    for path in sorted(directory.rglob("*.dead")):
        path.rename(path.with_suffix(".spool"))
        moved += 1
    sys.stdout.write(f"{moved} files are in the spool again\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m otel_ingest_instrumentation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    token = commands.add_parser("trace-token", help="print a token for the header X-Trace-Log")
    token.add_argument("--seconds", type=int, default=900, help="how long it holds (default 900, at most a day)")
    resend = commands.add_parser(
        "resend", help="send the dead letters once more, after what refused them was put right"
    )
    resend.add_argument("--dir", type=Path, default=None, help="the spool's directory (default: as the application's)")
    chosen = parser.parse_args(arguments)
    if chosen.command == "trace-token":
        return _token(chosen.seconds)
    return _resend(chosen.dir or settings.read().spool_dir)


if __name__ == "__main__":
    sys.exit(main())
