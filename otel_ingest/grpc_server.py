"""Step 1, OTLP/gRPC: the three Export methods on raw bytes. Thin: bytes, one call, answer.

The handlers parse for themselves: a deserializer that fails would be UNKNOWN, and the sender would lose its data
without a reason.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from otel_ingest import errors
from otel_ingest.answers import answer_of
from otel_ingest.budget import Budget
from otel_ingest.ingest import BATCH_ID_HEADER, Ingest
from otel_ingest.levels import CONFIGURATION_HEADER, ConfigurationHash
from otel_ingest.limits import Limits
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding
from otel_ingest.wire.status import encode_response, encode_status, status_message

Authorize = Callable[[str | None], Awaitable[None]]

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_IDLE_MS = 10 * 60 * 1000
_PING_MS = 60 * 1000


def build_grpc_server(
    ingest: Ingest,
    authorize: Authorize,
    limits: Limits,
    budget: Budget,
    configuration_hash: ConfigurationHash,
    endpoint: str,
    credentials: grpc.ServerCredentials | None = None,
) -> tuple[Any, int]:
    """Return a server that is not started yet, and the port it is bound to; with ``credentials`` it speaks TLS.

    Raises OSError when it cannot bind.
    """
    server = aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes_max),
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.keepalive_time_ms", _PING_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
    )
    for signal in SIGNALS:
        method = grpc.unary_unary_rpc_method_handler(_handler(signal, ingest, authorize, budget, configuration_hash))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(signal.service, {"Export": method}),))
    try:
        if credentials is None:
            port = server.add_insecure_port(endpoint)
        else:
            port = server.add_secure_port(endpoint, credentials)
    except RuntimeError as error:
        raise OSError("the address is in use or not of this machine") from error
    return server, port


def _handler(
    signal: Signal, ingest: Ingest, authorize: Authorize, budget: Budget, configuration_hash: ConfigurationHash
) -> Callable[..., Awaitable[bytes]]:
    async def export(body: bytes, context: Any) -> bytes:
        lease = budget.lease()
        decoding = False
        try:
            await authorize(_metadata(context, "authorization") or None)
            lease.charge(len(body))
            decoding = True
            result = await ingest.export(signal, body, Encoding.PROTOBUF, "grpc", _metadata(context, BATCH_ID_HEADER))
            if known := configuration_hash(result.component):
                context.set_trailing_metadata(((CONFIGURATION_HEADER, known),))
            return encode_response(signal, Encoding.PROTOBUF, result.rejected, result.message)
        except errors.IngestError as error:
            if not decoding:
                ingest.turned_away(signal, "grpc", error)
            await _abort(context, error)
            raise  # abort has raised; this is for the type checker
        finally:
            lease.release()

    return export


def _metadata(context: Any, name: str) -> str:
    """Return the first value of a key of the call's metadata; empty without one."""
    return next((str(value) for key, value in context.invocation_metadata() or () if key == name), "")


async def _abort(context: Any, error: errors.IngestError) -> None:
    """End the call with the status of ``error``, its details in grpc-status-details-bin."""
    answer = answer_of(error)
    field = error.field if isinstance(error, errors.MalformedRequest) else None
    status = status_message(answer.grpc, str(error), field=field, retry_s=answer.retry_s)
    context.set_trailing_metadata((("grpc-status-details-bin", encode_status(status, Encoding.PROTOBUF)),))
    await context.abort(_CODES[answer.grpc], status.message)
