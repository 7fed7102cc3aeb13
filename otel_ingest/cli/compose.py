"""Builds the running system from settings: where every implementation is chosen, and the order of start and stop."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from mcp_tools.app import Doors, build_query_app
from otel_ingest.batcher import Batcher
from otel_ingest.budget import Budget
from otel_ingest.cli.certificates import Listeners, keep_current, known_hosts, open_certificates, public_names
from otel_ingest.cli.common import storage_config, windows
from otel_ingest.cli.ready import Ready
from otel_ingest.config import Settings
from otel_ingest.errors import PermissionDenied, StoreUnavailable, Unauthenticated
from otel_ingest.grpc_server import build_grpc_server
from otel_ingest.http_app import HttpApp
from otel_ingest.ingest import Ingest
from otel_ingest.levels import LevelConfigurations
from otel_ingest.limits import Limits
from otel_ingest.listener import HttpListener, address_of, bind
from otel_ingest.opamp import OpampServer
from otel_ingest.opamp_app import OpampApp
from otel_ingest.server import Receiver
from otel_ingest.stats import ReceiverStats
from storage import embedded, levels, maintenance, migrate, tokens
from storage.control import Control
from storage.engine import AsyncEngine, read_engine, write_engine
from storage.errors import StoreError
from storage.reader import Reader
from storage.sink import PostgresSink

_log = structlog.get_logger(__name__)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the event loop to run on."""
    return uvloop.new_event_loop


# A token that was checked is taken for this long: an export a second must not be a query a second.
_TOKEN_CACHE_S = 1.0
_TOKEN_CACHE_MAX = 1_000


async def start(settings: Settings, stack: AsyncExitStack) -> Ready:
    """Start everything; what was started is stopped by ``stack``, in reverse.

    Raises StoreError, AddressInUseError, TlsError.
    """
    certificates = open_certificates(settings)
    http_socket = bind(settings.http_endpoint, "http_endpoint")
    stack.callback(http_socket.close)
    grpc_socket = bind(settings.grpc_endpoint, "grpc_endpoint")
    stack.callback(grpc_socket.close)
    query_socket = bind(settings.query_endpoint, "query_endpoint")
    stack.callback(query_socket.close)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = await _database(settings, stack)
    await migrate.upgrade(url)
    config = storage_config(settings, url)
    writing, reading = write_engine(config), read_engine(config)
    stack.push_async_callback(writing.dispose)
    stack.push_async_callback(reading.dispose)
    read_token = await _first_tokens(settings, writing)
    stats = ReceiverStats(CollectorRegistry())
    keep_current(settings, certificates, stats.registry, stack)
    receiver = _receiver(settings, writing, stats, http_socket, grpc_socket, certificates)
    await receiver.start()
    stack.push_async_callback(receiver.stop)
    reader = Reader(reading)
    query = HttpListener(
        build_query_app(
            reader,
            Control(writing),
            partial(tokens.verify, writing),
            f"{settings.scheme('query')}://{address_of(query_socket)}",
            partial(_readiness, reader),
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
        read_token,
        public_names(certificates),
        await _ingest_token_exists(writing),
    )


async def _database(settings: Settings, stack: AsyncExitStack) -> str:
    """Return the URL of the configured PostgreSQL, or start the embedded one."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    server = await embedded.start(settings.data_dir)
    stack.push_async_callback(server.stop)
    return server.url


def _receiver(
    settings: Settings,
    engine: AsyncEngine,
    stats: ReceiverStats,
    http_socket: socket.socket,
    grpc_socket: socket.socket,
    certificates: Listeners,
) -> Receiver:
    """Build the write side."""
    limits = Limits(body_bytes_max=settings.body_bytes_max)
    budget = Budget(settings.inflight_bytes_max)
    stats.budget = budget
    batcher = Batcher(
        PostgresSink(engine, windows(settings)),
        stats,
        writers=settings.writers,
        queue_bytes_max=settings.inflight_bytes_max,
    )
    batcher.start()
    ingest = Ingest(batcher, limits, stats, time.time_ns)
    http_authorize = _authorizer(engine, needed=settings.ingest_needs_token(settings.http_endpoint))
    grpc_authorize = _authorizer(engine, needed=settings.ingest_needs_token(settings.grpc_endpoint))
    configurations = LevelConfigurations(partial(levels.active, engine))
    opamp = OpampServer(partial(levels.note_agent, engine), configurations)
    own = certificates.get("grpc")
    tls = own.ssl_context() if own is not None else None
    grpc_server = build_grpc_server(ingest, grpc_authorize, limits, budget, configurations.hash_of, grpc_socket, tls)
    app = OpampApp(HttpApp(ingest, http_authorize, limits, budget, configurations.hash_of), opamp, http_authorize)
    http = HttpListener(
        app, http_socket, drain_timeout_s=settings.drain_timeout_s, certificates=certificates.get("http")
    )
    maintain = partial(_maintain, engine, settings)
    return Receiver(settings, batcher, http, grpc_server, address_of(grpc_socket), maintain, configurations)


async def _maintain(engine: AsyncEngine, settings: Settings, now: datetime) -> None:
    await maintenance.maintain(engine, now, settings.partitions_ahead_days, windows(settings))
    await levels.forget(engine)


def _authorizer(engine: AsyncEngine, *, needed: bool) -> Callable[[str | None], Awaitable[None]]:
    """Return the check of exports: nothing on loopback by default; elsewhere a token with the ingest role."""
    checked: dict[str, tuple[float, str | None]] = {}

    async def authorize(header: str | None) -> None:
        if not needed:
            return
        scheme, _, text = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise Unauthenticated("exports to this server need Authorization: Bearer TOKEN, role ingest")
        until, role = checked.get(text, (0.0, None))
        if until < time.monotonic():
            try:
                token = await tokens.verify(engine, text.strip())
            except StoreError as error:
                raise StoreUnavailable(f"the token cannot be checked now: {error}") from error
            role = token.role if token else None
            if len(checked) >= _TOKEN_CACHE_MAX:
                checked.clear()
            checked[text] = (time.monotonic() + _TOKEN_CACHE_S, role)
        if role is None:
            raise Unauthenticated("the token is unknown, expired or revoked")
        if not tokens.allows(role, "ingest"):
            raise PermissionDenied(f"exports need a token with the role ingest; this one has {role}")

    return authorize


async def _first_tokens(settings: Settings, engine: AsyncEngine) -> str:
    """Make the admin and the read token of the data directory where there is no valid one; return the latter."""
    directory = settings.data_dir / "tokens"
    directory.mkdir(mode=0o700, exist_ok=True)
    texts = {}
    for role in ("admin", "read"):
        path = directory / role
        text = path.read_text().strip() if path.exists() else ""
        if not text or await tokens.verify(engine, text) is None:
            text, _ = await tokens.create(engine, f"first {role}", role)
            _write_private(path, text)
        texts[role] = text
    return texts["read"]


async def _ingest_token_exists(engine: AsyncEngine) -> bool:
    """Whether a token of the role ingest itself is valid: senders should not have an admin's."""
    now = datetime.now(UTC)
    return any(
        t.role == "ingest" and t.revoked_at is None and (t.expires_at is None or t.expires_at > now)
        for t in await tokens.list_tokens(engine)
    )


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 that never existed with another mode."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")


async def _readiness(reader: Reader) -> str | None:
    """Return None when PostgreSQL answers, else why exports cannot be stored."""
    try:
        await reader.ping()
    except StoreError as error:
        return f"not ready: {error}"
    return None
