"""SIGTERM under load: everything acknowledged is there, everything else was told to come back, exit code 0 in time."""

import itertools
import signal
import socket
import threading
import time
import urllib.error
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests import harness
from tests.factories import log_record, logs_request

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
PB = "application/x-protobuf"
RECORDS = 200
SENDERS = 8


def request_of(number: int) -> bytes:
    """Return one request whose records name it."""
    records = [log_record(body={"string_value": f"request {number}"})] * RECORDS
    return bytes(logs_request(records).SerializeToString())


class Load:
    """Senders of both transports that go on until nobody listens any more."""

    def __init__(self, server: harness.Server) -> None:
        self.acknowledged: list[int] = []
        self.answers: set[str] = set()
        self._server = server
        self._numbers = itertools.count()

    def http(self) -> None:
        """Send over HTTP, a connection each time."""
        while True:
            number = next(self._numbers)
            try:
                status, _ = self._server.post("/v1/logs", request_of(number), PB)
            except (urllib.error.URLError, ConnectionError) as error:
                self.answers.add(type(getattr(error, "reason", error)).__name__)
                return
            self.answers.add(str(status))
            if status == 200:
                self.acknowledged.append(number)

    def grpc(self) -> None:
        """Send over gRPC, on one channel."""
        with grpc.insecure_channel(self._server.grpc) as channel:
            while True:
                number = next(self._numbers)
                try:
                    channel.unary_unary(EXPORT)(request_of(number), timeout=30)
                except grpc.RpcError as error:
                    self.answers.add(error.code().name)
                    return
                self.acknowledged.append(number)


def stored(server: harness.Server) -> set[int]:
    """Return which requests are in the database, each whole and once."""
    with server.sql() as cursor:
        cursor.execute("SELECT body, count(*) FROM log_records GROUP BY body")
        counts = dict(cursor.fetchall())
    assert set(counts.values()) <= {RECORDS}
    return {int(str(body).split()[1]) for body in counts}


def test_sigterm_under_load(tmp_path: Path) -> None:
    """No sender loses what was acknowledged; a follower of the log does not hold the stop up."""
    data_dir = tmp_path / "data"
    server = harness.start(data_dir, OTEL_INGEST_DRAIN_TIMEOUT_S="15")
    load = Load(server)
    idle = socket.create_connection(server.http.split(":"))  # type: ignore[arg-type]
    with ThreadPoolExecutor(SENDERS) as pool:
        kinds: list[Callable[[], None]] = [load.http, load.grpc]
        for kind in kinds * (SENDERS // 2):
            pool.submit(kind)
        wait_for(lambda: len(load.acknowledged) > 5 * SENDERS)
        began = time.monotonic()
        assert server.stop() == 0
        took_s = time.monotonic() - began
    idle.close()
    assert server.process.stdout is not None
    server.process.stdout.close()

    assert took_s < 30  # a bound for a busy machine; 15 is the setting
    assert load.answers <= {"200", "503", "UNAVAILABLE", "ConnectionRefusedError", "ConnectionResetError"}
    with harness.running(data_dir) as again:
        assert set(load.acknowledged) <= stored(again)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """While a request waits for its body, one signal waits for it; two do not."""
    server = harness.start(tmp_path / "data", OTEL_INGEST_DRAIN_TIMEOUT_S="300")
    with socket.create_connection(server.http.split(":")) as sock:  # type: ignore[arg-type]
        sock.sendall(
            b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        server.process.send_signal(number)
        wait_for(lambda: "stopping" in server.stderr_path.read_text())
        time.sleep(0.5)
        assert server.process.poll() is None
        server.stop(number)
    assert server.process.stdout is not None
    server.process.stdout.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, 60 s at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
