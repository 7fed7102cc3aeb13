"""Builds the running system from settings: where every implementation is chosen, and the order of start and stop."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import structlog
import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from mcp_tools.app import Doors, Metrics, Readiness, build_query_app
from mcp_tools.jaeger import OtlpTrace
from otel_ingest.batcher import Batcher
from otel_ingest.budget import Budget
from otel_ingest.cli.access import Access
from otel_ingest.cli.certificates import Listeners, keep_current, known_hosts, open_certificates, public_names
from otel_ingest.cli.common import rejected_bounds, windows
from otel_ingest.cli.entrance import authorizer
from otel_ingest.cli.issuer import oauth_of
from otel_ingest.cli.otlp_reading import otlp_trace
from otel_ingest.cli.preparing import Preparation, open_access
from otel_ingest.cli.ready import Ready
from otel_ingest.cli.spooling import Spooling, readiness
from otel_ingest.cli.supervisor import Supervisor, order_line
from otel_ingest.config import Settings
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.ending import bounded
from otel_ingest.exports import Exports
from otel_ingest.grpc_server import build_grpc_server
from otel_ingest.http_app import build_http_server, http_app
from otel_ingest.ingest import Ingest
from otel_ingest.levels import LevelConfigurations
from otel_ingest.limits import Limits
from otel_ingest.listener import HttpListener
from otel_ingest.opamp import OpampServer
from otel_ingest.opamp_app import OpampApp
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.redact import SecondLine
from otel_ingest.redaction import shared_rules
from otel_ingest.server import Receiver
from otel_ingest.sockets import address_of, bind, reserve
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from otel_ingest.tls_settings import Side
from storage import levels
from storage.clearing import Eraser
from storage.control import Control
from storage.engine import AsyncEngine, erase_engine, read_engine, sql_engine, write_engine
from storage.errors import RetryableStoreError
from storage.plain_sql.console import Console
from storage.reader import Reader
from storage.sink import PostgresSink
from storage.token_gate import TokenGate
from storage.transactions import outcome_of

_log = structlog.get_logger(__name__)

# Readers have nothing to lose, and a stream of the log never ends by itself.
_QUERY_DRAIN_S = 2.0


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the event loop to run on."""
    return uvloop.new_event_loop


@dataclass(frozen=True, slots=True)
class Receiving:
    """A started write side, and what a read side beside it is built from."""

    receiver: Receiver
    gate: TokenGate
    spooling: Spooling
    stats: ReceiverStats
    preparation: Preparation
    control: Control
    reading: AsyncEngine

    async def ping(self) -> float:
        """Return how long PostgreSQL takes to answer, in seconds. Raises StoreError."""
        return await Reader(self.reading).ping()


async def start(settings: Settings, stack: AsyncExitStack) -> Ready:
    """Start everything; what was started is stopped by ``stack``, in reverse.

    Raises StoreError, AddressInUseError, SpoolUnusableError, TlsError, WorkerFailedError.
    """
    if settings.workers > 1:
        return await _start_workers(settings, stack)
    certificates = open_certificates(settings)
    sockets = [_bound(settings, side, stack) for side in ("http", "grpc", "query")]
    receiving = await receive(
        settings, stack, certificates, (sockets[0], sockets[1]), partial(open_access, settings, stack)
    )
    spooling = receiving.spooling

    async def metrics() -> bytes:
        return generate_latest(receiving.stats.registry)

    query = await _query_side(
        settings,
        stack,
        certificates,
        sockets[2],
        (Reader(receiving.reading, spooling.view), receiving.control, receiving.gate),
        (partial(readiness, spooling, receiving.ping), metrics, partial(otlp_trace, receiving.reading)),
        receiving.receiver.http.address,
    )
    receiver = receiving.receiver
    return _ready(
        settings, certificates, receiving.preparation, receiver.grpc.address, receiver.http.address, query.address
    )


async def _start_workers(settings: Settings, stack: AsyncExitStack) -> Ready:
    """Start PostgreSQL, the receivers as processes of their own, and the query side here."""
    certificates = open_certificates(settings)
    query_socket = _bound(settings, "query", stack)
    # Held, not listened on: the addresses are ours for as long as this runs, whoever of the workers is alive.
    held = [reserve(getattr(settings, f"{side}_endpoint"), f"{side}_endpoint") for side in ("http", "grpc")]
    for sock in held:
        stack.callback(sock.close)
    http, grpc = (address_of(sock) for sock in held)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    access = await open_access(settings, stack)
    writing, reading = write_engine(access.writing(settings)), read_engine(access.reading(settings))
    stack.push_async_callback(bounded, writing.dispose)
    stack.push_async_callback(bounded, reading.dispose)
    preparation = Preparation(settings, access, writing)
    await preparation.prepare()
    gate = TokenGate(writing, access.writing(settings))
    await gate.start()
    stack.push_async_callback(gate.close)
    registry = CollectorRegistry()
    keep_current(settings, certificates, registry, stack)
    supervisor = Supervisor(order_line(settings, access, grpc, http), settings.workers)
    stack.push_async_callback(supervisor.stop, settings.drain_timeout_s)
    await supervisor.start()
    query = await _query_side(
        settings,
        stack,
        certificates,
        query_socket,
        (Reader(reading, supervisor.spooled), _control(settings, access, writing, stack), gate),
        (supervisor.readiness, supervisor.metrics, partial(otlp_trace, reading)),
        http,
    )
    return _ready(settings, certificates, preparation, grpc, http, query.address)


async def receive(
    settings: Settings,
    stack: AsyncExitStack,
    certificates: Listeners,
    sockets: tuple[socket.socket, socket.socket],
    find_access: Callable[[], Awaitable[Access]],
) -> Receiving:
    """Start the write side on bound sockets (HTTP, gRPC); ``find_access`` comes after the spool, which needs no store.

    Raises StoreError, SpoolUnusableError.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state, stats = StoreState(), ReceiverStats(CollectorRegistry())
    spooling = Spooling(settings, state, stats)
    stack.push_async_callback(spooling.close)
    await spooling.open()
    access = await find_access()
    writing, reading = write_engine(access.writing(settings)), read_engine(access.reading(settings))
    stack.push_async_callback(writing.dispose)
    stack.push_async_callback(reading.dispose)
    preparation = Preparation(settings, access, writing)
    stack.push_async_callback(preparation.close)
    await _prepare(preparation, spooling)
    gate = TokenGate(writing, access.writing(settings), lambda: state.is_away)
    await gate.start()
    stack.push_async_callback(gate.close)
    keep_current(settings, certificates, stats.registry, stack)
    receiver = _receiver(settings, writing, gate, stats, *sockets, certificates, spooling, preparation)
    await receiver.start()
    stack.push_async_callback(receiver.stop)
    control = _control(settings, access, writing, stack)
    return Receiving(receiver, gate, spooling, stats, preparation, control, reading)


def _control(settings: Settings, access: Access, writing: AsyncEngine, stack: AsyncExitStack) -> Control:
    """Return what changes something; it deletes, and runs SQL, through engines of their own where there is a way.

    Raises PermanentStoreError where SQL is to be run and there is no login for it.
    """
    eraser = console = None
    if (config := access.erasing(settings)) is not None:
        erasing = erase_engine(config)
        stack.push_async_callback(bounded, erasing.dispose)
        eraser = Eraser(erasing)
    if (config := access.asking(settings)) is not None:
        asking = sql_engine(config)
        stack.push_async_callback(bounded, asking.dispose)
        console = Console(asking, config.url)
    return Control(writing, eraser, console)


async def _query_side(
    settings: Settings,
    stack: AsyncExitStack,
    certificates: Listeners,
    sock: socket.socket,
    store: tuple[Reader, Control, TokenGate],
    state: tuple[Readiness, Metrics, OtlpTrace],
    http: str,
) -> HttpListener:
    """Start the query side on a bound socket; ``http``: where the receiver listens, which the page tells."""
    reader, control, gate = store
    base_url = f"{settings.scheme('query')}://{address_of(sock)}"
    app = build_query_app(
        reader,
        control,
        gate.verify,
        base_url,
        *state,
        Doors(known_hosts(settings, certificates), settings.query_allowed_origins),
        Ready(settings, "", http, "", "", public_names(certificates)).url("http"),
        oauth_of(settings, base_url),
    )
    own = certificates.get("query")
    query = HttpListener(
        app, sock, drain_timeout_s=min(_QUERY_DRAIN_S, settings.drain_timeout_s), certificates=own, websockets=True
    )
    await query.start()
    stack.push_async_callback(query.stop)
    return query


def _bound(settings: Settings, side: str, stack: AsyncExitStack) -> socket.socket:
    sock = bind(getattr(settings, f"{side}_endpoint"), f"{side}_endpoint")
    stack.callback(sock.close)
    return sock


def _ready(
    settings: Settings, certificates: Listeners, preparation: Preparation, grpc: str, http: str, query: str
) -> Ready:
    token, exists = preparation.read_token, preparation.ingest_token_exists
    return Ready(settings, grpc, http, query, token, public_names(certificates), exists)


async def _prepare(preparation: Preparation, spooling: Spooling) -> None:
    """Prepare PostgreSQL, or begin without it where there is a spool: it is prepared once it is back."""
    if spooling.own is None:
        await preparation.prepare()
        return
    try:
        await preparation.begin()
    except RetryableStoreError as error:
        spooling.state.away(str(error))


def _tls(certificates: Listeners, side: Side) -> ssl.SSLContext | None:
    own = certificates.get(side)
    return None if own is None else own.ssl_context()


def _receiver(
    settings: Settings,
    engine: AsyncEngine,
    gate: TokenGate,
    stats: ReceiverStats,
    http_socket: socket.socket,
    grpc_socket: socket.socket,
    certificates: Listeners,
    spooling: Spooling,
    preparation: Preparation,
) -> Receiver:
    """Build the write side."""
    limits = Limits(
        body_bytes_max=settings.body_bytes_max,
        body_timeout_s=settings.body_timeout_s,
        connections_max=settings.connections_max,
        records_max=settings.records_max,
    )
    budget = Budget(settings.inflight_bytes_max)
    stats.budget = budget
    batcher = Batcher(
        PostgresSink(engine, windows(settings), rejected_bounds(settings)),
        stats,
        writers=settings.writers,
        queue_bytes_max=settings.inflight_bytes_max,
        state=spooling.state,
        spooled=spooling.own is not None,
    )
    batcher.start()
    durable = Durable(batcher, spooling.own, partial(outcome_of, engine))
    second_line = SecondLine(shared_rules()) if settings.redact else None
    decoder = Decoder(limits, settings.decode_bytes_max, second_line)
    rates = ComponentRates(settings.component_bytes_per_s_max)
    ingest = Ingest(durable, decoder, rates, stats, time.time_ns)
    spooling.start(ingest, engine, preparation.probe)
    http_authorize = authorizer(gate.verify, needed=settings.ingest_needs_token(settings.http_endpoint))
    grpc_authorize = authorizer(gate.verify, needed=settings.ingest_needs_token(settings.grpc_endpoint))
    configurations = LevelConfigurations(partial(levels.active, engine))
    opamp = OpampServer(partial(levels.note_agents, engine), configurations)
    grpc_exports, http_exports = (
        Exports(ingest, authorize, configurations.hash_of) for authorize in (grpc_authorize, http_authorize)
    )
    app = OpampApp(http_app(http_exports, limits), opamp, http_authorize)
    grpc_tls, http_tls = _tls(certificates, "grpc"), _tls(certificates, "http")
    return Receiver(
        settings,
        batcher,
        decoder,
        build_http_server(app.serve, limits, budget, http_socket, http_tls),
        build_grpc_server(grpc_exports, limits, budget, grpc_socket, grpc_tls),
        preparation.upkeep,
        preparation.compact,
        configurations,
        spooling.stop_draining,
    )
