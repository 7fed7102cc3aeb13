"""Requests of OTLP brought into a store the way a receiver brings them, without one."""

import time
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from otel_ingest.decoding import Decoding
from otel_ingest.limits import Limits
from otel_ingest.signals import LOGS, TRACES, Signal
from otel_ingest.wire import Encoding
from storage.sink import PostgresSink

__all__ = ["LOGS", "TRACES", "store"]
_LIMITS = Limits()


async def store(engine: AsyncEngine, signal: Signal, *messages: Any) -> None:
    """Store export requests of a signal; nothing of them may be rejected."""
    for message in messages:
        decoding = Decoding(signal, message.SerializeToString(), Encoding.PROTOBUF, _LIMITS, time.time_ns())
        while decoding.turn(_LIMITS.records_max):
            pass
        assert not decoding.decoded.rejections
        (outcome,) = await PostgresSink(engine).write([decoding.decoded.batch])
        assert not outcome.rejected
