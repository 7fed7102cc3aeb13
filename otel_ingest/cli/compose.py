"""Builds the running system from settings: where every implementation is chosen, and the order of start and stop."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import structlog
import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from mcp_tools.app import Doors, build_query_app
from otel_ingest.batcher import Batcher
from otel_ingest.budget import Budget
from otel_ingest.cli.certificates import Listeners, keep_current, known_hosts, open_certificates, public_names
from otel_ingest.cli.common import rejected_bounds, windows
from otel_ingest.cli.entrance import authorizer
from otel_ingest.cli.preparing import Preparation, open_access
from otel_ingest.cli.ready import Ready
from otel_ingest.cli.spooling import Spooling, readiness
from otel_ingest.config import Settings
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.grpc_server import build_grpc_server
from otel_ingest.http_app import HttpApp
from otel_ingest.ingest import Ingest
from otel_ingest.levels import LevelConfigurations
from otel_ingest.limits import Limits
from otel_ingest.listener import HttpListener, address_of, bind
from otel_ingest.opamp import OpampServer
from otel_ingest.opamp_app import OpampApp
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.redact import SecondLine
from otel_ingest.redaction import shared_rules
from otel_ingest.server import Receiver
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from storage import levels
from storage.control import Control
from storage.engine import AsyncEngine, read_engine, write_engine
from storage.errors import RetryableStoreError
from storage.reader import Reader
from storage.sink import PostgresSink
from storage.token_gate import TokenGate
from storage.transactions import outcome_of

_log = structlog.get_logger(__name__)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the event loop to run on."""
    return uvloop.new_event_loop


async def start(settings: Settings, stack: AsyncExitStack) -> Ready:
    """Start everything; what was started is stopped by ``stack``, in reverse.

    Raises StoreError, AddressInUseError, SpoolUnusableError, TlsError.
    """
    certificates = open_certificates(settings)
    http_socket = bind(settings.http_endpoint, "http_endpoint")
    stack.callback(http_socket.close)
    grpc_socket = bind(settings.grpc_endpoint, "grpc_endpoint")
    stack.callback(grpc_socket.close)
    query_socket = bind(settings.query_endpoint, "query_endpoint")
    stack.callback(query_socket.close)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state, stats = StoreState(), ReceiverStats(CollectorRegistry())
    spooling = Spooling(settings, state, stats)
    stack.push_async_callback(spooling.close)
    await spooling.open()
    access = await open_access(settings, stack)
    writing, reading = write_engine(access.writing(settings)), read_engine(access.reading(settings))
    stack.push_async_callback(writing.dispose)
    stack.push_async_callback(reading.dispose)
    preparation = Preparation(settings, access, writing)
    await _prepare(preparation, spooling)
    gate = TokenGate(writing, access.writing(settings), lambda: state.is_away)
    await gate.start()
    stack.push_async_callback(gate.close)
    keep_current(settings, certificates, stats.registry, stack)
    receiver = _receiver(settings, writing, gate, stats, http_socket, grpc_socket, certificates, spooling, preparation)
    await receiver.start()
    stack.push_async_callback(receiver.stop)
    reader = Reader(reading, spooling.view)
    query = HttpListener(
        build_query_app(
            reader,
            Control(writing),
            gate.verify,
            f"{settings.scheme('query')}://{address_of(query_socket)}",
            partial(readiness, spooling, reader.ping),
            partial(generate_latest, stats.registry),
            Doors(known_hosts(settings, certificates), settings.query_allowed_origins),
        ),
        query_socket,
        drain_timeout_s=settings.drain_timeout_s,
        certificates=certificates.get("query"),
    )
    await query.start()
    stack.push_async_callback(query.stop)
    return Ready(
        settings,
        receiver.grpc_address,
        receiver.http.address,
        query.address,
        preparation.read_token,
        public_names(certificates),
        preparation.ingest_token_exists,
    )


async def _prepare(preparation: Preparation, spooling: Spooling) -> None:
    """Prepare PostgreSQL, or begin without it where there is a spool: it is prepared once it is back."""
    if spooling.own is None:
        await preparation.prepare()
        return
    try:
        await preparation.begin()
    except RetryableStoreError as error:
        spooling.state.away(str(error))


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
    opamp = OpampServer(partial(levels.note_agent, engine), configurations)
    own = certificates.get("grpc")
    tls = own.ssl_context() if own is not None else None
    grpc_server = build_grpc_server(ingest, grpc_authorize, limits, budget, configurations.hash_of, grpc_socket, tls)
    app = OpampApp(HttpApp(ingest, http_authorize, limits, budget, configurations.hash_of), opamp, http_authorize)
    http = HttpListener(
        app, http_socket, drain_timeout_s=settings.drain_timeout_s, certificates=certificates.get("http")
    )
    return Receiver(
        settings,
        batcher,
        decoder,
        http,
        grpc_server,
        address_of(grpc_socket),
        preparation.maintain,
        configurations,
        spooling.stop_draining,
    )
