"""CPU and memory of a process and all below it, read from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far, user and system, those of children that ended too; resident bytes, shared ones each time."""

    cpu_s: float
    resident_bytes: int


def usage_of(pid: int) -> Usage:
    """Return what ``pid`` and all below it have used."""
    cpu_s, resident = 0.0, 0
    for one in _tree(pid):
        fields = _stat(one)
        if fields:
            cpu_s += sum(int(f) for f in fields[11:15]) / os.sysconf("SC_CLK_TCK")
            resident += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return Usage(cpu_s, resident)


def cpu_of(pid: int) -> float:
    """Return CPU seconds, user and system, of this process alone and of its ended children."""
    fields = _stat(pid)
    return sum(int(f) for f in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def postmaster_of(pgdata: Path) -> int:
    """Return the process id of the PostgreSQL that runs on ``pgdata``."""
    return int((pgdata / "postmaster.pid").read_text().split()[0])


def parent_of(pid: int) -> int:
    """Return the process that ``pid`` came from."""
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name; none where there is no such process."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _tree(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found
