"""The examples published with the OTLP specification, sent unchanged, read back with every field."""

import json
from pathlib import Path
from typing import Any

from tests import harness

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "otlp"


def strings(document: Any) -> set[str]:
    """Return every text value of a document but ids, numbers and the names of fields."""
    if isinstance(document, dict):
        return {s for key, v in document.items() if not key.endswith(("Id", "Nano", "intValue")) for s in strings(v)}
    if isinstance(document, list):
        return {s for item in document for s in strings(item)}
    return {document} if isinstance(document, str) and not document.isdigit() else set()


def test_published_examples_come_back_whole(tmp_path: Path) -> None:
    """Logs, events, traces and metrics: accepted in full, and every value they hold is read back."""
    with harness.running(tmp_path / "data") as server:
        for name, path in (("logs", "logs"), ("events", "logs"), ("trace", "traces"), ("metrics", "metrics")):
            assert server.post(f"/v1/{path}", (EXAMPLES / f"{name}.json").read_bytes()) == (200, b"{}")
        found = json.loads(server.get("/api/v1/logs?since=2018-12-01T00:00:00Z&until=2019-01-01T00:00:00Z"))
        records = [json.loads(server.get(f"/api/v1/logs?id={row[0]}"))["record"] for row in found["rows"]]
        trace = json.loads(server.get("/api/v1/traces/5B8EFFF798038103D269B633813FC60C"))
        with server.sql() as cursor:
            shown = json.dumps(cursor.execute("SELECT to_jsonb(m) FROM metric_points m").fetchall())
            shown += json.dumps(cursor.execute("SELECT to_jsonb(s) FROM spans s").fetchall())
            shown += json.dumps(cursor.execute("SELECT to_jsonb(r) FROM resources r").fetchall())
            shown += json.dumps(cursor.execute("SELECT to_jsonb(s) FROM scopes s").fetchall())
        server.assert_balanced()
        stored = {name: book["stored"] for name, book in server.ledger().items()}

    assert stored == {"logs": 2, "traces": 1, "metrics": 4}
    assert {r["trace_id"] for r in records} >= {"5b8efff798038103d269b633813fc60c"}
    assert all(r["time_ns"] == 1544712660300000000 and r["severity_number"] in {9, 10} for r in records)
    assert trace["spans"] == 1
    everything = json.dumps(records) + json.dumps(trace) + shown
    for name in ("logs", "events", "trace", "metrics"):
        missing = {s for s in strings(json.loads((EXAMPLES / f"{name}.json").read_text())) if s not in everything}
        assert not missing, (name, missing)
