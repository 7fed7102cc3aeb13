"""The corpus: no planted secret on the wire or in the database, every look-alike there."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from instrumentation.tests import corpus
from instrumentation.tests import sink as s
from tests import harness


@pytest.fixture
def sink() -> Iterator[s.Sink]:
    """Yield a recording receiver."""
    with s.sink() as one:
        yield one


def strings(message: Any) -> Iterator[str]:
    """Yield every text of a message."""
    for field, value in message.ListFields():
        parts = value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else [value]
        for part in parts:
            if field.message_type is not None:
                yield from strings(part)
            elif isinstance(part, str):
                yield part


def emit(sink: s.Sink, tmp_path: Path) -> None:
    """Run the application that emits the corpus."""
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps([asdict(p) for p in corpus.all_of_it()]))
    assert len(leaked(path.read_bytes())) == 300, "the search would find each of them"
    resource = next(p for p in corpus.secrets() if p.place == "resource")
    env = s.environment(
        sink.endpoint, tmp_path / "spool", OTEL_RESOURCE_ATTRIBUTES=f"note=password%3D{resource.secret}"
    )
    done = s.run(env, sys.executable, "corpus_app.py", str(path))
    assert done.returncode == 0, done.stderr
    assert "CRITICAL" not in done.stderr


def leaked(raw: bytes) -> list[corpus.Planted]:
    """Return the secrets that stand in some bytes."""
    return [p for p in corpus.secrets() if p.secret.encode() in raw or json.dumps(p.secret)[1:-1].encode() in raw]


def test_no_planted_secret_leaves_and_no_look_alike_is_touched(sink: s.Sink, tmp_path: Path) -> None:
    """300 and 300, on the wire."""
    emit(sink, tmp_path)
    texts = [t for p in sink.posts for t in strings(p.message)]
    whole = "\n".join(texts)

    assert len(corpus.secrets()) == len({p.secret for p in corpus.secrets()}) == 300
    assert not leaked(sink.wire())
    missing = [p for p in corpus.look_alikes() if p.text not in whole and json.dumps(p.text)[1:-1] not in whole]
    assert not missing
    assert whole.count("otel_ingest.redacted") >= 290


def test_nor_does_one_reach_the_database(sink: s.Sink, tmp_path: Path) -> None:
    """The same through a recording proxy into a real server: neither there nor here."""
    with harness.running(tmp_path / "data") as server:

        def forward(path: str, body: bytes) -> s.Answer:
            status, answer = server.post(path, body, "application/x-protobuf")
            return status, {}, answer

        sink.answer = forward
        emit(sink, tmp_path)
        with server.sql() as cursor:
            cursor.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
            tables = [str(row[0]) for row in cursor.fetchall()]
            stored = bytearray()
            for table in tables:
                cursor.execute(f"SELECT * FROM {table}")  # noqa: S608  # names from the catalogue
                for row in cursor.fetchall():
                    stored += b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
    assert not leaked(bytes(stored))
    assert not leaked(sink.wire())
    assert sum(p.text.encode() in stored for p in corpus.look_alikes()) >= 240, (
        "they are there, so the secrets would be"
    )
