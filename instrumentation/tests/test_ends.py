"""However a process ends, nothing it logged is lost: real processes, by their environment alone."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry._opamp.proto import opamp_pb2

from instrumentation.tests import sink as s


@pytest.fixture
def sink() -> Iterator[s.Sink]:
    """Yield a recording receiver."""
    with s.sink() as one:
        yield one


ENDS = {
    "return": (0, 200),
    "sys_exit": (3, 200),
    "exception": (1, 200),
    "os_exit": (4, 200),
    "reset": (-15, 201),
    "fork_exit": (0, 100),
    "mp_fork": (0, 150),
    "mp_spawn": (0, 150),
    "mp_forkserver": (0, 150),
    "pool": (0, 150),
}


@pytest.mark.parametrize("end", ENDS)
def test_every_end_delivers(sink: s.Sink, tmp_path: Path, end: str) -> None:
    """All records arrive, once, whatever the end; the exit status is the application's."""
    status, count = ENDS[end]
    done = s.run(s.environment(sink.endpoint, tmp_path), sys.executable, "ends.py", end)

    assert done.returncode == status, done.stderr
    assert len(sink.bodies()) == count
    assert len(set(sink.bodies())) == count
    assert "CRITICAL" not in done.stderr


def test_a_forked_child_is_an_instance_of_its_own(sink: s.Sink, tmp_path: Path) -> None:
    """Its records and its OpAMP agent have the same new service.instance.id; the parent keeps its own."""
    env = s.environment(sink.endpoint, tmp_path, OTEL_INGEST_CLIENT_OPAMP="on")
    del env["OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"]
    done = s.run(env, sys.executable, "ends.py", "fork_exit")

    assert done.returncode == 0, done.stderr
    ids: dict[str, set[str]] = {}
    for post in sink.posts:
        if post.path == "/v1/logs":
            for group in post.message.resource_logs:
                (own,) = [a.value.string_value for a in group.resource.attributes if a.key == "service.instance.id"]
                bodies = [r.body.string_value for scope in group.scope_logs for r in scope.log_records]
                ids.setdefault(own, set()).update(body.split()[0] for body in bodies)
    assert sorted(ids.values(), key=sorted) == [{"child"}, {"main"}]
    agents = [opamp_pb2.AgentToServer.FromString(p.body) for p in sink.posts if p.path == "/v1/opamp"]
    described = {
        a.value.string_value
        for agent in agents
        for a in agent.agent_description.identifying_attributes
        if a.key == "service.instance.id"
    }
    assert described <= set(ids)
    assert described


@pytest.mark.parametrize(
    ("end", "number", "status"), [("wait", 15, -15), ("wait", 1, -1), ("wait", 2, -2), ("handled", 15, 5)]
)
def test_every_signal_delivers(sink: s.Sink, tmp_path: Path, end: str, number: int, status: int) -> None:
    """A signal that ends the process delivers first, and the parent sees the same status as ever."""
    process = s.start(s.environment(sink.endpoint, tmp_path), sys.executable, "ends.py", end)
    assert process.stdout is not None
    line = "ready" if end == "handled" else "done"
    while process.stdout.readline().strip() != line:
        assert process.poll() is None
    done = s.terminate(process, number)

    assert done.returncode in (status, 128 + number if end == "wait" else status)
    assert len(set(sink.bodies())) == len(sink.bodies()) == 200


@pytest.mark.parametrize("end", ["return", "sys_exit", "exception", "os_exit", "wait", "mp_fork"])
def test_an_end_while_nobody_listens_is_quick_and_keeps_everything(sink: s.Sink, tmp_path: Path, end: str) -> None:
    """With the receiver away the exit takes 3 s at most, and the next process of the service sends what was kept."""
    sink.stop()
    env = s.environment(sink.endpoint, tmp_path)
    process = s.start(env | {"PAUSE": "0.002"}, sys.executable, "ends.py", end)
    if end != "mp_fork":
        assert process.stdout is not None
        while process.stdout.readline().strip() != "done":
            assert process.poll() is None
    began = time.monotonic()
    done = s.terminate(process, signal.SIGTERM) if end == "wait" else s.finish(process)
    assert time.monotonic() - began < (3.0 if end != "mp_fork" else 30.0)
    kept = list(tmp_path.rglob("*.spool"))
    assert kept, done.stderr
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept)

    sink.start()
    again = s.start(env | {"N": "1"}, sys.executable, "ends.py", "wait")
    expected = 151 if end == "mp_fork" else 201
    s.wait_for(lambda: len(sink.bodies()) >= expected)
    s.terminate(again)

    assert len(sink.bodies()) == expected
    assert not list(tmp_path.rglob("*.spool"))


def test_sigkill_with_the_spool_always_on_loses_no_more_than_the_delay(sink: s.Sink, tmp_path: Path) -> None:
    """With ``always`` what is older than the queue's delay is on disk before the first try."""
    sink.stop()
    env = s.environment(sink.endpoint, tmp_path, OTEL_INGEST_CLIENT_SPOOL="always", PAUSE="0.005")
    process = s.start(env, sys.executable, "ends.py", "wait")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "done"
    s.wait_for(lambda: sum(p.stat().st_size for p in tmp_path.rglob("*.spool")) > 0)
    time.sleep(1.0)  # five times the delay: whatever was logged has been written
    s.terminate(process, signal.SIGKILL)

    sink.start()
    again = s.start(env | {"N": "1"}, sys.executable, "ends.py", "wait")
    s.wait_for(lambda: len(sink.bodies()) >= 201)
    s.terminate(again)
    assert len(sink.bodies()) == 201
