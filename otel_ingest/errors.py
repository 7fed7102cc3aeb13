"""Why a request is not stored. An error's type says whether to retry; ``answers`` turns it into HTTP and gRPC.

IngestError
├── RequestError            the sender must change something; never retried
│   ├── MalformedRequest    400  INVALID_ARGUMENT
│   ├── Unauthenticated     401  UNAUTHENTICATED
│   ├── PermissionDenied    403  PERMISSION_DENIED
│   ├── UnknownPath         404  UNIMPLEMENTED
│   ├── MethodNotAllowed    405  UNIMPLEMENTED
│   ├── RequestTooLarge     413  RESOURCE_EXHAUSTED without RetryInfo
│   └── UnsupportedEncoding 415  INVALID_ARGUMENT
└── TransientError          the same bytes will do later; Retry-After and RetryInfo of 1-2 s
    ├── Overloaded          429  RESOURCE_EXHAUSTED with RetryInfo
    ├── SenderTooSlow       503  UNAVAILABLE with RetryInfo
    └── StoreUnavailable    503  UNAVAILABLE with RetryInfo
        └── StoreAway       the same; where there is a spool, the request goes there instead
"""


class IngestError(Exception):
    """Base of all errors of the write side; its text is a sentence for the sender."""


class RequestError(IngestError):
    """The request itself is wrong; sending it again does not help."""


class MalformedRequest(RequestError):  # noqa: N818 - named for what it says to the sender
    """The body cannot be decoded; ``field`` and the text say where and why (google.rpc.BadRequest)."""

    def __init__(self, message: str, *, field: str = "body") -> None:
        super().__init__(message)
        self.field = field


class Unauthenticated(RequestError):  # noqa: N818
    """No token, or one that is unknown, expired or revoked."""


class PermissionDenied(RequestError):  # noqa: N818
    """A valid token without the ingest role."""


class UnknownPath(RequestError):  # noqa: N818
    """There is nothing at this path."""


class MethodNotAllowed(RequestError):  # noqa: N818
    """Exports are POST."""


class RequestTooLarge(RequestError):  # noqa: N818
    """The body is over the limit, before or after decompression."""


class UnsupportedEncoding(RequestError):  # noqa: N818
    """A Content-Type or Content-Encoding that is not taken here; ``header`` names which."""

    def __init__(self, message: str, *, header: str) -> None:
        super().__init__(message)
        self.header = header


class TransientError(IngestError):
    """Nothing was stored; the same request may succeed in a second or two."""


class Overloaded(TransientError):  # noqa: N818
    """The bytes in flight are at their limit, or those of one component in a second."""


class SenderTooSlow(TransientError):  # noqa: N818
    """The body was not whole in time; on a better connection it may be."""


class StoreUnavailable(TransientError):  # noqa: N818
    """PostgreSQL is away, restarting, or too slow; or the server is stopping."""


class StoreAway(StoreUnavailable):
    """PostgreSQL refused for a while, or did not answer. The request was not stored, or it is not known whether."""
