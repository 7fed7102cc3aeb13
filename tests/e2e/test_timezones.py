"""Server and database in time zones far from UTC, with half hours and daylight saving: days stay days of UTC."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from storage import migrate
from storage.partitions import partition_name
from tests import harness
from tests.factories import log_record, logs_request

SEOUL, ST_JOHNS = "Asia/Seoul", "America/St_Johns"
HABITS = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "synchronous_commit": "off",
}
BODY = "주문 № 7: Grüße, ☃"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(moment: datetime) -> int:
    """Return a moment in ns since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def edges() -> list[int]:
    """Return the moments around which a wrong zone shows, in ns: midnights of UTC and of both zones, 1 µs about each.

    Of today, and of the nights in which St John's changes its clocks.
    """
    moments = []
    for zone in (UTC, ZoneInfo(SEOUL), ZoneInfo(ST_JOHNS)):
        today = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        nights = [today, today.replace(month=3, day=8), today.replace(month=11, day=1)]
        moments += [nanoseconds(night.astimezone(UTC)) for night in nights]
    return [moment + about for moment in moments for about in (-1000, 0, 1000)]


def inhospitable(url: str, zone: str) -> None:
    """Make a database answer its clients as no program expects: in its own zone, days first, and in Latin 1."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = psycopg.sql.Identifier(connection.info.dbname)
        for setting, value in ({"timezone": zone} | HABITS).items():
            command = psycopg.sql.SQL("ALTER DATABASE {} SET {} = {}")
            connection.execute(command.format(name, psycopg.sql.Identifier(setting), psycopg.sql.Literal(value)))


def stored(url: str) -> dict[int, str]:
    """Return the partition of each log record by its time in ns."""
    with psycopg.connect(url) as connection:
        rows: list[Any] = connection.execute(
            "SELECT time_unix_nano, tableoid::regclass::text, (extract(epoch FROM time) * 1000000)::bigint * 1000"
            " FROM log_records"
        ).fetchall()
    assert all(nano // 1000 * 1000 == time for nano, _, time in rows)
    return {nano: partition for nano, partition, _ in rows}


@pytest.mark.parametrize(("server_zone", "database_zone"), [(SEOUL, ST_JOHNS), (ST_JOHNS, SEOUL)])
async def test_days_are_days_of_utc(
    server_zone: str, database_zone: str, empty_database_url: str, tmp_path: Path
) -> None:
    """Each record lies in the partition of its UTC day, and a window of its own nanosecond finds it and no other."""
    inhospitable(empty_database_url, database_zone)
    moments = edges()
    request = logs_request([log_record(time_unix_nano=m, body=AnyValue(string_value=BODY)) for m in moments])
    environment = {"OTEL_INGEST_DATABASE_URL": empty_database_url, "TZ": server_zone}
    with harness.running(tmp_path / "data", **environment) as server:
        answer = server.post("/v1/logs", request.SerializeToString(), "application/x-protobuf")
        assert answer == (200, b"")
        for moment in moments:
            page = json.loads(server.get(f"/api/v1/logs?since={moment}&until={moment + 1000}"))
            _, shown, _, _, body, *_ = page["rows"][0]
            milliseconds = nanoseconds(datetime.fromisoformat(shown)) // 10**6
            assert (page["returned"], milliseconds, body) == (1, moment // 10**6, BODY)

    day_ns = 86_400 * 10**9
    assert stored(empty_database_url) == {m: partition_name("log_records", m // day_ns) for m in moments}
    await migrate.check(empty_database_url)


@pytest.mark.parametrize("zone", [SEOUL, ST_JOHNS])
def test_the_next_start_finds_its_partitions(zone: str, empty_database_url: str, tmp_path: Path) -> None:
    """Restarted in another zone, the server reads the bounds as they are: it makes none anew and stores on."""
    inhospitable(empty_database_url, zone)
    counts = []
    for number, server_zone in enumerate(("UTC", zone)):
        environment = {"OTEL_INGEST_DATABASE_URL": empty_database_url, "TZ": server_zone}
        with harness.running(tmp_path / "data", **environment) as server:
            request = logs_request([log_record(time_unix_nano=nanoseconds(datetime.now(UTC)) + number)])
            assert server.post("/v1/logs", request.SerializeToString(), "application/x-protobuf")[0] == 200
        with psycopg.connect(empty_database_url) as connection:
            row = connection.execute("SELECT count(*) FROM pg_inherits").fetchone()
            counts.append(row)
    assert counts[0] == counts[1]
    assert len(stored(empty_database_url)) == 2


def test_a_run_may_have_a_zone_of_its_own(database_url: str) -> None:
    """``make test-zones``: every session that does not say otherwise is in that zone."""
    wanted = os.environ.get("TEST_TIMEZONE", "")
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SHOW timezone").fetchone()

    assert row is not None
    assert not wanted or row == (wanted,)


@pytest.mark.slow
@pytest.mark.parametrize("zone", [SEOUL, ST_JOHNS])
def test_partitions_and_retention_in_another_zone(zone: str) -> None:
    """Tests of partitions and retention in a run whose databases and process are in that zone.

    ``make test-zones`` runs all tests of storage and reading so.
    """
    chosen = ["test_partitions.py", "test_retention.py", "test_migration_operations.py"]
    whether = "tests/e2e/test_timezones.py::test_a_run_may_have_a_zone_of_its_own"
    files = [whether, *(f"tests/integration/{name}" for name in chosen)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    command += ["-k", "zone_of_its_own or period or utc or example or late or clean"]
    environment = os.environ | {"TZ": zone, "TEST_TIMEZONE": zone}
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=110, check=False
    )

    assert result.returncode == 0, result.stdout[-4000:]
