"""What this process holds of memory: as little as glibc can be told to keep, and given back after a peak."""

import ctypes
import gc
import resource

# mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX. Set once they stop adapting themselves: after the first
# freed body of 64 MiB glibc would take the next ones from the heap, and a heap gives back its end only.
_MALLOPT = ((-1, 256 * 1024), (-3, 128 * 1024), (-8, 2))
# Files beyond connections: PostgreSQL, logs, certificates.
_FILES = 512

_libc = ctypes.CDLL(None)


def spare_cycles() -> None:
    """Look for cycles seldom: requests make millions of short-lived objects and no cycles; each 700 would be a tax."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def tame() -> None:
    """Let bodies be mapped one by one, so that each is given back when it is freed; nothing where libc is not glibc."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        for parameter, value in _MALLOPT:
            mallopt(parameter, value)


def trim() -> None:
    """Give free pages in the middle of the heap back to the system: some ms for each 100 MiB."""
    malloc_trim = getattr(_libc, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def raise_files_limit(wanted: int) -> int:
    """Raise the soft limit of open files towards ``wanted`` and some of our own; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
