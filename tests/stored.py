"""Requests of OTLP brought into a store the way a receiver brings them, without one."""

import time
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from otel_ingest.decode import decode
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import LOGS, TRACES, Signal
from otel_ingest.wire import Encoding, parse
from storage.batch import Batch
from storage.encoding import row_encoder
from storage.rows import ResourceRow, ScopeRow
from storage.sink import PostgresSink

__all__ = ["LOGS", "TRACES", "store"]
_LIMITS = Limits()


async def store(engine: AsyncEngine, signal: Signal, *messages: Any) -> None:
    """Store export requests of a signal; nothing of them may be rejected."""
    for message in messages:
        batch, encoder = Batch(signal.table), row_encoder(signal.table)
        parsed = parse(signal, message.SerializeToString(), Encoding.PROTOBUF, _LIMITS)
        for item in decode(signal, parsed, received_ns=time.time_ns(), limits=_LIMITS):
            assert not isinstance(item, Rejection), item
            if isinstance(item, ResourceRow):
                batch.resources[item.id] = item
            elif isinstance(item, ScopeRow):
                batch.scopes[item.id] = item
            else:
                batch.add(item, encoder(item))
        (outcome,) = await PostgresSink(engine).write([batch])
        assert not outcome.rejected
