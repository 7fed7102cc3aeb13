"""PostgreSQL goes away while services send: nothing is refused, nothing is lost, nothing is stored twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests import harness
from tests.e2e.test_up import log_request
from tests.own_postgres import PATIENCE_S, OwnPostgres, receiver, until


def spooled(server: harness.Server) -> int:
    """Return how many requests are in the spool."""
    return int(server.metrics()["otel_ingest_spool_requests"])


def send(server: harness.Server, *bodies: str) -> None:
    """Send one request a body; each must be acknowledged."""
    for body in bodies:
        assert server.post("/v1/logs", log_request(body)) == (200, b"{}")


def test_an_outage_is_not_noticed_by_senders(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """Requests are acknowledged while PostgreSQL is away, and stored once it is back, once each."""
    with receiver(tmp_path, postgres_of_own) as server:
        send(server, "before")
        postgres_of_own.stop()
        send(server, *(f"away {n}" for n in range(20)))
        assert spooled(server) == 20
        server.assert_balanced()
        ready = server.get("/readyz", role=None).decode()
        postgres_of_own.start()
        until(lambda: spooled(server) == 0)
        send(server, "after")

        assert "degraded" in ready
        assert "20 requests, 20 records" in ready
        assert sorted(postgres_of_own.bodies()) == sorted(["before", *(f"away {n}" for n in range(20)), "after"])
        assert server.get("/readyz", role=None) == b"ready"
        assert server.metrics()['otel_ingest_stored_records_total{signal="logs"}'] == 22
    assert not list((tmp_path / "data" / "spool" / "0").glob("*.spool"))


def test_killed_with_a_spool_started_without_postgresql(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """Kill -9 while requests are spooled; the next start takes more without PostgreSQL, then drains all by itself."""
    with receiver(tmp_path, postgres_of_own) as server:
        postgres_of_own.stop()
        send(server, "first life 1", "first life 2")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(20)
    with receiver(tmp_path, postgres_of_own) as server:
        send(server, "second life")
        assert spooled(server) == 3
        server.assert_balanced()
        postgres_of_own.start()
        until(lambda: spooled(server) == 0)

        assert sorted(postgres_of_own.bodies()) == ["first life 1", "first life 2", "second life"]
        assert b"second life" in server.get("/api/v1/logs?component=shop")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `otel-ingest spool …`."""
    return subprocess.run(
        [sys.executable, "-m", "otel_ingest", "spool", *arguments],
        env=harness.clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_the_spool_of_a_receiver_that_never_comes_back(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """It is shown, verified and drained by commands; not while its receiver runs, and only once."""
    spool = str(tmp_path / "data" / "spool" / "0")
    url = {"OTEL_INGEST_DATABASE_URL": postgres_of_own.url}
    with receiver(tmp_path, postgres_of_own) as server:
        postgres_of_own.stop()
        send(server, "orphan 1", "orphan 2", "orphan 3")
        status = subprocess.run(
            [sys.executable, "-m", "otel_ingest", "status"],
            env=harness.clean_environment(**url, OTEL_INGEST_DATA_DIR=str(tmp_path / "data")),
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        owned = command("drain", spool, **url)
        shown = json.loads(command("show", spool, "--json").stdout)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(20)
    assert "spool: 3 requests, 3 records" in status.stderr
    assert shown["owner"] == "running"
    (file,) = Path(spool).glob("*.spool")
    saved = file.read_bytes()
    away = command("drain", spool, **url)
    assert (away.returncode, away.stdout) == (1, "")
    postgres_of_own.start()
    assert owned.returncode == 1
    assert "a running receiver owns" in owned.stderr

    shown = json.loads(command("show", str(tmp_path / "data"), "--json").stdout)
    assert (shown["owner"], shown["requests"], shown["records"]) == ("none", 3, 3)
    whole = command("verify", spool)
    drained = json.loads(command("drain", spool, "--json", **url).stdout)
    assert (whole.returncode, drained["stored"], drained["requests_left"]) == (0, 3, 0)
    assert sorted(postgres_of_own.bodies()) == ["orphan 1", "orphan 2", "orphan 3"]

    # A copy of it somewhere else, one byte flipped: what is whole was stored before, the rest is set aside.
    at = saved.index(b"orphan 2")
    file.write_bytes(saved[:at] + b"O" + saved[at + 1 :])
    assert command("verify", spool).returncode == 1
    drained = json.loads(command("drain", spool, "--json", **url).stdout)
    assert (drained["stored"], drained["duplicate"], drained["requests_left"]) == (0, 2, 0)
    assert drained["set_aside_bytes"] > 0
    assert sorted(postgres_of_own.bodies()) == ["orphan 1", "orphan 2", "orphan 3"]


def test_sigterm_while_postgresql_is_away(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """It ends with exit code 0 and leaves the spool; the next start drains it."""
    with receiver(tmp_path, postgres_of_own) as server:
        postgres_of_own.stop()
        send(server, "kept for later")
        assert server.stop() == 0
    assert "stay in the spool" in server.stderr_path.read_text()
    postgres_of_own.start()
    with receiver(tmp_path, postgres_of_own) as server:
        until(lambda: spooled(server) == 0)
        assert postgres_of_own.bodies() == ["kept for later"]


def test_a_frozen_postgresql(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """It answers nothing: requests are spooled after 3 s, then at once; when it goes on it makes no second copy."""
    with receiver(tmp_path, postgres_of_own) as server:
        send(server, "warm")
        postgres_of_own.freeze()
        send(server, "frozen 1", "frozen 2")
        assert spooled(server) == 2
        postgres_of_own.thaw()
        until(lambda: spooled(server) == 0)
        send(server, "after")

        assert sorted(postgres_of_own.bodies()) == ["after", "frozen 1", "frozen 2", "warm"]


def test_a_read_only_postgresql(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """As during a failover: reads are answered, writes are spooled until it takes them."""
    with receiver(tmp_path, postgres_of_own) as server:
        postgres_of_own.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        postgres_of_own.execute("SELECT pg_reload_conf()")
        until(lambda: server.post("/v1/logs", log_request("read-only"))[0] == 200 and spooled(server) > 0)
        with postgres_of_own._database.connect() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            connection.execute("SELECT pg_reload_conf()")
        until(lambda: spooled(server) == 0)

        assert set(postgres_of_own.bodies()) == {"read-only"}


def test_a_full_spool_refuses_so_that_senders_try_again(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """Past spool_bytes_max: 503 with Retry-After; what was taken is there afterwards, what was refused is not."""
    with receiver(tmp_path, postgres_of_own, OTEL_INGEST_SPOOL_BYTES_MAX="20000") as server:
        postgres_of_own.stop()
        answers = [server.post("/v1/logs", log_request(f"{n} " + "x" * 2000)) for n in range(15)]
        refused = [json.loads(body) for status, body in answers if status == 503]
        taken = [n for n, (status, _) in enumerate(answers) if status == 200]
        assert {status for status, _ in answers} == {200, 503}
        assert "full" in refused[0]["message"]
        assert refused[0]["details"][0]["retryDelay"] == "1s"
        server.assert_balanced()
        postgres_of_own.start()
        until(lambda: spooled(server) == 0)

        assert sorted(int(body.split()[0]) for body in postgres_of_own.bodies()) == taken


def test_without_a_spool_it_refuses(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """``spool_bytes_max = 0``: 503 as long as PostgreSQL is away."""
    with receiver(tmp_path, postgres_of_own, OTEL_INGEST_SPOOL_BYTES_MAX="0") as server:
        postgres_of_own.stop()
        assert server.post("/v1/logs", log_request("refused"))[0] == 503
        postgres_of_own.start()
        until(lambda: server.post("/v1/logs", log_request("taken"))[0] == 200)

        assert postgres_of_own.bodies() == ["taken"]
    assert not (tmp_path / "data" / "spool").exists()


def test_the_embedded_postgresql_is_started_again(tmp_path: Path) -> None:
    """Somebody kills it: the next requests are acknowledged, it runs again by itself, all is there."""
    with harness.running(tmp_path / "data") as server:
        send(server, "before")
        pid_file = tmp_path / "data" / "postgres" / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        send(server, "meanwhile 1", "meanwhile 2")
        until(lambda: spooled(server) == 0 and server.get("/readyz", role=None) == b"ready")

        with server.sql() as cursor:
            stored = cursor.execute("SELECT body FROM log_records ORDER BY body").fetchall()
        assert [str(row[0]) for row in stored] == ["before", "meanwhile 1", "meanwhile 2"]


def test_stop_and_start_while_postgresql_is_frozen(tmp_path: Path, postgres_of_own: OwnPostgres) -> None:
    """It answers nothing: the server still ends, well within its deadline, starts, spools, and drains in the end."""
    with receiver(tmp_path, postgres_of_own) as server:
        send(server, "warm")
        postgres_of_own.freeze()
        send(server, "frozen")
        assert server.stop() == 0
    with receiver(tmp_path, postgres_of_own) as server:
        send(server, "started while frozen")
        postgres_of_own.thaw()
        until(lambda: spooled(server) == 0)

        assert sorted(postgres_of_own.bodies()) == ["frozen", "started while frozen", "warm"]
