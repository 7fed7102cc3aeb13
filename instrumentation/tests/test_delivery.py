"""Delivery: every answer a receiver may give, outages, the spool's bounds and what is said about each."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from instrumentation.tests import sink as s
from otel_ingest_instrumentation import batches, delivery, frames, loud
from otel_ingest_instrumentation.losses import Losses
from otel_ingest_instrumentation.outcome import Batch, Outcome, Verdict, of_http
from otel_ingest_instrumentation.settings import Settings
from otel_ingest_instrumentation.spool import SEGMENT_BYTES, Spool
from otel_ingest_instrumentation.transport import target
from otel_ingest_instrumentation.transport_http import retry_after


@pytest.fixture
def sink() -> Iterator[s.Sink]:
    """Yield a recording receiver."""
    with s.sink() as one:
        yield one


@pytest.fixture(autouse=True)
def fresh_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see the lines that come once a minute."""
    monkeypatch.setattr(loud, "_last", {})


class Script:
    """A transport that answers what a list says, then always delivers."""

    config: str | None = None

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[Batch] = []
        self.broken = False

    def send(self, batch: Batch, timeout_s: float | None = None) -> Outcome:
        """Answer the next."""
        if self.broken:
            return Outcome(Verdict.RETRY, "broken")
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(Verdict.DELIVERED)
        if outcome.verdict is Verdict.DELIVERED:
            self.sent.append(batch)
        return outcome

    def reset_after_fork(self) -> None:
        """Nothing."""


def batch(count: int = 3, size: int = 100) -> Batch:
    """Return a batch of log records."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for i in range(count):
        scope.log_records.add().body.string_value = f"{i} " + os.urandom(size // 2).hex()
    return batches.new("logs", count, 1, 2, request.SerializeToString())


def made(tmp_path: Path, script: Script, **changes: object) -> delivery.Delivery:
    """Return a delivery over a script."""
    settings = replace(Settings(service="shop", spool_dir=tmp_path), **changes)  # type: ignore[arg-type]
    return delivery.Delivery(settings, dict.fromkeys(("logs", "traces", "metrics"), script))


RETRY = Outcome(Verdict.RETRY, "away")


def test_statuses_mean_what_the_specification_says() -> None:
    """Only 408, 429 and 5xx are tried again; a redirect is a refusal; 413 is cut."""
    meaning = {
        status: of_http(status)
        for status in (200, 202, 301, 302, 308, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503)
    }

    assert [k for k, v in meaning.items() if v is Verdict.DELIVERED] == [200, 202]
    assert [k for k, v in meaning.items() if v is Verdict.RETRY] == [408, 429, 500, 502, 503]
    assert [k for k, v in meaning.items() if v is Verdict.REFUSED] == [301, 302, 308, 400, 401, 403, 404]
    assert meaning[413] is Verdict.SPLIT


def test_a_failure_is_tried_again_and_arrives_once(tmp_path: Path) -> None:
    """After some failures the same batch, same id, is delivered; nothing touches the disk."""
    script = Script(RETRY, RETRY)
    one = made(tmp_path, script)
    b = batch()
    one.submit(b)
    s.wait_for(lambda: script.sent)

    assert [x.id for x in script.sent] == [b.id]
    assert not list(tmp_path.rglob("*.spool"))
    one.leave_by(0)


def test_after_the_retries_batches_go_to_disk_and_come_back_oldest_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past RETRIES_IN_MEMORY memory is emptied to the spool, one line says so, and the order is kept."""
    monkeypatch.setattr(delivery, "BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr(delivery, "BACKOFF_MAX_S", 0.05)
    script = Script()
    script.broken = True
    one = made(tmp_path, script)
    all_of_them = [batch() for _ in range(5)]
    for b in all_of_them[:3]:
        one.submit(b)
    s.wait_for(lambda: list(tmp_path.rglob("*.spool")) and not one._ring)
    for b in all_of_them[3:]:
        one.submit(b)
    script.broken = False
    s.wait_for(lambda: len(script.sent) == 5)
    s.wait_for(lambda: not list(tmp_path.rglob("*.spool")) or not one._spool.holds())

    assert [x.id for x in script.sent] == [b.id for b in all_of_them]
    assert capfd.readouterr().err.count("records go to the local spool: broken") == 1
    one.leave_by(0)
    one.close()
    assert not list(tmp_path.rglob("*.spool"))


def test_retry_after_is_honoured() -> None:
    """Seconds and dates, bounded; nonsense is nothing."""
    assert retry_after("7") == 7
    assert retry_after("86400") == 300
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_a_batch_too_large_is_cut_until_it_fits(tmp_path: Path) -> None:
    """413 halves it; a single record that is still too large goes to the dead letters."""
    script = Script(Outcome(Verdict.SPLIT), Outcome(Verdict.SPLIT), Outcome(Verdict.SPLIT))
    one = made(tmp_path, script)
    one.submit(batch(4))
    s.wait_for(lambda: sum(x.count for x in script.sent) + one.refused == 4)

    assert one.refused == 1 or sum(x.count for x in script.sent) == 4
    one.leave_by(0)


def test_halves_hold_all_records() -> None:
    """Cut anywhere, the two parts hold what the whole held, in order."""
    whole = batch(5)
    parts = batches.halves(whole)
    texts = [
        r.body.string_value
        for part in parts
        for rl in ExportLogsServiceRequest.FromString(part.body).resource_logs
        for sl in rl.scope_logs
        for r in sl.log_records
    ]

    message = ExportLogsServiceRequest.FromString(whole.body)
    assert texts == [r.body.string_value for r in message.resource_logs[0].scope_logs[0].log_records]
    assert [p.count for p in parts] == [2, 3]
    assert batches.halves(batch(1)) == ()


@pytest.mark.parametrize("status", [301, 401])
def test_refused_batches_are_kept_and_said(sink: s.Sink, tmp_path: Path, status: int) -> None:
    """A permanent refusal, and a redirect, are kept in the dead-letter file, with a line on stderr."""
    sink.answer = lambda _p, _b: (status, {"location": sink.endpoint + "/elsewhere"}, b"no such luck")
    done = s.run(s.environment(sink.endpoint, tmp_path), sys.executable, "ends.py", "return")

    dead = list(tmp_path.rglob("*.dead"))
    assert done.returncode == 0
    assert f"answered {status}" in done.stderr
    assert "kept in the dead-letter file" in done.stderr
    held = [frame.count for path in dead for frame in frames.pending(os.open(path, os.O_RDONLY))]
    assert sum(held) == 200
    assert dead[0].stat().st_mode & 0o777 == 0o600
    assert not [p for p in sink.posts if p.path.endswith("elsewhere")]


@pytest.mark.parametrize("status", [408, 503])
def test_retryable_answers_lose_nothing(sink: s.Sink, tmp_path: Path, status: int) -> None:
    """While a receiver answers so, everything is kept; the first 200 gets it all."""
    sink.answer = lambda _p, _b: (status, {}, b"")
    done = s.run(s.environment(sink.endpoint, tmp_path), sys.executable, "ends.py", "return")
    assert done.returncode == 0
    sink.answer = lambda _p, _b: s.OK
    again = s.start(s.environment(sink.endpoint, tmp_path, N="0"), sys.executable, "ends.py", "wait")
    s.wait_for(lambda: len(sink.bodies()) >= 200)
    s.terminate(again)

    assert len(sink.bodies()) == 200


def test_partial_success_is_said(sink: s.Sink, tmp_path: Path) -> None:
    """What the receiver rejected is said with its words and not sent again."""
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = 5
    answer.partial_success.error_message = "too old"
    sink.answer = lambda _p, _b: (200, {}, answer.SerializeToString())
    done = s.run(s.environment(sink.endpoint, tmp_path), sys.executable, "ends.py", "return")

    assert "rejected by the receiver: too old" in done.stderr
    assert len(sink.logs()) == 200


def test_a_poisoned_batch_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch that always fails while others pass ends among the dead letters."""
    monkeypatch.setattr(delivery, "BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr(delivery, "BACKOFF_MAX_S", 0.02)
    poison = batch()

    class Picky(Script):
        def send(self, batch: Batch, timeout_s: float | None = None) -> Outcome:
            return RETRY if batch.id == poison.id else super().send(batch)

    script = Picky()
    one = made(tmp_path, script)
    one.submit(poison)
    s.wait_for(lambda: one._head_tries[1] > delivery._POISON_TRIES)

    def another() -> bool:
        one.submit(batch())
        return len(script.sent) >= 3 and one.refused == 3

    s.wait_for(another)
    assert list(tmp_path.rglob("*.dead"))
    one.leave_by(0)


def test_the_spool_is_bounded_and_says_what_it_drops(tmp_path: Path) -> None:
    """Past its bytes the oldest file goes, every record of it counted."""
    losses = Losses()
    spool = Spool(tmp_path / "shop", SEGMENT_BYTES * 2, 3600, losses.add)
    written = 0
    for _ in range(40):
        b = batch(10, 80_000)
        assert spool.append(b) is not None
        written += b.count
    held = 0
    while (oldest := spool.oldest()) is not None:
        held += oldest[1].count
        spool.done(oldest[0])

    assert losses.totals["logs"] > 0
    assert held + losses.totals["logs"] == written
    assert "the spool was full" in str(losses.take()["logs"])


def test_a_damaged_file_costs_its_tail_only(tmp_path: Path) -> None:
    """A frame cut short by a crash ends the file; what stands before it is sent."""
    spool = Spool(tmp_path, 1 << 20, 3600, Losses().add)
    first, second = batch(), batch()
    spool.append(first)
    spool.append(second)
    spool.close()
    path = next(tmp_path.glob("*.spool"))
    path.write_bytes(path.read_bytes()[:-10])
    other = Spool(tmp_path, 1 << 20, 3600, Losses().add)

    assert other.adopt() == 1
    taken = other.oldest()
    assert taken is not None
    assert taken[1] == first
    other.done(taken[0])
    assert other.oldest() is None
    assert not list(tmp_path.glob("*.spool"))


def test_a_file_whose_process_lives_is_left_alone(tmp_path: Path) -> None:
    """The lock decides; old files are dropped, counted."""
    losses = Losses()
    owner = Spool(tmp_path, 1 << 20, 3600, losses.add)
    owner.append(batch())
    other = Spool(tmp_path, 1 << 20, 3600, losses.add)
    assert other.adopt() == 0
    owner.close()
    path = next(tmp_path.glob("*.spool"))
    os.utime(path, (time.time() - 7200,) * 2)

    assert other.adopt() == 0
    assert losses.totals == {"logs": 3}
    assert not list(tmp_path.glob("*.spool"))


def test_without_a_spool_memory_is_the_bound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """``off``: past the memory's bytes records are lost, counted, said, and reported as a record later."""
    script = Script()
    script.broken = True
    one = made(tmp_path, script, spool="off", memory_bytes_max=4_000)
    for _ in range(20):
        one.submit(batch(3, 300))
    lost = one.losses.totals["logs"]
    assert 0 < lost < 60
    assert "CRITICAL" in capfd.readouterr().err
    script.broken = False
    s.wait_for(lambda: any(b"otel_ingest.client.lost" in x.body for x in script.sent))

    report = next(x for x in script.sent if b"otel_ingest.client.lost" in x.body)
    record = ExportLogsServiceRequest.FromString(report.body).resource_logs[0].scope_logs[0].log_records[0]
    assert record.body.string_value.startswith(f"lost logs {lost} records")
    one.leave_by(0)


def test_a_spool_that_cannot_be_written_is_said_and_memory_serves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory others may write to is refused; what memory holds is still sent."""
    monkeypatch.setattr(delivery, "BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr(delivery, "BACKOFF_MAX_S", 0.05)
    (tmp_path / "shop").mkdir(mode=0o777)
    (tmp_path / "shop").chmod(0o777)
    script = Script(*[RETRY] * 7)
    one = made(tmp_path, script)
    one.submit(batch())
    s.wait_for(lambda: script.sent)

    assert "not a directory of this user alone" in capfd.readouterr().err
    one.leave_by(0)


def test_targets_follow_the_standards_variables() -> None:
    """A signal's own variables come first, its endpoint as it stands; the common endpoint gets the path."""
    common = target(
        "traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1/", "OTEL_EXPORTER_OTLP_HEADERS": "x-a=1,b=c%20d"}
    )
    own = target(
        "logs", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://b/x"}
    )
    grpc = target("logs", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})

    assert (common.endpoint, common.headers) == ("http://a:1/v1/traces", {"x-a": "1", "b": "c d"})
    assert own.endpoint == "http://b/x"
    assert grpc.endpoint == "http://localhost:4317"
    assert target("logs", {}).timeout_s == 10
    assert target("logs", {"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "3"}).timeout_s == 3


def test_a_receiver_that_never_answers_never_blocks_the_application(sink: s.Sink, tmp_path: Path) -> None:
    """While a request hangs, logging goes on, and the exit is quick."""
    over = threading.Event()
    sink.answer = lambda _p, _b: (over.wait(60), s.OK)[1]
    try:
        done = s.run(s.environment(sink.endpoint, tmp_path, PAUSE="0"), sys.executable, "ends.py", "return")
    finally:
        over.set()

    assert done.returncode == 0, "it ended by itself, while no request was answered"
    assert list(tmp_path.rglob("*.spool"))


def test_logging_is_quiet_about_itself() -> None:
    """Nothing of the distribution logs through ``logging``."""
    assert not [n for n in logging.root.manager.loggerDict if n.startswith("otel_ingest_instrumentation")]
