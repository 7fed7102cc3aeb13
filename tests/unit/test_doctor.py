"""What doctor concludes from what it found."""

from datetime import UTC, datetime
from pathlib import Path

from otel_ingest.cli import doctor
from otel_ingest.config import Settings
from storage.health import ServerFacts
from tests.certificates import Authority

FACTS = {
    "version": "17.2", "major": 17, "now": datetime(2026, 1, 1, tzinfo=UTC), "fsync": "on", "pages": "on",
    "commit": "on", "compression": "lz4", "locks": 6_400, "partitions": 90, "standby": False, "who": "owner",
    "superuser": True,
}  # fmt: skip
NOW_S = FACTS["now"].timestamp()


def verdicts(facts: ServerFacts, asked_s: float = NOW_S, answered_s: float = NOW_S) -> dict[str, str]:
    """Return {check: verdict} of a server."""
    return {check.check: check.verdict for check in doctor._server(facts, asked_s, answered_s)}


def test_a_sound_server_is_ok() -> None:
    """Nothing to say."""
    assert set(verdicts(ServerFacts(**FACTS)).values()) == {"ok"}


def test_what_is_weak_is_a_warning_and_what_cannot_work_is_wrong() -> None:
    """Durability, its log, locks, clock, a newer release: warnings. Too old, a standby: wrong."""
    for fields, check, verdict in (
        ({"fsync": "off"}, "durability", "warning"),
        ({"pages": "off"}, "durability", "warning"),
        ({"commit": "off"}, "durability", "warning"),
        ({"compression": "pglz"}, "write-ahead log", "warning"),
        ({"partitions": 1_700}, "locks", "warning"),
        ({"major": 19}, "store", "warning"),
        ({"major": 14}, "store", "wrong"),
        ({"standby": True}, "store", "wrong"),
    ):
        assert verdicts(ServerFacts(**FACTS | fields))[check] == verdict, fields


def test_the_clock_is_compared_with_the_time_the_question_took() -> None:
    """A slow answer is no skew; a clock outside of question and answer is."""
    facts = ServerFacts(**FACTS)

    assert verdicts(facts, NOW_S - 10, NOW_S + 10)["clock"] == "ok"
    assert verdicts(facts, NOW_S + 5, NOW_S + 6)["clock"] == "warning"
    assert verdicts(facts, NOW_S - 6, NOW_S - 5)["clock"] == "warning"


def test_certificates_are_looked_at(tmp_path: Path) -> None:
    """One line a listener; expired and unreadable ones are wrong."""
    authority = Authority(tmp_path)
    good, old = authority.issue("good"), authority.issue("old", expired=True)
    settings = Settings(
        tls_cert_file=good.cert, tls_key_file=good.key, grpc_tls_cert_file=old.cert, grpc_tls_key_file=old.key,
        query_tls_cert_file=tmp_path / "absent", query_tls_key_file=good.key,
    )  # fmt: skip
    checks = {check.check: check for check in doctor._certificates(settings)}

    assert [checks[f"tls {side}"].verdict for side in ("grpc", "http", "query")] == ["wrong", "ok", "wrong"]
    assert "localhost" in checks["tls http"].detail
    assert doctor._certificates(Settings()) == []
