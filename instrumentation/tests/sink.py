"""A recording OTLP receiver and the means to run an application against it by its environment alone."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

APPS = Path(__file__).with_name("apps")
REQUESTS: dict[str, Any] = {
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}
Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {}, b"")


@dataclass
class Post:
    """One request as it came."""

    path: str
    batch: str
    headers: dict[str, str]
    body: bytes
    taken: bool

    @property
    def message(self) -> Any:
        """The request, parsed."""
        return REQUESTS[self.path].FromString(self.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    sink: "Sink"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that was killed is no error of the sink."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        status, headers, answer = self.server.sink.post(self.path, dict(self.headers.items()), body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Sink:
    """What was received; ``answer`` says what each request gets."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    answer: Callable[[str, bytes], Answer] = lambda _path, _body: OK
    _server: _Server | None = None

    @property
    def endpoint(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen: on a free port the first time, on the same one ever after."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.sink = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def post(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Record a request and answer it."""
        reply = self.answer(path, body)
        batch = {k.lower(): v for k, v in headers.items()}.get("x-otel-ingest-batch-id", "")
        self.posts.append(Post(path, batch, headers, body, taken=200 <= reply[0] < 300))
        return reply

    def _taken(self, path: str) -> Iterator[Any]:
        seen = set()
        for post in list(self.posts):
            if post.path == path and post.taken and (not post.batch or post.batch not in seen):
                seen.add(post.batch)
                yield post.message

    def logs(self) -> list[Any]:
        """Return the log records taken; a batch that came twice counts once, as at the receiver."""
        return [
            r for m in self._taken("/v1/logs") for rl in m.resource_logs for sl in rl.scope_logs for r in sl.log_records
        ]

    def bodies(self) -> list[str]:
        """Return the bodies of the log records taken."""
        return [r.body.string_value for r in self.logs()]

    def spans(self) -> list[Any]:
        """Return the spans taken."""
        return [
            s for m in self._taken("/v1/traces") for rs in m.resource_spans for ss in rs.scope_spans for s in ss.spans
        ]

    def metrics(self) -> list[Any]:
        """Return the metrics taken."""
        return [
            x
            for m in self._taken("/v1/metrics")
            for rm in m.resource_metrics
            for sm in rm.scope_metrics
            for x in sm.metrics
        ]

    def wire(self) -> bytes:
        """Return every byte that was received, refused requests too."""
        return b"\n".join(post.body for post in list(self.posts))


@contextmanager
def sink() -> Iterator[Sink]:
    """Run a sink for the length of a with block."""
    one = Sink()
    one.start()
    try:
        yield one
    finally:
        one.stop()


def wait_for(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Return the condition's value once it is true; fail after a bound."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def environment(endpoint: str, spool: Path, **extra: str) -> dict[str, str]:
    """Return the environment of an instrumented application."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTHON"))}
    return (
        clean
        | {
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_INGEST_CLIENT_SPOOL_DIR": str(spool),
            "OTEL_INGEST_CLIENT_OPAMP": "off",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel",
            "PYTHONUNBUFFERED": "1",
        }
        | extra
    )


def instrument(*command: str) -> list[str]:
    """Return the command line that runs a command instrumented, from this environment's programs."""
    program = command[0] if Path(command[0]).is_absolute() else str(Path(sys.executable).with_name(command[0]))
    return [str(Path(sys.executable).with_name("opentelemetry-instrument")), program, *command[1:]]


def start(env: dict[str, str], *command: str, cwd: Path = APPS) -> subprocess.Popen[str]:
    """Start an instrumented command, with pipes for its output."""
    return subprocess.Popen(
        instrument(*command), env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(env: dict[str, str], *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run an instrumented command to its end."""
    process = start(env, *command)
    return finish(process, timeout_s)


def finish(process: subprocess.Popen[str], timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Wait for a process and return what it said."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout_s} s:\n{err[-3000:]}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def terminate(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> subprocess.CompletedProcess[str]:
    """Send a signal and wait for the end."""
    process.send_signal(number)
    return finish(process)
