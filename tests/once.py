"""A write side without its sockets: decode, batcher, sink, on an engine of its own."""

import time
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from otel_ingest.batcher import Batcher
from otel_ingest.budget import Budget
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.ingest import ExportResult, Ingest
from otel_ingest.limits import Limits
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.signals import LOGS
from otel_ingest.stats import ReceiverStats
from otel_ingest.wire import Encoding
from storage.config import Windows
from storage.sink import PostgresSink

_MIB = 1024 * 1024


@dataclass
class WriteSide:
    """One receiver on a database."""

    ingest: Ingest
    batcher: Batcher
    stats: ReceiverStats
    budget: Budget

    async def export(self, body: bytes) -> ExportResult:
        """Export a request of logs. Raises IngestError."""
        return await self.ingest.export(LOGS, body, Encoding.PROTOBUF, "http", self.budget.lease())

    async def close(self) -> None:
        """Write what is queued, and end."""
        await self.batcher.close(10.0)


def write_side(engine: AsyncEngine, windows: Windows | None = None) -> WriteSide:
    """Return a write side that is running."""
    stats = ReceiverStats(CollectorRegistry())
    batcher = Batcher(PostgresSink(engine, windows), stats, writers=2, queue_bytes_max=256 * _MIB)
    batcher.start()
    decoder = Decoder(Limits(), 192 * _MIB)
    ingest = Ingest(Durable(batcher), decoder, ComponentRates(0), stats, time.time_ns)
    return WriteSide(ingest, batcher, stats, Budget(256 * _MIB))
