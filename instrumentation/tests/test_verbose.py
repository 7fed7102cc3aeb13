"""X-Trace-Log: whose wish counts, what it brings, how far it travels, and what it leaves alone."""

import gc
import logging
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.composite import CompositePropagator

from instrumentation.tests import sink as s
from instrumentation.tests.test_frameworks import free_port, get
from otel_ingest_instrumentation import process, settings, taps, trace_token, verbose
from otel_ingest_instrumentation.propagator import NAME, TraceLogPropagator, near

SECRET = b"correct horse"
VECTOR = "v1.4102444800.EmLc5MiayPquRYx-5iX8xc09taI_jZ-f23pGPw6FRPA"  # of docs/x-trace-log.md
BOTH = CompositePropagator([W3CBaggagePropagator(), TraceLogPropagator()])


def test_token() -> None:
    """The document's vector: valid at its time, not after, not much before, not with another secret or signature."""
    assert trace_token.make(SECRET, 4102444800) == VECTOR
    assert trace_token.valid(VECTOR, SECRET, 4102440000)
    assert not trace_token.valid(VECTOR, SECRET, 4102444801)
    assert not trace_token.valid(VECTOR, SECRET, 4102444800 - 2 * 86400)
    assert not trace_token.valid(VECTOR, b"battery staple", 4102440000)
    for broken in (VECTOR[:-1], VECTOR[:-1] + "B", "true", "", "v1", "v2" + VECTOR[2:], "v1.x.y", "v1..", VECTOR + "."):
        assert not trace_token.valid(broken, SECRET, 4102440000)


@pytest.fixture(params=["open", "token", "off"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a mode in force and return it."""
    chosen = replace(settings.Settings(), trace_header=str(request.param), trace_secret=SECRET)
    monkeypatch.setattr(process, "_settings", chosen)
    return str(request.param)


def test_whose_wish_counts(mode: str) -> None:
    """``true`` where it is open, a token where there is a secret, as header or entry; else nothing is passed on."""
    token = trace_token.make(SECRET, int(time.time()) + 60)
    cases = {"true": mode == "open", token: mode != "off", token[:-2] + "AA": False, "yes": False}
    for value, counts in cases.items():
        for carrier in ({NAME: value}, {"baggage": f"user=7,{NAME}={value}"}):
            context = BOTH.extract(carrier)
            assert (verbose.mark_of(context) is not None) is counts, (mode, value)
            assert (NAME in baggage.get_all(context)) is (mode == "off" and "baggage" in carrier)
            assert "baggage" not in carrier or baggage.get_baggage("user", context) == "7"


@pytest.mark.parametrize("mode", ["token"], indirect=True)
@pytest.mark.usefixtures("mode")
def test_it_travels_on_as_header_and_baggage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both carriers of the next hop hold the same value."""
    monkeypatch.setattr("opentelemetry.propagate.get_global_textmap", lambda: BOTH)
    token = trace_token.make(SECRET, int(time.time()) + 60)
    context = BOTH.extract({NAME: token, "baggage": "user=7"})
    carrier: dict[str, str] = {}
    BOTH.inject(carrier, context)

    assert carrier[NAME] == token
    assert set(carrier["baggage"].split(",")) == {"user=7", f"{NAME}={token}"}


def test_hosts_that_may_learn_of_it() -> None:
    """By default what is not the open net; with a list, what it says."""
    for host in ("localhost", "payments", "127.0.0.1", "10.1.2.3", "[::1]", "a.svc.cluster.local", "db.internal"):
        assert near(host, ())
    for host in ("api.example.org", "8.8.8.8", "localhost.evil.com"):
        assert not near(host, ())
    assert near("a.our.org", ("*.our.org",))
    assert not near("localhost", ("*.our.org",))


def test_only_the_marked_context_logs_more_and_only_to_us() -> None:
    """Records below the level go past the application's own handlers; without a mark Logger is Python's own."""
    before = (logging.Logger.isEnabledFor, logging.Logger.callHandlers)
    ours: list[str] = []
    own: list[str] = []
    taps.install(lambda record: ours.append(record.getMessage()))
    log = logging.getLogger("verbose.test")
    log.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: own.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    log.debug("no")
    context = verbose.marked(Context(), "true", 3)
    assert logging.Logger.isEnabledFor is not before[0]
    token = attach(context)
    log.info("info")
    log.debug("debug")
    log.log(5, "trace")
    log.log(4, "below trace")
    detach(token)
    log.debug("no")
    token = attach(context)
    for i in range(5):
        log.debug("more %d", i)
    detach(token)
    del context, token
    gc.collect()
    log.removeHandler(handler)

    assert own == ["info"]
    assert ours[:3] == ["debug", "trace", "more 0"]
    assert ours[3].startswith("X-Trace-Log: 3 records below")
    assert len(ours) == 4
    assert (logging.Logger.isEnabledFor, logging.Logger.callHandlers) == before


@pytest.fixture
def sink() -> Iterator[s.Sink]:
    """Yield a recording receiver."""
    with s.sink() as one:
        yield one


def test_one_request_through_two_services(sink: s.Sink, tmp_path: Path) -> None:
    """FastAPI asks Flask: the marked request is whole in both, under one trace id; parallel ones stay at INFO."""
    flask, fastapi = free_port(), free_port()
    env = s.environment(
        sink.endpoint, tmp_path, OTEL_INGEST_CLIENT_TRACE_SECRET=SECRET.decode(), OTEL_TRACES_SAMPLER="always_off"
    )
    env |= {"PYTHONPATH": str(s.APPS), "NEXT": f"http://127.0.0.1:{flask}"}
    processes = [
        s.start(env, "flask", "--app", "flask_app", "run", "--port", str(flask)),
        s.start(env | {"OTEL_SERVICE_NAME": "front"}, "uvicorn", "fastapi_app:app", "--port", str(fastapi)),
    ]
    token = trace_token.make(SECRET, int(time.time()) + 300)
    try:
        s.wait_for(lambda: get(flask, "/?i=-1") == 200 and get(fastapi, "/?i=-1") == 200)
        for i in range(12):
            header = {3: "true", 6: token, 9: token[:-1] + "_"}.get(i)
            request = urllib.request.Request(f"http://127.0.0.1:{fastapi}/ask?i={i}")
            if header:
                request.add_header("X-Trace-Log", header)
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                assert answer.status == 200
    finally:
        for one in processes:
            s.terminate(one)
    debug = [r for r in sink.logs() if r.body.string_value.startswith(("fastapi debug", "flask debug"))]
    assert sorted(r.body.string_value for r in debug) == ["fastapi debug 6", "flask debug 6"]
    info = {r.body.string_value: r.trace_id for r in sink.logs() if r.severity_number == 9}
    assert {r.trace_id for r in debug} == {info["fastapi 6"]} == {info["flask 6"]}
    assert {f"{a} {i}" for a in ("fastapi", "flask") for i in range(12)} <= set(info)
    assert {x.trace_id for x in sink.spans()} == {info["fastapi 6"]}, "its spans are recorded whatever the sampler says"


def test_through_grpc(sink: s.Sink, tmp_path: Path) -> None:
    """A service of threads asks one of asyncio: metadata carry the wish; the marked request is whole in both."""
    front, back = free_port(), free_port()
    env = s.environment(sink.endpoint, tmp_path, OTEL_INGEST_CLIENT_TRACE_SECRET=SECRET.decode())
    processes = [
        s.start(env, sys.executable, "grpc_app.py", "back", str(back)),
        s.start(env | {"OTEL_SERVICE_NAME": "front"}, sys.executable, "grpc_app.py", "front", str(front), str(back)),
    ]
    token = trace_token.make(SECRET, int(time.time()) + 300)
    wishes = {3: "true", 6: token, 9: token[:-1] + "_"}
    try:
        with grpc.insecure_channel(f"127.0.0.1:{front}") as channel:
            ask = channel.unary_unary("/shop.Stock/Take")
            for i in range(12):
                metadata = [(NAME, wishes[i])] if i in wishes else []
                answer = ask(str(i).encode(), metadata=metadata, timeout=40, wait_for_ready=True)
                assert answer == str(i).encode()
    finally:
        outputs = [s.terminate(one).stderr for one in processes]
    more = [r for r in sink.logs() if r.body.string_value.startswith(("front ", "back ")) and r.severity_number < 9]
    assert sorted(r.body.string_value for r in more) == [
        f"{who} {what} 6" for who in ("back", "front") for what in ("debug", "trace")
    ], outputs
    info = {r.body.string_value: r.trace_id for r in sink.logs() if r.severity_number == 9}
    assert {f"{who} {i}" for who in ("front", "back") for i in range(12)} <= set(info)
    assert {r.trace_id for r in more} == {info["front 6"]} == {info["back 6"]}
    assert len({info[f"front {i}"] for i in range(12)}) == 12


def test_through_celery(sink: s.Sink, tmp_path: Path) -> None:
    """The wish travels with the message: one of four tasks is logged in full."""
    env = s.environment(
        sink.endpoint,
        tmp_path / "spool",
        CELERY_FOLDER=str(tmp_path / "broker"),
        OTEL_INGEST_CLIENT_TRACE_SECRET=SECRET.decode(),
    )
    env |= {"PYTHONPATH": str(s.APPS)}
    token = trace_token.make(SECRET, int(time.time()) + 300)
    sent = s.run(env | {"OTEL_SERVICE_NAME": "sender"}, sys.executable, "celery_send.py", token)
    assert sent.returncode == 0, sent.stderr
    worker = s.start(env, "celery", "-A", "celery_app", "worker", "-c", "2", "--loglevel", "INFO")
    try:
        s.wait_for(lambda: {f"task {i}" for i in range(4)} <= set(sink.bodies()), 60)
    finally:
        s.terminate(worker)
    assert [b for b in sink.bodies() if b.startswith("debug ")] == ["debug 2"]
