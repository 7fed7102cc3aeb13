"""What the Python distribution costs an application and what it loses, beside the stock distribution: `make clients-bench`.

Prints the tables of docs/clients.md. The outage is against a real `otel-ingest up` whose process is killed and started
again on the same ports; what counts is what its database holds.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from instrumentation.tests import sink as s
from tests import harness

COST_APP = """
import json, logging, time
log = logging.getLogger("cost")
logging.getLogger().setLevel(logging.INFO)
if {plain}:
    logging.getLogger().addHandler(logging.NullHandler())
clock = time.perf_counter_ns
out = {{}}
for kind, extra in (("message", None), ("message, 5 attributes", {{"order": 7, "user": "bob", "path": "/x", "ms": 1.5, "ok": True}})):
    times = []
    for i in range(300):
        for _ in range(50):
            a = clock(); log.info("order %s shipped to %s", i, "bob", extra=extra); times.append(clock() - a)
        time.sleep(0.01)
    out[kind] = sorted(times)
out["disabled debug"] = []
for i in range(20000):
    a = clock(); log.debug("x %s", i); out["disabled debug"].append(clock() - a)
out["disabled debug"].sort()
print(json.dumps({{k: [v[len(v) // 2], v[len(v) * 99 // 100]] for k, v in out.items()}}))
"""
RATE_APP = """
import logging, os, sys, time
logging.getLogger().setLevel(logging.INFO)
log = logging.getLogger("rate")
name, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
print("ready", flush=True)
start = time.monotonic()
sent = 0
while (now := time.monotonic() - start) < seconds:
    while sent < now * rate:
        log.info("%s %d", name, sent)
        sent += 1
    time.sleep(0.005)
print(sent, flush=True)
"""
REQUEST_APP = """
import logging
from fastapi import FastAPI
logging.getLogger().setLevel(logging.INFO)  # the stock distribution leaves it at WARNING, and would export no record
log = logging.getLogger("request_app")
app = FastAPI()

@app.get("/")
async def index(i: int = 0) -> str:
    log.info("request %s", i)
    return "ok"
"""
SINK = """
from instrumentation.tests.sink import Sink
import threading
one = Sink()
one.post = lambda path, headers, body: (200, {}, b"")
one.start()
print(one.endpoint, flush=True)
threading.Event().wait()
"""
ROUNDS = 9
ROUND_S = 3.0  # of one application, before the next one's turn
BURST_APP = """
import logging, sys, time
logging.getLogger().setLevel(logging.INFO)
log = logging.getLogger("burst")
name, count = sys.argv[1], int(sys.argv[2])
start = time.monotonic()
for i in range(count):
    log.info("%s %d", name, i)
print(f"{time.monotonic() - start:.1f}", flush=True)
"""
AFTER_S = 30.0  # longer than the longest backoff
STOCK = {
    "OTEL_PYTHON_DISTRO": "distro",
    "OTEL_PYTHON_CONFIGURATOR": "configurator",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
}


def environment(kind: str, endpoint: str, folder: Path) -> dict[str, str]:
    """Return the environment of an application without instrumentation, with the stock distribution, or with ours."""
    env = s.environment(endpoint, folder / "spool")
    return env | STOCK if kind == "stock" else env


def command(kind: str, *arguments: str) -> list[str]:
    """Return the command line of an application."""
    return [*arguments] if kind == "none" else s.instrument(*arguments)


def log_call(folder: Path) -> None:
    """Print the cost of one log call, nanoseconds measured call by call while batches are sent."""
    print(
        "\n| one call of `logging`, µs p50 / p99 | message | message, 5 attributes | disabled debug |\n|---|---|---|---|"
    )
    kinds = ("none", "stock", "ours")
    runs: dict[str, list[dict[str, list[int]]]] = {kind: [] for kind in kinds}
    with _sink_process() as endpoint:
        for _ in range(5):
            for kind in kinds:  # by turns, so that what else the machine does falls on each alike
                done = subprocess.run(
                    command(kind, sys.executable, "-c", COST_APP.format(plain=kind == "none")),
                    env=environment(kind, endpoint, folder),
                    capture_output=True,
                    text=True,
                    check=True,
                )
                runs[kind].append(json.loads(done.stdout.splitlines()[-1]))
    for kind in kinds:
        cells = [
            " / ".join(f"{statistics.median(r[column][i] for r in runs[kind]) / 1000:.2f}" for i in (0, 1))
            for column in runs[kind][0]
        ]
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def request(folder: Path) -> None:
    """Print the latency of one request to FastAPI under uvicorn that logs one record.

    All applications run at once and are asked by turns, so that what else the machine does falls on each alike; the
    receiver is a process of its own, so that taking exports in delays no measured request.
    """
    kinds = ("none", "stock", "ours")
    with _sink_process() as endpoint, ExitStack() as stack:
        urls = {kind: stack.enter_context(_application(kind, endpoint, folder)) for kind in kinds}
        runs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind in kinds:
                runs[kind].append(_round(urls[kind]))
    print(
        f"\n| one HTTP request, ms, medians of {ROUNDS} rounds of {ROUND_S:g} s | p50 | p99 | over stock, p99 |"
        "\n|---|---|---|---|"
    )
    for kind in kinds:
        p50, p99 = (statistics.median(run[i] for run in runs[kind]) for i in (0, 1))
        more = statistics.median(own[1] - stock[1] for own, stock in zip(runs[kind], runs["stock"], strict=True))
        print(f"| {kind} | {p50:.2f} | {p99:.2f} | {more:+.2f} |", flush=True)


def _round(url: str) -> tuple[float, float]:
    """Return p50 and p99, ms, of the requests of some seconds over one connection."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port)
    times = []
    ends = time.monotonic() + ROUND_S
    while time.monotonic() < ends:
        began = time.perf_counter()
        connection.request("GET", "/?i=1")
        connection.getresponse().read()
        times.append((time.perf_counter() - began) * 1000)
    connection.close()
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


@contextmanager
def _application(kind: str, endpoint: str, folder: Path) -> Iterator[str]:
    """Run FastAPI under uvicorn; yield its URL."""
    port = free_port()
    (folder / "request_app.py").write_text(REQUEST_APP)
    uvicorn = str(Path(sys.executable).with_name("uvicorn"))
    arguments = [uvicorn, "request_app:app", "--port", str(port), "--no-access-log"]
    env = environment(kind, endpoint, folder)
    with subprocess.Popen(command(kind, *arguments), env=env, cwd=folder, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}/?i=1"
        s.wait_for(lambda: answers(url), 30)
        yield url
        process.terminate()


@contextmanager
def _sink_process() -> Iterator[str]:
    """Run a receiver that takes everything and keeps nothing; yield its URL."""
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def answers(url: str) -> bool:
    """Return whether a URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def redaction() -> None:
    """Print what redaction costs the exporting thread for a record."""
    from otel_ingest_instrumentation.records import Cleaner
    from otel_ingest_instrumentation.redaction import Redactor, patterns, shared_rules

    clean = {
        "http.method": "GET", "http.target": "/orders/42?page=2&sort=name", "http.status_code": 200, "net.peer.ip": "10.0.0.7",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "order.id": 4711, "shop.tenant": "north", "ok": True, "ms": 12.5,
    }  # fmt: skip
    records = {
        "clean, 9 attributes": ("GET /orders/42 from 10.0.0.7 took 12.5 ms", clean),
        "dirty": ("login password=hunter2", clean | {"url": "https://u:p@h/x?token=abc", "password": "x"}),
        "stack trace of 2.5 kB": (
            "failed",
            {"exception.stacktrace": '  File "/app/shop/orders.py", line 42, in place\n    self.load()\n' * 40},
        ),
    }
    print("\n| redaction of one record, µs, best of 20 rounds | google-re2 | standard library |\n|---|---|---|")
    found = patterns.re2
    for name, (body, attributes) in records.items():
        cells = []
        for engine in (found, None):
            patterns.re2 = engine
            cleaner = Cleaner(Redactor(shared_rules()))
            times = []
            for round_ in range(20):
                few = [_record(body, attributes, 200 * round_ + i) for i in range(200)]
                began = time.perf_counter()
                for record in few:
                    cleaner.log(record)
                times.append((time.perf_counter() - began) / 200 * 1e6)
            cells.append(f"{min(times):.1f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    patterns.re2 = found


def _record(body: str, attributes: dict[str, Any], number: int) -> Any:
    """Return a record; its body and what a request has of its own are like no other record's."""
    from opentelemetry._logs import LogRecord
    from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk.resources import Resource

    own = attributes | ({"http.target": f"/orders/{number}?page=2&sort=name"} if "http.target" in attributes else {})
    made = ReadWriteLogRecord(LogRecord(body=f"{body} {number}", attributes=own), Resource.get_empty())
    return ReadableLogRecord(made.log_record, made.resource or Resource.get_empty())


def server(folder: Path, ports: dict[str, int]) -> harness.Server:
    """Start a server on given ports."""
    arguments = [part for side, port in ports.items() for part in (f"--{side}-endpoint", f"127.0.0.1:{port}")]
    return harness.start(folder / "data", *arguments)


def stored(one: harness.Server, name: str) -> tuple[int, int]:
    """Return how many records of an application are stored, and how many different ones."""
    with one.sql() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT body) FROM log_records WHERE body LIKE %s", (name + " %",))
        row = cursor.fetchone()
    assert row is not None
    return int(str(row[0])), int(str(row[1]))


def burst(folder: Path, count: int) -> None:
    """Print what becomes of records that come as fast as Python makes them, in a process that ends right after."""
    print(
        f"\n| {count:,} records as fast as they are made, then the end | s | stored | lost | doubled | lines on stderr |"
        "\n|---|---|---|---|---|---|"
    )
    with harness.running(folder / "burst") as one:
        for kind in ("stock", "ours"):
            name = f"{kind}-burst"
            env = environment(kind, f"http://{one.http}", folder / name) | {"OTEL_SERVICE_NAME": name}
            done = subprocess.run(
                command(kind, sys.executable, "-c", BURST_APP, name, str(count)),
                env=env, capture_output=True, text=True, check=True,
            )  # fmt: skip
            _next(kind, env)
            rows, different = stored(one, name)
            _print_kept(kind, done.stdout.split()[-1], count, rows, different, done.stderr)


def steady(folder: Path, rate: int, seconds: float) -> None:
    """Print what arrives of an even rate."""
    print(
        f"\n| {rate:,} records a second for {seconds:g} s | sent | stored | lost | doubled | lines on stderr |"
        "\n|---|---|---|---|---|---|"
    )
    with harness.running(folder / "steady") as one:
        processes = {}
        for kind in ("stock", "ours"):
            env = environment(kind, f"http://{one.http}", folder / kind) | {"OTEL_SERVICE_NAME": f"{kind}-steady"}
            arguments = [sys.executable, "-c", RATE_APP, f"{kind}-steady", str(rate), str(seconds)]
            processes[kind] = subprocess.Popen(
                command(kind, *arguments), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        for kind, process in processes.items():
            out, err = process.communicate(timeout=seconds + 120)
            rows, different = stored(one, f"{kind}-steady")
            _print_kept(kind, out.split()[-1], int(out.split()[-1]), rows, different, err)


def _next(kind: str, env: dict[str, str]) -> None:
    """Run the next process of a service, which sends what the one before left."""
    subprocess.run(
        command(kind, sys.executable, "-c", RATE_APP, "next", "1", "12"), env=env, capture_output=True, check=True
    )


def _print_kept(kind: str, first: str, sent: int, rows: int, different: int, said: str) -> None:
    cells = (kind, first, rows, sent - different, rows - different, said.count("CRITICAL"))
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    sys.stderr.write("".join(line for line in said.splitlines(keepends=True) if "CRITICAL" in line))


def outage(folder: Path, rate: int, away_s: float) -> None:
    """Print what is lost when the server is killed for a while, and when the application ends meanwhile."""
    ports = {side: free_port() for side in ("grpc", "http", "query")}
    endpoint = f"http://127.0.0.1:{ports['http']}"
    around = 10.0
    one = server(folder, ports)
    processes = {}
    for kind in ("stock", "ours"):
        for name, seconds in ((f"{kind}-stays", away_s + around + AFTER_S), (f"{kind}-ends", around + away_s / 2)):
            arguments = [sys.executable, "-c", RATE_APP, name, str(rate), str(seconds)]
            env = environment(kind, endpoint, folder / name) | {"OTEL_SERVICE_NAME": name}
            processes[name] = subprocess.Popen(
                command(kind, *arguments), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()
    time.sleep(around)
    one.process.send_signal(signal.SIGKILL)
    one.process.wait()
    time.sleep(away_s)
    one = server(folder, ports)
    sent = {}
    said = {}
    for name, process in processes.items():
        out, err = process.communicate(timeout=300)
        sent[name] = int(out.split()[-1])
        said[name] = err.count("CRITICAL")
    for name in processes:  # the next process of the service sends what the one before left
        kind = name.split("-", maxsplit=1)[0]
        _next(kind, environment(kind, endpoint, folder / name) | {"OTEL_SERVICE_NAME": name})
    print(
        f"\n| {rate} records a second, server killed for {away_s:g} s | sent | stored | lost | doubled | lines on stderr |"
    )
    print("|---|---|---|---|---|---|")
    for name, count in sent.items():
        rows, different = stored(one, name)
        words = {"stays": "runs on", "ends": "ends meanwhile, then is started again"}[name.split("-")[1]]
        print(
            f"| {name.split('-')[0]}, {words} | {count} | {rows} | {count - different} | {rows - different} | {said[name]} |"
        )
    one.stop()


def main() -> None:
    """Run what is asked for, everything by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {
        "redaction": lambda _, __: redaction(),
        "log": lambda folder, _: log_call(folder),
        "request": lambda folder, _: request(folder),
        "burst": lambda folder, chosen: burst(folder, chosen.burst),
        "steady": lambda folder, chosen: steady(folder, chosen.rate or 1000, chosen.seconds),
        "outage": lambda folder, chosen: outage(folder, chosen.rate or 500, chosen.away),
    }
    parser.add_argument("--only", choices=parts, default=None)
    parser.add_argument(
        "--rate", type=int, default=None, help="records a second of each application (500; steady: 1,000)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of the even rate")
    parser.add_argument("--burst", type=int, default=85_000, help="records of the burst")
    parser.add_argument("--away", type=float, default=60.0, help="seconds that the server is away")
    chosen = parser.parse_args()
    for name in [n for n in os.environ if n.startswith("OTEL_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as made:
        for name, part in parts.items():
            if chosen.only in (None, name):
                part(Path(made), chosen)


if __name__ == "__main__":
    main()
