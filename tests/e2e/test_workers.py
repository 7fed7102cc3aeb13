"""Several receivers: processes on one address, and servers on one database."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import psycopg

from tests import harness
from tests.e2e.test_up import log_request
from tests.factories import log_record, logs_request

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def children(server: harness.Server) -> list[int]:
    """Return the receiver processes of a server."""
    pids = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(pid) for pid in pids if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


def alive(pid: int) -> bool:
    """Whether a process is there and not waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def received(server: harness.Server) -> dict[str, int]:
    """Return the log records that each worker received."""
    found = {}
    for name, value in server.metrics().items():
        if name.startswith('otel_ingest_received_records_total{signal="logs",worker='):
            found[name.split('"')[3]] = int(value)
    return found


def test_two_workers_share_the_work(tmp_path: Path) -> None:
    """Both receive on both transports, the ledger balances in sum, one that is killed is replaced, SIGTERM ends all."""
    with harness.running(tmp_path / "data", "--workers", "2") as server:
        for n in range(40):  # a connection each: the kernel gives them out
            assert server.post("/v1/logs", log_request(f"record {n}")) == (200, b"{}")
        for n in range(10):
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(server.grpc, options) as channel:
                request = logs_request([log_record(severity_text=f"by gRPC {n}")])
                channel.unary_unary(EXPORT)(request.SerializeToString(), timeout=20)
        shares = received(server)
        assert sum(shares.values()) == 50
        assert all(shares[worker] > 0 for worker in ("1", "2"))
        assert server.get("/readyz", role=None).startswith(b"ready")

        before = children(server)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        harness.wait_until(lambda: len(set(children(server)) | set(before)) == 3 and len(received(server)) == 2, 60)
        assert "a receiver process ended" in server.stderr_path.read_text()
        for n in range(20):
            assert server.post("/v1/logs", log_request(f"later {n}")) == (200, b"{}")
        with server.sql() as cursor:
            assert cursor.execute("SELECT count(*) FROM log_records").fetchone() == (70,)
        assert 'otel_ingest_worker_restarts_total{worker="1"}' in server.metrics()
        workers = children(server)
        second = subprocess.run(
            [sys.executable, "-m", "otel_ingest", "up", "--data-dir", str(tmp_path / "other"), "--workers", "2",
             "--http-endpoint", server.http, "--grpc-endpoint", "127.0.0.1:0", "--query-endpoint", "127.0.0.1:0"],
            env=harness.clean_environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert "--http-endpoint" in second.stderr

    assert server.process.returncode == 0
    assert not any(alive(pid) for pid in workers)
    assert not list((tmp_path / "data").rglob("postmaster.pid"))


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """Kill -9 of the supervisor: the workers see the end of the pipe and stop; the data directory can be used again."""
    server = harness.start(tmp_path / "data", "--workers", "2")
    assert server.post("/v1/logs", log_request("before"))[0] == 200
    workers = children(server)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(20)
    assert server.process.stdout is not None
    server.process.stdout.close()
    harness.wait_until(lambda: not any(alive(pid) for pid in workers), 40)

    with harness.running(tmp_path / "data") as server:
        assert b"before" in server.get("/api/v1/logs?component=shop")


def test_two_servers_on_one_database(empty_database_url: str, tmp_path: Path) -> None:
    """Both store; one of them looks after the partitions; when it is killed the other one does."""
    environment = {"OTEL_INGEST_DATABASE_URL": empty_database_url, "OTEL_INGEST_UPKEEP_INTERVAL_S": "0.2"}
    holders = "SELECT pid FROM pg_stat_activity WHERE application_name = 'otel-ingest upkeep' AND datname = %s"

    with psycopg.connect(empty_database_url.replace("+psycopg", ""), autocommit=True) as connection:
        name = connection.info.dbname

        def holding() -> set[int]:
            turn = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = ANY(%s)"
            pids = [row[0] for row in connection.execute(holders, [name]).fetchall()]
            return {int(row[0]) for row in connection.execute(turn, [pids]).fetchall()}

        with harness.running(tmp_path / "one", **environment) as first:
            harness.wait_until(lambda: len(holding()) == 1)
            held = holding()
            with harness.running(tmp_path / "two", **environment) as second:
                for server in (first, second):
                    assert server.post("/v1/logs", log_request("from both")) == (200, b"{}")
                assert holding() == held
                first.process.send_signal(signal.SIGKILL)
                first.process.wait(20)
                connection.execute("DROP TABLE IF EXISTS nothing")
                harness.wait_until(lambda: len(holding()) == 1 and holding() != held, 60)
                tomorrow = connection.execute(
                    "SELECT relname FROM pg_class WHERE relispartition AND relname LIKE 'log_records_p%' "
                    "AND relkind = 'r' ORDER BY relname DESC LIMIT 1"
                ).fetchone()
                assert tomorrow is not None
                drop = "ALTER TABLE log_records DETACH PARTITION {0}; DROP TABLE {0}".format(tomorrow[0])
                connection.execute(drop.encode())
                harness.wait_until(
                    lambda: connection.execute("SELECT to_regclass(%s)", [tomorrow[0]]).fetchone() != (None,), 60
                )
                assert second.post("/v1/logs", log_request("by the other"))[0] == 200
