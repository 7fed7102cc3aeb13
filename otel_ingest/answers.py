"""The one table from an error's type to what its sender is told: HTTP status, gRPC code, and when to try again."""

from dataclasses import dataclass

from google.rpc import code_pb2

from otel_ingest import errors

# SDKs give up 10 s after the first try: a longer pause would be their last one.
RETRY_S = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status, google.rpc.Code, and seconds to wait before the same request is sent again (None: never)."""

    http: int
    grpc: int
    retry_s: int | None = None


TABLE: dict[type[errors.IngestError], Answer] = {
    errors.MalformedRequest: Answer(400, code_pb2.INVALID_ARGUMENT),
    errors.Unauthenticated: Answer(401, code_pb2.UNAUTHENTICATED),
    errors.PermissionDenied: Answer(403, code_pb2.PERMISSION_DENIED),
    errors.UnknownPath: Answer(404, code_pb2.UNIMPLEMENTED),
    errors.MethodNotAllowed: Answer(405, code_pb2.UNIMPLEMENTED),
    errors.RequestTooLarge: Answer(413, code_pb2.RESOURCE_EXHAUSTED),
    errors.UnsupportedEncoding: Answer(415, code_pb2.INVALID_ARGUMENT),
    errors.Overloaded: Answer(429, code_pb2.RESOURCE_EXHAUSTED, RETRY_S),
    errors.SenderTooSlow: Answer(503, code_pb2.UNAVAILABLE, RETRY_S),
    errors.StoreUnavailable: Answer(503, code_pb2.UNAVAILABLE, RETRY_S),
}


def answer_of(error: errors.IngestError) -> Answer:
    """Return the answer for an error: that of its own type, or of the nearest one above it."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
