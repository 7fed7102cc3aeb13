"""The spool on a real file system: modes, a disk that is full, a process that is killed."""

import itertools
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ingest.spool.disk import RealDisk
from otel_ingest.spool.format import Frame, SpooledRequest
from otel_ingest.spool.segments import SegmentLog, SpoolError

APPEND_FOR_EVER = """
import os, sys, time
from pathlib import Path
from otel_ingest.spool.disk import RealDisk
from otel_ingest.spool.format import SpooledRequest
from otel_ingest.spool import segments

segments.SEGMENT_BYTES = 100_000
log = segments.SegmentLog(RealDisk(Path(sys.argv[1])), bytes_max=1 << 30, new_id=lambda: os.urandom(16),
                          clock_ns=time.time_ns)
log.recover()
number = int(sys.argv[2])
while True:
    number += 1
    log.append([SpooledRequest("logs", "application/json", number, 1, os.urandom(number % 3_000))])
    os.write(1, b"%d\\n" % number)
"""


def log_in(directory: Path) -> SegmentLog:
    """Return a log on what is in a directory."""
    log = SegmentLog(RealDisk(directory), bytes_max=1 << 30, new_id=lambda: os.urandom(16), clock_ns=lambda: 1)
    log.recover()
    return log


def numbers(log: SegmentLog) -> list[int]:
    """Return the receipt times of what would be replayed."""
    return [i.request.received_ns for s in log.segments for i in log.read(s) if isinstance(i, Frame)]


def request(number: int, size: int = 10) -> SpooledRequest:
    """Return a request of ``size`` bytes."""
    return SpooledRequest("logs", "application/json", number, 1, bytes(size))


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """Bodies hold what services say: directory 0700, files 0600, whatever the umask."""
    former = os.umask(0)
    try:
        log_in(tmp_path / "spool").append([request(1)])
    finally:
        os.umask(former)

    (file,) = (tmp_path / "spool").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


@pytest.fixture
def files_of_100_kb() -> Iterator[None]:
    """Let no file of this process grow past 100 kB: writes stop in the middle, as on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("files_of_100_kb")
def test_a_write_that_stops_in_the_middle_is_refused_and_taken_back(tmp_path: Path) -> None:
    """What was acknowledged before stays, what was refused is not there, what follows is taken again."""
    log = log_in(tmp_path)
    log.append([request(1, 60_000)])
    with pytest.raises(SpoolError, match="refused"):
        log.append([request(2, 20_000), request(3, 30_000)])
    log.append([request(4, 20_000)])

    assert numbers(log) == [1, 4]
    assert numbers(log_in(tmp_path)) == [1, 4]


def test_a_full_file_system(tmp_path: Path) -> None:
    """ENOSPC of a real one (a tmpfs of 300 kB): refused, nothing torn, taken again once there is room."""
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        log = log_in(tmp_path / "spool")
        taken = []
        for number in range(1, 100):
            try:
                log.append([request(number, 20_000)])
                taken.append(number)
            except SpoolError as error:
                assert "space" in str(error)  # noqa: PT017
                break
        assert 5 < len(taken) < 20
        assert numbers(log_in(tmp_path / "spool")) == taken

        log.seal()
        log.remove(log.segments[0])
        log.append([request(100, 20_000)])

        assert numbers(log_in(tmp_path / "spool")) == [100]
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("round_", range(5))
def test_killed_while_it_appends(tmp_path: Path, round_: int) -> None:
    """SIGKILL at any moment: every number that was said is there, in order, once; at most the one after it too."""
    said = 0
    for _ in range(2):  # the second process goes on where the first was killed
        command = [sys.executable, "-c", APPEND_FOR_EVER, str(tmp_path), str(said)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = list(itertools.islice(process.stdout, 50 + 37 * round_))
            process.kill()
            lines += process.stdout.readlines()
        former, said = said, int(lines[-1])
        found = numbers(log_in(tmp_path))

        assert set(range(former + 1, said + 1)) <= set(found)
        assert set(found) <= set(range(1, said + 2))
        assert len(set(found)) == len(found)
        said = max(found)
