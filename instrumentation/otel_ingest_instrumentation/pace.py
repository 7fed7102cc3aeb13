"""The exporting thread's manners: it lets the interpreter go between records, so that no request waits for a batch.

A thread that computes keeps the interpreter's lock for 5 ms at a time (``sys.getswitchinterval``), and a request gives
the lock up at each of its calls to the network: while a batch is encoded each costs it those 5 ms. Here the lock is
free after half a millisecond.
"""

import threading
import time

SLICE_S = 0.0005  # of work between two pauses: what a request waits for at most
_PAUSE_S = 0.0002  # a real one: with none this thread would have the lock again before the other is awake
_local = threading.local()


def begin(*, gentle: bool) -> None:
    """Say whether this thread pauses from now on; threads that never said so do not."""
    _local.until = time.perf_counter() + SLICE_S if gentle else None


def step() -> None:
    """Pause where the slice is over."""
    until = getattr(_local, "until", None)
    if until is not None and time.perf_counter() >= until:
        time.sleep(_PAUSE_S)  # noqa: TID251  # on the exporting thread, not on the application's time
        _local.until = time.perf_counter() + SLICE_S
