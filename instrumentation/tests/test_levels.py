"""Levels while running: the rules by themselves, then a real server, three processes and the tool's answer."""

import json
import logging
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._opamp.proto import opamp_pb2

from instrumentation.tests import sink as s
from otel_ingest_instrumentation import opamp, taps
from otel_ingest_instrumentation.levels import Levels
from otel_ingest_instrumentation.transport_http import Reply
from tests import harness


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def rule(number: int, name: str, level: str, seconds: float = 60) -> dict[str, Any]:
    """Return a rule as the server sends it."""
    return {"id": number, "name": name, "level": level, "expires_in_s": seconds}


def test_the_longest_name_counts_then_the_highest_id() -> None:
    """``*`` is everything; a name is a logger and all below it, by whole words."""
    levels = Levels(Clock())
    levels.apply(
        [rule(1, "*", "ERROR"), rule(2, "shop", "DEBUG"), rule(3, "shop.orders", "INFO"), rule(4, "shop", "TRACE")]
    )

    assert [levels.threshold(n) for n in ("x", "shop", "shop.a", "shop.orders.db", "shopping")] == [40, 5, 5, 20, 40]
    levels.apply([])
    assert levels.threshold("x") is None


def test_rules_end_by_themselves() -> None:
    """On the process's own clock; what is left stays."""
    clock = Clock()
    levels = Levels(clock)
    levels.apply([rule(1, "a", "DEBUG", 5), rule(2, "b", "DEBUG", 50)])
    assert levels.next_end_s() == 5
    clock.now += 6
    assert levels.expire()
    assert (levels.threshold("a"), levels.threshold("b")) == (None, 10)
    assert levels.effective() == [{"name": "b", "level": "DEBUG", "remaining_s": 44.0}]
    levels.apply([])


@pytest.mark.parametrize("wrong", [{"name": ""}, {"level": "LOUD"}, {"expires_in_s": "soon"}])
def test_a_wrong_rule_changes_nothing(wrong: dict[str, Any]) -> None:
    """The list is taken whole or not at all."""
    levels = Levels(Clock())
    levels.apply([rule(1, "a", "DEBUG")])
    with pytest.raises(ValueError, match="cannot apply"):
        levels.apply([rule(2, "b", "DEBUG"), rule(3, "c", "DEBUG") | wrong])
    assert levels.threshold("a") == 10
    levels.apply([])


def test_rules_touch_no_logger_of_the_application() -> None:
    """More is sent than the application's own handlers see, and less; Logger is Python's own again afterwards."""
    before = (logging.Logger.isEnabledFor, logging.Logger.callHandlers)
    ours: list[str] = []
    taps.install(lambda record: ours.append(record.getMessage()))
    levels = Levels()
    taps.threshold, kept = levels.threshold, taps.threshold
    try:
        log = logging.getLogger("levels.test")
        log.setLevel(logging.WARNING)
        levels.apply([rule(1, "levels", "DEBUG")])
        log.debug("debug")
        assert ours == ["debug"]
        levels.apply([rule(2, "levels", "ERROR")])
        log.debug("debug again")
        assert ours == ["debug"]
        assert taps.unwanted("levels.test", logging.WARNING)
        assert log.level == logging.WARNING
    finally:
        levels.apply([])
        taps.threshold = kept
    assert (logging.Logger.isEnabledFor, logging.Logger.callHandlers) == before


def test_a_configuration_that_cannot_be_applied_is_reported() -> None:
    """The server is told FAILED and why, with the hash it is about."""
    sent = []

    def post(body: bytes, _timeout: float, _wait: int) -> Reply:
        sent.append(opamp_pb2.AgentToServer.FromString(body))
        answer = opamp_pb2.ServerToAgent()
        if len(sent) == 1:
            answer.remote_config.config_hash = b"h"
            answer.remote_config.config.config_map["log_levels"].body = b'{"loggers": [{"name": "a", "level": "LOUD"}]}'
        return Reply(answer.SerializeToString(), waits=False)

    opamp.Agent(post, Levels(), {"service.name": "shop", "service.instance.id": "1"})._poll()

    status = sent[1].remote_config_status
    assert (status.last_remote_config_hash, status.status) == (b"h", opamp_pb2.RemoteConfigStatuses_FAILED)
    assert "cannot apply level LOUD" in status.error_message
    assert {p.key: p.value.string_value for p in sent[0].agent_description.identifying_attributes} == {
        "service.name": "shop",
        "service.instance.id": "1",
    }
    assert sent[0].instance_uid[6] >> 4 == 7


class Scripted:
    """Stands for the server: answers in turn, and notes how long each might have waited; None is a failure."""

    def __init__(self, *answers: Reply | None) -> None:
        self.answers = list(answers)
        self.waits: list[int] = []

    def __call__(self, _body: bytes, _timeout: float, wait: int) -> Reply | None:
        self.waits.append(wait)
        return self.answers.pop(0) if self.answers else Reply(b"", waits=wait > 0)


def test_a_server_that_holds_polls_is_asked_again_at_once() -> None:
    """The first message describes and does not wait; the next one does; one that came back at once costs a second."""
    server = Scripted()
    agent = opamp.Agent(server, Levels(), {})

    assert 0 < agent._poll() <= 1
    assert server.waits == [0, opamp.WAIT_S]


def test_a_server_that_answers_at_once_is_polled() -> None:
    """Any other OpAMP server: every 30 s, whatever it was asked."""
    agent = opamp.Agent(Scripted(Reply(b"", waits=False), Reply(b"", waits=False)), Levels(), {})

    assert 26 < agent._poll() < 34


def test_a_server_that_held_polls_and_is_gone_is_tried_soon() -> None:
    """It starts again: after some 2 s, then ever more seldom; one that never held any, after some 30 s."""
    agent = opamp.Agent(Scripted(*[Reply(b"", waits=True)] * 2, None, None, None), Levels(), {})
    agent._poll()
    first, second = agent._poll(), agent._poll()
    assert first < 3 < second + 1 < 8
    assert opamp.Agent(Scripted(None), Levels(), {})._poll() > 20


def test_no_poll_waits_past_the_end_of_a_rule() -> None:
    """The thread that waits is the one that ends rules."""
    clock, server = Clock(), Scripted()
    levels = Levels(clock)
    levels.apply([rule(1, "a", "DEBUG", 7.5)])
    agent = opamp.Agent(server, levels, {})
    agent._poll()
    clock.now += 7
    agent._poll()
    levels.apply([])

    assert server.waits == [0, 7, 0]


def call(server: harness.Server, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the JSON API as admin."""
    request = urllib.request.Request(f"http://{server.query}/api/v1{path}", method=method)
    request.add_header("Authorization", f"Bearer {server.token('admin')}")
    request.add_header("Content-Type", "application/json")
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(request, data, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def stored(server: harness.Server, text: str) -> int:
    """Return how many records of a body are stored."""
    with server.sql() as cursor:
        cursor.execute("SELECT count(*) FROM log_records WHERE body = %s", (text,))
        row = cursor.fetchone()
    assert row is not None
    return int(str(row[0]))


def test_three_processes_take_a_level_and_fall_back_by_themselves(tmp_path: Path) -> None:
    """The tool's answer counts 3 of 3; only the named logger, only in the store; the end comes without the server."""
    with harness.running(tmp_path / "data") as server:
        env = s.environment(f"http://{server.http}", tmp_path / "spool", OTEL_INGEST_CLIENT_OPAMP="on")
        processes = [s.start(env, sys.executable, "levels_app.py") for _ in range(3)]
        try:
            s.wait_for(lambda: stored(server, "orders info") > 3, 60)
            s.wait_for(lambda: len(call(server, "GET", "/levels?component=shop")["processes"]) == 3, 60)
            assert stored(server, "orders debug") == 0
            change = {"component": "shop", "logger": "shop.orders", "level": "debug", "ttl": "12s", "reason": "test"}
            began = time.monotonic()
            done = call(server, "POST", "/levels", change)
            s.wait_for(lambda: stored(server, "orders debug"))
            print(f"first DEBUG record stored after {time.monotonic() - began:.2f} s")
            assert (done["processes"], done["applied"]) == (3, 3)
            assert stored(server, "other debug") == 0
            server.process.kill()
            server.process.wait()
            s.wait_for(lambda: _fallen_back(tmp_path), 90)  # with no server to end it
            outputs = [s.terminate(one).stdout for one in processes]
        finally:
            for one in processes:
                one.kill()
                one.communicate()
        assert not any("debug" in out for out in outputs), "the application's own output stays as it was"


def test_idle_processes_take_a_level_at_once_and_end_at_once(tmp_path: Path) -> None:
    """Two that never logged anything: the tool's answer counts both; a poll that waits keeps nobody from ending."""
    with harness.running(tmp_path / "data") as server:
        env = s.environment(f"http://{server.http}", tmp_path / "spool", OTEL_INGEST_CLIENT_OPAMP="on")
        processes = [
            subprocess.Popen(
                s.instrument(sys.executable, "idle_app.py"),
                env=env,
                cwd=s.APPS,
                stdin=-1,
                stdout=-1,
                stderr=-1,
                text=True,
            )
            for _ in range(2)
        ]
        try:
            s.wait_for(lambda: len(call(server, "GET", "/levels")["processes"]) == 2, 60)
            change = {"component": "shop", "level": "debug", "ttl": "60s", "reason": "idle ones too"}
            done = call(server, "POST", "/levels", change)
            assert (done["processes"], done["applied"]) == (2, 2)
            ends = [one.communicate("log\n", timeout=10) for one in processes]
        finally:
            for one in processes:
                one.kill()
                one.wait()
        assert [one.returncode for one in processes] == [0, 0], ends
        s.wait_for(lambda: stored(server, "idle debug") == 2)
        s.wait_for(lambda: not call(server, "GET", "/levels")["processes"])


def _fallen_back(tmp_path: Path) -> bool:
    """Return whether all three processes spool, and none of the latest records is below INFO."""
    paths = list(tmp_path.rglob("*.spool"))
    latest = [_bodies(path)[-15:] for path in paths]
    return len(paths) == 3 and all("orders info" in last and "orders debug" not in last for last in latest)


def _bodies(path: Path) -> list[str]:
    """Return the bodies in a spool file, in order."""
    import os

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    from otel_ingest_instrumentation import frames

    out = []
    fd = os.open(path, os.O_RDONLY)
    for frame in frames.pending(fd):
        message = ExportLogsServiceRequest.FromString(frame.batch().body)
        out += [r.body.string_value for rl in message.resource_logs for sl in rl.scope_logs for r in sl.log_records]
    os.close(fd)
    return out
