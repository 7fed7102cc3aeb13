"""The spool's log against a disk that crashes, tears, fails and lies no more than disks do."""

import contextlib
import errno
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from otel_ingest.spool import segments
from otel_ingest.spool.format import Damage, Frame, SpooledRequest, parse_name
from otel_ingest.spool.segments import SegmentLog, SpoolError, SpoolFullError
from tests.modelled_disk import Crash, ModelledDisk

FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def request(number: int, body: bytes = b"", **more: object) -> SpooledRequest:
    """Return a request that is told apart by its time of receipt."""
    return SpooledRequest("logs", "application/x-protobuf", number, 1, body, **more)  # type: ignore[arg-type]


def log_on(disk: ModelledDisk, bytes_max: int = 1 << 30) -> SegmentLog:
    """Return a log on what the disk holds."""
    ids = itertools.count(disk.calls + 1)
    log = SegmentLog(
        disk,
        bytes_max=bytes_max,
        new_id=lambda: next(ids).to_bytes(8, "little") * 2,
        clock_ns=lambda: 1,
    )
    log.recover()
    return log


def replayed(log: SegmentLog) -> list[SpooledRequest]:
    """Return every request that would be replayed now, in order."""
    return [i.request for s in log.segments for i in log.read(s) if isinstance(i, Frame)]


class SpoolMachine(RuleBasedStateMachine):
    """Appends, drains, faults and crashes in any order.

    Kept: what was acknowledged and not drained comes back, in order, as it was. Nothing comes back that was never
    appended; what was refused does not come back once a later append was acknowledged.
    """

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        """Begin with an empty disk."""
        self.disk = ModelledDisk(seed)
        self.log = log_on(self.disk)
        self.numbers = itertools.count(1)
        self.sent: dict[int, SpooledRequest] = {}
        self.acknowledged: dict[int, None] = {}
        self.refused: set[int] = set()  # since the last acknowledged append: may come back after a crash
        self.buried: set[int] = set()  # refused before it: must never come back
        self.drained: set[int] = set()
        self.removed: set[int] = set()  # drained, and the removal returned: must never come back

    def _append(self, bodies: list[bytes]) -> None:
        group = [request(next(self.numbers), body) for body in bodies]
        self.sent |= {r.received_ns: r for r in group}
        numbers = [r.received_ns for r in group]
        try:
            self.log.append(group)
        except SpoolError:
            self.refused |= set(numbers)
        except Crash:
            self._restart()
        else:
            self.acknowledged |= dict.fromkeys(numbers)
            self.buried |= self.refused
            self.refused = set()

    def _restart(self) -> None:
        self.disk.crash()
        self.log = log_on(self.disk)
        # What may have come back did or did not; from now on it is on the disk like all else.
        self.refused = set()

    @rule(bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=4))
    def append(self, bodies: list[bytes]) -> None:
        """Append a group."""
        self._append(bodies)

    @rule(
        bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
        ahead=st.integers(1, 7),
        number=st.sampled_from(FAULTS),
        times=st.integers(1, 3),
    )
    def append_with_faults(self, bodies: list[bytes], ahead: int, number: int, times: int) -> None:
        """Append while system calls fail."""
        self.disk.fail = {self.disk.calls + ahead + n: number for n in range(times)}
        self._append(bodies)
        self.disk.fail = {}

    @rule(bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=4), ahead=st.integers(1, 7))
    def append_and_crash(self, bodies: list[bytes], ahead: int) -> None:
        """Append; the machine stops before some system call."""
        self.disk.crash_at = self.disk.calls + ahead
        self._append(bodies)
        self.disk.crash_at = None

    @rule()
    def seal(self) -> None:
        """Seal the open segment."""
        self.log.seal()

    @rule(ahead=st.integers(1, 3))
    def seal_and_crash(self, ahead: int) -> None:
        """Seal; the machine stops before some system call."""
        self.disk.crash_at = self.disk.calls + ahead
        try:
            self.log.seal()
        except Crash:
            self._restart()
        self.disk.crash_at = None

    @precondition(lambda self: self.log.segments)
    @rule(ahead=st.integers(1, 5))
    def drain_oldest(self, ahead: int) -> None:
        """Store the oldest segment and remove it, perhaps crashing on the way: it is stored either way."""
        segment = self.log.segments[0]
        numbers = {i.request.received_ns for i in self.log.read(segment) if isinstance(i, Frame)}
        self.drained |= numbers
        self.disk.crash_at = self.disk.calls + ahead
        try:
            self.log.remove(segment)
            self.removed |= numbers
        except Crash:
            self._restart()
        self.disk.crash_at = None

    @rule()
    def crash(self) -> None:
        """Stop the machine between two appends."""
        self._restart()

    @invariant()
    def what_was_acknowledged_comes_back(self) -> None:
        """Check both promises."""
        found = replayed(self.log)
        numbers = [r.received_ns for r in found]

        assert [n for n in numbers if n in self.acknowledged] == sorted(set(numbers) & set(self.acknowledged))
        assert set(self.acknowledged) - self.drained <= set(numbers)
        assert all(self.sent[r.received_ns] == r for r in found)
        assert not (self.buried | self.removed) & set(numbers)

    @invariant()
    def it_knows_how_much_it_holds(self) -> None:
        """Check what it says about itself."""
        found = replayed(self.log)

        assert self.log.contents.requests == len(found)
        assert self.log.contents.records.get("logs", 0) == len(found)


SpoolMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSpoolMachine = SpoolMachine.TestCase


@given(
    bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=5),
    where=st.floats(0, 1, exclude_max=True),
    mask=st.integers(1, 255),
    sealed=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_a_flipped_byte_costs_one_request_and_is_noticed(
    bodies: list[bytes], where: float, mask: int, sealed: bool
) -> None:
    """Whichever byte is flipped, the requests around it come back, nothing else does, and the damage is named."""
    disk = ModelledDisk()
    log = log_on(disk)
    sent = [request(n, body, attempts=("1/1/1",), batch_id="b") for n, body in enumerate(bodies, 1)]
    for one in sent:
        log.append([one])
    if sealed:
        log.seal()
    (name,) = disk.names()
    disk.flip(name, int(where * disk.size(name)), mask)

    log = log_on(disk)
    items = [i for s in log.segments for i in log.read(s)]
    found = [i.request for i in items if isinstance(i, Frame)]

    assert found == [r for r in sent if r in found]
    assert len(found) >= len(sent) - 1
    if len(found) < len(sent):
        assert any(isinstance(i, Damage) for i in items)


@given(bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=5), cut=st.integers(0, 2000))
@settings(max_examples=300, deadline=None)
def test_any_prefix_of_a_segment_gives_the_requests_that_are_whole(bodies: list[bytes], cut: int) -> None:
    """Cut anywhere: the whole requests before the cut come back, no other."""
    disk = ModelledDisk()
    log = log_on(disk)
    ends = []
    for number, body in enumerate(bodies, 1):
        log.append([request(number, body)])
        ends.append(log.segments[0].length)
    (name,) = disk.names()
    del disk.files[name].data[cut:]

    assert [r.received_ns for r in replayed(log_on(disk))] == [n for n, end in enumerate(ends, 1) if end <= cut]


@given(body=st.binary(max_size=100), junk=st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_a_frame_inside_a_body_is_never_taken_for_one(body: bytes, junk: bytes) -> None:
    """The bytes of another frame are sent as a body, and the frame of that is damaged: nothing is invented."""
    disk = ModelledDisk()
    log = log_on(disk)
    log.append([request(1, body)])
    (name,) = disk.names()
    stolen = bytes(disk.files[name].data)
    log.append([request(2, junk + stolen + junk)])
    last = next(i for s in log.segments for i in log.read(s) if isinstance(i, Frame) and i.request.received_ns == 2)
    disk.flip(name, last.offset + 9, 1)

    assert [r.received_ns for r in replayed(log_on(disk))] == [1]


def test_full_is_said_and_room_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its bound nothing is taken; what is removed makes room."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 4_000)
    disk = ModelledDisk()
    log = log_on(disk, bytes_max=10_000)
    taken = 0
    for number in range(1, 100):
        with contextlib.suppress(SpoolFullError):
            log.append([request(number, bytes(1_000))])
            taken = number
    assert 5 <= taken <= 9
    assert sum(disk.size(n) for n in disk.names()) <= 10_000

    log.remove(log.segments[0])
    log.append([request(taken + 1, bytes(1_000))])

    assert replayed(log)[-1].received_ns == taken + 1


def test_what_is_damaged_is_set_aside_with_its_bytes() -> None:
    """The bytes are kept beside, counted, and still counted by the next process."""
    disk = ModelledDisk()
    log = log_on(disk)
    log.append([request(1, b"first"), request(2, b"second")])
    log.seal()
    (name,) = disk.names()
    disk.flip(name, bytes(disk.files[name].data).index(b"first"), 1)
    segment = log.segments[0]
    (damage,) = [i for i in log.read(segment) if isinstance(i, Damage)]

    aside = log.set_aside(segment, damage.offset, damage.length)
    log.remove(segment)

    assert b"girst" in disk.files[aside].data
    assert parse_name(aside) is None
    assert log_on(disk).used_bytes == damage.length
