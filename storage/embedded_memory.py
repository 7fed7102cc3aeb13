"""How much of a machine's memory the embedded PostgreSQL keeps pages in (``shared_buffers``)."""

import contextlib
import os
from pathlib import Path

# An eighth of what there is: the rest is the applications' too, and the kernel's cache of the same files. At most what
# the indexes of an open day with 50 million records take: trace ids go to any page of theirs (docs/adr/034).
_PART = 8
_LEAST_MIB = 128
_MOST_MIB = 1024


def shared_buffers_mib(memory_bytes: int) -> int:
    """PURE: return ``shared_buffers`` in MiB for a machine of that memory; a page of it is taken at its first use."""
    return max(_LEAST_MIB, min(memory_bytes // 2**20 // _PART, _MOST_MIB))


def memory_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory of this machine, or what our cgroup may take where that is less (kernel: cgroup-v2.rst)."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2; or "max", which is no limit
        own = (proc / "self" / "cgroup").read_text().rpartition("0::")[2].strip().lstrip("/")
        there = min(there, int((cgroups / own / "memory.max").read_text()))
    return there
