"""Builds the running system from settings: where every implementation is chosen, and the order of start and stop."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from mcp_tools.app import build_query_app
from otel_ingest.batcher import Batcher
from otel_ingest.budget import Budget
from otel_ingest.cli.common import storage_config
from otel_ingest.config import Endpoint, Settings
from otel_ingest.errors import PermissionDenied, Unauthenticated
from otel_ingest.grpc_server import build_grpc_server
from otel_ingest.http_app import build_http_app
from otel_ingest.ingest import Ingest
from otel_ingest.limits import Limits
from otel_ingest.listener import HttpListener, bind
from otel_ingest.server import Receiver
from otel_ingest.stats import ReceiverStats
from storage import migrate, partitions, tokens
from storage.embedded import EmbeddedPostgres
from storage.engine import read_engine, write_engine
from storage.reader import Reader
from storage.sink import PostgresSink

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class System:
    """A started system: where it answers, and the read token of its data directory."""

    grpc: str
    http: str
    query: str
    read_token: str


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the event loop to run on."""
    return uvloop.new_event_loop
