"""Secrets that a client let through, on a real server: not in the database, said on the record, counted."""

import json
import time
from pathlib import Path

import pytest

from tests import harness

# In parts, so that no scanner of repositories takes it for a real one.
TOKEN = "ghp_" + "a1B2c3D4e5" * 4
SECRET_REQUEST = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "leaky"}}]},
            "scopeLogs": [
                {
                    "logRecords": [
                        {
                            "timeUnixNano": str(time.time_ns()),
                            "body": {"stringValue": f"login with {TOKEN} failed"},
                            "attributes": [
                                {"key": "db.password", "value": {"stringValue": "hunter2"}},
                                {"key": "http.route", "value": {"stringValue": "/login"}},
                            ],
                        },
                        {"timeUnixNano": str(time.time_ns()), "body": {"stringValue": "nothing to hide"}},
                    ]
                }
            ],
        }
    ]
}


@pytest.mark.parametrize("redact", [True, False], ids=["on", "off"])
def test_the_second_line(tmp_path: Path, *, redact: bool) -> None:
    """On by default: masked, noted, counted, told once. Off: stored as it came."""
    with harness.running(tmp_path / "data", **({} if redact else {"OTEL_INGEST_REDACT": "false"})) as server:
        assert server.post("/v1/logs", json.dumps(SECRET_REQUEST).encode())[0] == 200
        with server.sql() as cursor:
            cursor.execute("SELECT body, attributes::text, exact FROM log_records ORDER BY id")
            (body, attributes, exact), (other, _, _) = cursor.fetchall()
        counted = sum(v for k, v in server.metrics().items() if k.startswith("otel_ingest_redacted_total"))

    told = (tmp_path / "data.stderr").read_text()
    assert other == "nothing to hide"
    assert exact is None
    assert TOKEN not in told
    if redact:
        assert body == "login with [REDACTED] failed"
        assert json.loads(str(attributes)) == {
            "db.password": "[REDACTED]",
            "http.route": "/login",
            "otel_ingest.redacted": "body:vendor_token,db.password:key",
        }
        assert counted == 2
        assert told.count("masked secrets that a client let through") == 1
    else:
        assert TOKEN in str(body)
        assert "hunter2" in str(attributes)
        assert counted == 0
