"""What must be seen where the application runs: short lines on stderr, never through the pipe they are about.

Each kind of line comes at most once a minute, with the counts of what it stands for.
"""

import os
import sys
import threading
import time

INTERVAL_S = 60.0
_last: dict[str, float] = {}
_silenced: dict[str, int] = {}
_lock = threading.Lock()


def say(text: str, kind: str | None = None) -> None:
    """Write one line, unless one of its ``kind`` (default: the text itself) came within INTERVAL_S. Never raises."""
    key = kind or text
    now = time.monotonic()
    if not _lock.acquire(timeout=0.1):  # a signal may have come while this thread held it
        return
    try:
        if now - _last.get(key, -INTERVAL_S) < INTERVAL_S:
            _silenced[key] = _silenced.get(key, 0) + 1
            return
        _last[key] = now
        more = _silenced.pop(key, 0)
    finally:
        _lock.release()
    suffix = f" ({more} more like it in between)" if more else ""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    line = f"{stamp} CRITICAL otel-ingest-instrumentation[{os.getpid()}]: {text}{suffix}\n"
    try:
        if sys.__stderr__ is not None:  # not sys.stderr: Celery and others turn that into log records
            sys.__stderr__.write(line)
            sys.__stderr__.flush()
    except (OSError, ValueError):
        pass


def reset_after_fork() -> None:
    """Give a forked child its own lock and its own minute."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _silenced.clear()
