"""One application of each framework, started by its environment alone: logs with trace ids, spans, nothing lost."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from instrumentation.tests import sink as s
from tests import harness


@pytest.fixture
def sink() -> Iterator[s.Sink]:
    """Yield a recording receiver."""
    with s.sink() as one:
        yield one


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def get(port: int, path: str) -> int:
    """GET a path; return the status, 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def commands(port: int) -> dict[str, list[str]]:
    """Return the command line of each kind of server."""
    bind = f"127.0.0.1:{port}"
    return {
        "flask": [sys.executable, "flask_app.py", str(port)],
        "uvicorn": ["uvicorn", "fastapi_app:app", "--port", str(port)],
        "uvicorn workers": ["uvicorn", "fastapi_app:app", "--port", str(port), "--workers", "2"],
        "gunicorn": ["gunicorn", "flask_app:app", "-w", "2", "-b", bind, "--access-logfile", "-"],
        "gunicorn preload": ["gunicorn", "flask_app:app", "-w", "2", "-b", bind, "--preload"],
        "gunicorn uvicorn": [
            "gunicorn",
            "fastapi_app:app",
            "-w",
            "2",
            "-b",
            bind,
            "-k",
            "uvicorn_worker.UvicornWorker",
        ],
        "gunicorn gevent": ["gunicorn", "flask_app:app", "-w", "2", "-b", bind, "-k", "gevent"],
        "django": ["gunicorn", "django_app:application", "-w", "1", "-b", bind],
        "django runserver": [sys.executable, "django_app.py", str(port)],
    }


@pytest.mark.parametrize("kind", commands(0))
def test_a_server_delivers_all_of_it_when_it_is_terminated(sink: s.Sink, tmp_path: Path, kind: str) -> None:
    """50 requests, then SIGTERM at once: all records and spans arrive, joined by their trace ids."""
    port = free_port()
    env = s.environment(sink.endpoint, tmp_path) | {"PYTHONPATH": str(s.APPS)}
    if kind.startswith("django"):  # the instrumentation of others needs it
        env["DJANGO_SETTINGS_MODULE"] = "django_settings"
    if kind == "gunicorn gevent":  # the standard's variable: gevent has to patch before anything has threads
        env["OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH"] = "patch_all"
    process = s.start(env, *commands(port)[kind])
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    try:
        s.wait_for(lambda: get(port, "/?i=-1") == 200)
        for i in range(50):
            assert get(port, f"/?i={i}") == 200
        assert get(port, "/fail") == 500
    finally:
        process.terminate()
        process.wait(20)
        drain.wait(20)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    flask = ("flask", "gunicorn", "gunicorn preload", "gunicorn gevent")
    framework = "flask" if kind in flask else "django" if kind.startswith("django") else "fastapi"
    wanted = {f"{framework} {i}" for i in range(50)}
    s.wait_for(lambda: wanted <= set(sink.bodies()), 10)
    mine = [r for r in sink.logs() if r.body.string_value in wanted]
    assert len(mine) == 50
    assert all(r.trace_id and r.span_id for r in mine)
    servers = [x for x in sink.spans() if x.kind == 2]
    assert len(servers) >= 52
    assert {r.trace_id for r in mine} <= {x.trace_id for x in servers}
    assert any(x.status.code == 2 for x in servers)
    assert b"hunter2" not in sink.wire()
    if kind in ("uvicorn", "uvicorn workers", "gunicorn uvicorn"):
        assert any("Exception in ASGI application" in b for b in sink.bodies())
        assert any("Finished server process" in b for b in sink.bodies()), "the last words of a worker"


@pytest.mark.parametrize("recycle", [(), ("--max-tasks-per-child", "1")], ids=["prefork", "recycled"])
def test_celery_delivers_every_task(sink: s.Sink, tmp_path: Path, recycle: tuple[str, ...]) -> None:
    """Prefork workers, also those that end after one task: the records of root and task loggers, and the spans."""
    env = s.environment(sink.endpoint, tmp_path / "spool", CELERY_FOLDER=str(tmp_path / "broker"))
    env |= {"PYTHONPATH": str(s.APPS)}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")} | {"CELERY_FOLDER": env["CELERY_FOLDER"]}
    send = "import celery_app; [celery_app.work.delay(i) for i in range(10)]"
    subprocess.run([sys.executable, "-c", send], cwd=s.APPS, env=clean | {"PYTHONPATH": str(s.APPS)}, check=True)
    worker = ["celery", "-A", "celery_app", "worker", "-c", "2", "--loglevel", "INFO", *recycle]
    process = s.start(env, *worker)
    wanted = {f"plain {i}" for i in range(10)} | {f"task {i}" for i in range(10)}
    try:
        s.wait_for(lambda: wanted <= set(sink.bodies()), 60)
        s.wait_for(lambda: len([x for x in sink.spans() if x.kind == 5]) >= 10)
    finally:
        done = s.terminate(process)
    mine = [r for r in sink.logs() if r.body.string_value in wanted]
    assert len(mine) == 20, done.stderr[-2000:]
    assert all(r.trace_id for r in mine)


def test_asyncio_and_threads(sink: s.Sink, tmp_path: Path) -> None:
    """Tasks keep their own span; threads log."""
    env = s.environment(sink.endpoint, tmp_path)
    assert s.run(env, sys.executable, "others.py", "asyncio").returncode == 0
    assert s.run(env, sys.executable, "others.py", "threads").returncode == 0

    spans = {x.name.removeprefix("job "): (x.trace_id, x.span_id) for x in sink.spans()}
    for record in sink.logs():
        kind, number = record.body.string_value.split()
        assert kind == "thread" or spans[number] == (record.trace_id, record.span_id)
    assert len(sink.logs()) == 50


def test_structlog(sink: s.Sink, tmp_path: Path) -> None:
    """Structlog that prints, and structlog on the standard library, each once, attributes kept and redacted."""
    done = s.run(s.environment(sink.endpoint, tmp_path), sys.executable, "others.py", "structlog")

    assert done.returncode == 0, done.stderr
    printed, through = sink.logs()
    assert printed.body.string_value == "printed"
    attributes = {a.key: a.value for a in printed.attributes}
    assert (attributes["order"].int_value, attributes["password"].string_value) == (7, "[REDACTED]")
    assert '"order": 8' in through.body.string_value
    assert through.severity_number == 13


def test_loguru(sink: s.Sink, tmp_path: Path) -> None:
    """Loguru's records, also after logger.remove(), with exceptions and its TRACE."""
    done = s.run(
        s.environment(sink.endpoint, tmp_path, OTEL_INGEST_CLIENT_LEVEL="TRACE"), sys.executable, "others.py", "loguru"
    )

    assert done.returncode == 0, done.stderr
    by_body = {r.body.string_value: r for r in sink.logs()}
    assert set(by_body) == {
        "loguru 1",
        "loguru after remove",
        "loguru failed",
        "loguru trace",
    }  # its TRACE where the level says so
    assert by_body["loguru trace"].severity_number == 1
    failed = {a.key: a.value.string_value for a in by_body["loguru failed"].attributes}
    assert failed["exception.type"] == "KeyError"


def test_two_lines_of_code(sink: s.Sink, tmp_path: Path) -> None:
    """``configure()`` does what the command does."""
    env = s.environment(sink.endpoint, tmp_path)
    done = subprocess.run(
        [sys.executable, "others.py", "configure"],
        cwd=s.APPS,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert sink.bodies() == ["configured"]


CONFIG = """
file_format: "1.0"
resource: {{attributes: [{{name: service.name, value: shop}}]}}
propagator: {{composite: [{{tracecontext: }}, {{baggage: }}]}}
logger_provider: {{processors: [{{batch: {{schedule_delay: 200, exporter: {{otel_ingest: {{}}}}}}}}]}}
tracer_provider: {{processors: [{{batch: {{schedule_delay: 200, exporter: {{otel_ingest: {{}}}}}}}}]}}
"""


def test_declarative_configuration(sink: s.Sink, tmp_path: Path) -> None:
    """Under OTEL_CONFIG_FILE the exporter is named in the file; queue, redaction and exits are the same."""
    path = tmp_path / "otel.yaml"
    path.write_text(CONFIG.format())
    env = s.environment(sink.endpoint, tmp_path / "spool", OTEL_CONFIG_FILE=str(path))
    done = s.run(env, sys.executable, "ends.py", "os_exit")

    assert done.returncode == 4, done.stderr
    assert len(sink.bodies()) == 200
    assert "CRITICAL" not in done.stderr


def test_beside_another_distribution_that_wins(sink: s.Sink, tmp_path: Path) -> None:
    """Where another distribution sets the exporters, one line on stderr says that nothing is redacted."""
    env = s.environment(
        sink.endpoint, tmp_path, OTEL_PYTHON_DISTRO="distro", OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"
    )
    done = s.run(env, sys.executable, "ends.py", "return")

    assert "no exporter of ours is in use" in done.stderr
    before = len(sink.bodies())
    done = s.run(
        env | {"OTEL_LOGS_EXPORTER": "otel_ingest", "OTEL_TRACES_EXPORTER": "none"},
        sys.executable,
        "ends.py",
        "os_exit",
    )
    assert len(sink.bodies()) - before == 200
    assert "CRITICAL" not in done.stderr


def test_nothing_feeds_itself(sink: s.Sink, tmp_path: Path) -> None:
    """With the root at DEBUG an idle application sends one record, not one for each export; away or not."""
    env = s.environment(sink.endpoint, tmp_path)
    assert s.run(env, sys.executable, "others.py", "quiet", "1.5").returncode == 0
    assert sink.bodies() == ["once"]
    assert not sink.spans()

    sink.stop()
    done = s.run(env, sys.executable, "others.py", "quiet", "1.5")
    sink.start()
    again = s.start(env, sys.executable, "others.py", "quiet", "1")
    s.wait_for(lambda: len(sink.bodies()) >= 3)
    s.finish(again)
    assert sink.bodies() == ["once"] * 3, done.stderr


def test_grpc_into_a_real_server(tmp_path: Path) -> None:
    """OTEL_EXPORTER_OTLP_PROTOCOL=grpc keeps its meaning, also when the process leaves by os._exit."""
    with harness.running(tmp_path / "data") as server:
        env = s.environment(f"http://{server.grpc}", tmp_path / "spool", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
        done = s.run(env, sys.executable, "ends.py", "os_exit")
        assert done.returncode == 4, done.stderr
        with server.sql() as cursor:
            cursor.execute("SELECT count(DISTINCT body) FROM log_records WHERE component = 'shop'")
            assert cursor.fetchone() == (200,)


def test_a_burst_is_delivered_whole(sink: s.Sink, tmp_path: Path) -> None:
    """40,000 records as fast as Python makes them: none is dropped."""
    done = s.run(s.environment(sink.endpoint, tmp_path, N="40000", PAUSE="-1"), sys.executable, "ends.py", "return")

    assert done.returncode == 0
    kept = len(sink.bodies())
    if kept < 40_000:  # what the exit's two seconds did not send is on disk
        again = s.start(s.environment(sink.endpoint, tmp_path, N="0"), sys.executable, "ends.py", "wait")
        s.wait_for(lambda: len(sink.bodies()) >= 40_000, 60)
        s.terminate(again)
    assert len(sink.bodies()) == len(set(sink.bodies())) == 40_000
    assert "lost" not in done.stderr
