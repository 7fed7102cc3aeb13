"""The Node distribution: its own tests, and real Node services between Python ones before a real server."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from instrumentation.tests import corpus
from instrumentation.tests import sink as recording
from instrumentation.tests.test_corpus import leaked, strings
from tests import harness

PACKAGE = Path(__file__).resolve().parents[2] / "instrumentation" / "node"
PYTHON_APP = Path(__file__).with_name("apps") / "chain.py"
NODE_APP = PACKAGE / "test" / "apps" / "chain.js"
WAIT_S = 30.0
CHAIN = ("a", "b", "c")  # Python, Node, Python
SECRET = "correct horse"

# The first test that runs installs the package's dependencies.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("node_package")]


def npm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run npm in the package and return what it said."""
    clean = {k: v for k, v in os.environ.items() if k != "NODE_OPTIONS"}
    return subprocess.run(["npm", *arguments], cwd=PACKAGE, env=clean, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def node_package() -> Path:
    """Return the package with its dependencies installed; skip where there is no Node, or nothing to install from."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not here: the Node distribution is not tested")
    if not (PACKAGE / "node_modules" / "pino").exists():
        installed = npm("install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        if installed.returncode != 0:
            pytest.skip(f"npm install does not work here: {installed.stderr.strip()[-300:]}")
    return PACKAGE


@pytest.mark.timeout(600)
def test_node_distribution() -> None:
    """`npm test` in instrumentation/node passes."""
    result = npm("test")

    assert result.returncode == 0, (result.stdout + result.stderr)[-20_000:]


@contextmanager
def service(name: str, command: list[str], server: harness.Server, directory: Path, **more: str) -> Iterator[str]:
    """Run a service instrumented by its environment alone; yield its URL, end it with SIGTERM."""
    standard = {
        "OTEL_SERVICE_NAME": name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{server.http}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_INGEST_CLIENT_SPOOL_DIR": str(directory / "spool"),
    }
    environment = harness.clean_environment(**(standard | more))
    with (directory / f"{name}.stderr").open("w") as stderr:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("port "):
                yield f"http://127.0.0.1:{int(line.split()[1])}"
                break
        else:
            raise AssertionError(f"{name} ended: {(directory / f'{name}.stderr').read_text()[-4000:]}")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def node(name: str, *following: str) -> list[str]:
    """Return the command of a Node link."""
    return ["node", "--require", str(PACKAGE / "register.js"), str(NODE_APP), name, *following]


def python(name: str, *following: str) -> list[str]:
    """Return the command of a Python link."""
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    return [str(instrument), sys.executable, str(PYTHON_APP), name, *following]


def trace_token() -> str:
    """Return a value for X-Trace-Log, made by the Node distribution."""
    code = f"console.log(require({json.dumps(str(PACKAGE))}).traceToken({json.dumps(SECRET)}, 600))"
    return subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True).stdout.strip()


def get(url: str, **headers: str) -> str:
    """GET a URL, with its answer's text."""
    request = urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return str(answer.read().decode())


def logs(server: harness.Server, component: str) -> list[dict[str, Any]]:
    """Return the stored log records of a component; none when there is no such component yet."""
    try:
        answer = json.loads(server.get(f"/api/v1/logs?component={component}&limit=200"))
    except urllib.error.HTTPError as error:
        error.close()
        return []
    return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with a bound."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
        time.sleep(0.1)


def test_one_trace_through_python_node_and_python(tmp_path: Path) -> None:
    """One trace with the records of all three services; with X-Trace-Log every level of that one request."""
    both = {"OTEL_PYTHON_DISTRO": "otel_ingest", "OTEL_INGEST_CLIENT_TRACE_SECRET": SECRET}
    with harness.running(tmp_path / "data") as server, ExitStack() as stack:
        c = stack.enter_context(service("c", python("c"), server, tmp_path, **both))
        b = stack.enter_context(service("b", node("b", c), server, tmp_path, **both))
        a = stack.enter_context(service("a", python("a", b), server, tmp_path, **both))
        assert get(f"{a}/go") == get(f"{a}/go", X_Trace_Log=trace_token()) == "abc"
        until(
            lambda: all(len([r for r in logs(server, n) if r["body"] == f"{n} ends"]) == 2 for n in CHAIN),
            "the last records of each",
        )
        ours = [
            r for n in CHAIN for r in logs(server, n) if isinstance(r["body"], str) and r["body"].startswith(f"{n} ")
        ]

    plain, full = sorted(
        ({r["body"] for r in ours if r["trace_id"] == t} for t in {r["trace_id"] for r in ours}), key=len
    )
    usual = {f"{n} {what}" for n in CHAIN for what in ("begins", "ends")} | {"b winston", "b console"}
    assert plain == usual
    assert full == usual | {f"{n} debug" for n in CHAIN} | {"b trace", "b winston debug", "b console debug"}
    assert all(r["trace_id"] and r["span_id"] for r in ours)


def test_no_planted_secret_leaves_and_no_look_alike_is_touched(tmp_path: Path) -> None:
    """The corpus of the Python distribution: 300 secrets and 300 look-alikes, in every place a record has."""
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps([asdict(p) for p in corpus.all_of_it()]))
    resource = next(p for p in corpus.secrets() if p.place == "resource")
    with recording.sink() as sink:
        environment = harness.clean_environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint,
            OTEL_RESOURCE_ATTRIBUTES=f"note=password%3D{resource.secret}",
            OTEL_INGEST_CLIENT_SPOOL_DIR=str(tmp_path / "spool"),
            OTEL_INGEST_CLIENT_OPAMP="off",
        )
        command = ["node", "--require", str(PACKAGE / "register.js"), str(NODE_APP.with_name("corpus.js")), str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        whole = "\n".join(t for p in sink.posts for t in strings(p.message))

    assert done.returncode == 0, done.stderr
    assert len(leaked(path.read_bytes())) == 300
    assert not leaked(sink.wire())
    assert not [p for p in corpus.look_alikes() if p.text not in whole and json.dumps(p.text)[1:-1] not in whole]


def test_every_protocol_of_the_standard(tmp_path: Path) -> None:
    """Over gRPC and as JSON comes the same as in protobuf over HTTP."""
    with harness.running(tmp_path / "data") as server, ExitStack() as stack:
        grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{server.grpc}"}
        for name, more in (("grpc", grpc), ("json", {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})):
            url = stack.enter_context(service(name, node(name), server, tmp_path, **more))
            assert get(f"{url}/go") == name
        expected = {f"{{}} {what}" for what in ("begins", "ends", "winston", "console")}
        for name in ("grpc", "json"):
            bodies = {text.format(name) for text in expected}
            until(lambda n=name, b=bodies: b <= {r["body"] for r in logs(server, n)}, f"records over {name}")


def test_a_level_reaches_a_running_node_process_and_ends(tmp_path: Path) -> None:
    """logger_set_level: acknowledged, DEBUG of that logger arrives, and it ends by itself with the server gone."""
    with harness.running(tmp_path / "data") as server, service("b", node("b"), server, tmp_path) as b:
        get(f"{b}/go")
        until(lambda: any(r["body"] == "b ends" for r in logs(server, "b")), "the first records")
        assert not [r for r in logs(server, "b") if "debug" in str(r["body"])]

        done = set_level(server, component="b", level="debug", ttl="15s", logger="chain.b", reason="a test of it")
        assert done["applied"] == done["processes"] == 1, "it is idle, and knows all the same"

        def debug_arrived() -> bool:
            get(f"{b}/go")
            return any(r["body"] == "b debug" for r in logs(server, "b"))

        until(debug_arrived, "a DEBUG record")
        server.stop()
        until(lambda: not debug_enabled(b), "the level to fall back with the server gone")


def debug_enabled(url: str) -> bool:
    """Return whether DEBUG is on, by what the service itself says."""
    with urllib.request.urlopen(f"{url}/go", timeout=30) as answer:  # noqa: S310
        return bool(answer.headers["x-debug"] == "true")


def set_level(server: harness.Server, **arguments: str) -> Any:
    """Call logger_set_level with the admin's token and return its answer."""
    request = urllib.request.Request(
        f"http://{server.query}/api/v1/levels",
        data=json.dumps(arguments).encode(),
        headers={"Authorization": f"Bearer {server.token('admin')}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())
