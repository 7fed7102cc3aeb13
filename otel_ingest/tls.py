"""Certificates of a listener: read, proved to work, read again when they change. Connections that are open stay open.

A new pair counts once all of it can be used; until then, and where it is broken, the former one stays and the log says
so. Every handshake takes what is current at that moment, on HTTP and on gRPC.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509

from otel_ingest.tls_settings import Side, TlsFiles

_log = structlog.get_logger(__name__)

# Renewal by machines (ACME, cert-manager) happens at a third of the lifetime: two weeks left means it does not work.
EXPIRY_WARNING = timedelta(days=14)

# What a client reads that speaks HTTP to a port of TLS, as Go and nginx answer it.
_PLAINTEXT_BODY = b'{"code":3,"message":"this port speaks TLS; use https://"}'
_PLAINTEXT_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PLAINTEXT_BODY), _PLAINTEXT_BODY)
)


class TlsError(Exception):
    """Certificates that cannot be used; the text names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Certificates that work: their bytes, a context of them, and what they say."""

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    context: ssl.SSLContext
    not_after: datetime
    names: tuple[str, ...]
    """DNS names and addresses of the first certificate."""

    @property
    def content(self) -> tuple[bytes, bytes, bytes | None]:
        """The bytes of all files."""
        return self.chain, self.key, self.client_ca


def load(files: TlsFiles, protocol: str = "http/1.1") -> Pair:
    """Return the pair in ``files``, for connections that speak ``protocol`` (ALPN).

    Raises TlsError: a file is missing, is not PEM, or key and certificate differ.
    """
    chain, key, client_ca = _content(files)
    leaf, names = _leaf(files.cert, chain)
    context = _context(files, protocol)
    if _content(files) != (chain, key, client_ca):
        raise TlsError(f"{files.cert} is being replaced")
    return Pair(chain, key, client_ca, context, leaf.not_valid_after_utc, names)


def _content(files: TlsFiles) -> tuple[bytes, bytes, bytes | None]:
    return _read(files.cert), _read(files.key), None if files.client_ca is None else _read(files.client_ca)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"cannot read {path}: {(error.strerror or 'unreadable').lower()}") from error


def _leaf(path: Path, chain: bytes) -> tuple[x509.Certificate, tuple[str, ...]]:
    """Return the first certificate of a chain and its names."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return leaf, ()
    except (ValueError, IndexError) as error:
        raise TlsError(f"{path} holds no PEM certificate") from error
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return leaf, tuple(found)


def _no_passphrase() -> str:
    raise TlsError("the key has a passphrase; give one without (its file needs no other reader than the server)")


def _context(files: TlsFiles, protocol: str) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer, and client certificates where there is a CA for them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    context.sslobject_class = _Connection
    try:
        context.load_cert_chain(files.cert, files.key, password=_no_passphrase)
    except (ssl.SSLError, OSError) as error:
        why = "do not belong together" if "MISMATCH" in str(error) else "cannot be used"
        raise TlsError(f"{files.cert} and {files.key} {why} ({_reason(error)})") from error
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise TlsError(f"{files.client_ca} holds no CA certificates ({_reason(error)})") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or error.strerror or type(error).__name__).lower().replace("_", " ")


class _Connection(ssl.SSLObject):
    """One connection's TLS; plaintext HTTP is answered in words before the connection ends."""

    answer_to: ssl.MemoryBIO | None = None
    _refusal: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises ssl.SSLError when it failed."""
        if self._refusal is not None:
            raise self._refusal
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            if error.reason != "HTTP_REQUEST" or self.answer_to is None:
                raise
            self.answer_to.write(_PLAINTEXT_ANSWER)
            self._refusal = error
            # The event loop sends what is waiting when a handshake wants to read; the next step ends it.
            raise ssl.SSLWantReadError from error


class _CurrentContext(ssl.SSLContext):
    """A context that opens each connection with the context of the current pair."""

    current: Callable[[], ssl.SSLContext]

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """See ssl.SSLContext.wrap_bio."""
        connection = self.current().wrap_bio(incoming, outgoing, *args, **kwargs)
        if isinstance(connection, _Connection):
            connection.answer_to = outgoing
        return connection


class Certificates:
    """The certificates of one listener: ``current`` is what the next handshake uses."""

    def __init__(self, side: Side, files: TlsFiles) -> None:
        """Read ``files``. Raises TlsError."""
        self.side = side
        self.files = files
        self._protocol = "h2" if side == "grpc" else "http/1.1"
        self.current = load(files, self._protocol)
        self._refused: str | None = None
        self._warned_on: date | None = None
        self._warn()

    def reload(self) -> bool:
        """Use the files as they are now; return whether that is something new. Broken ones are logged once each."""
        try:
            content = _content(self.files)
            if content == self.current.content:
                self._refused = None
                self._warn()
                return False
            pair = load(self.files, self._protocol)
        except TlsError as error:
            if self._refused != str(error):
                self._refused = str(error)
                _log.error(
                    "the new certificates cannot be used, the former ones stay",
                    listener=self.side,
                    reason=str(error),
                    expire=f"{self.current.not_after:%Y-%m-%d %H:%MZ}",
                )
            return False
        self.current = pair
        self._refused = self._warned_on = None
        _log.info("new certificates", listener=self.side, expire=f"{pair.not_after:%Y-%m-%d %H:%MZ}")
        self._warn()
        return True

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for a server that follows ``current``."""
        context = _CurrentContext(ssl.PROTOCOL_TLS_SERVER)
        context.current = lambda: self.current.context
        return context

    def _warn(self) -> None:
        """Warn once a day of a certificate that is about to end."""
        now = datetime.now(UTC)
        left = self.current.not_after - now
        if left < EXPIRY_WARNING and self._warned_on != now.date():
            self._warned_on = now.date()
            event = "the certificate has expired" if left < timedelta(0) else "the certificate expires soon"
            _log.warning(event, listener=self.side, file=str(self.files.cert), at=f"{self.current.not_after:%Y-%m-%d}")


async def watch(certificates: Sequence[Certificates], interval_s: float) -> None:
    """Look for changed files every ``interval_s`` until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        for one in certificates:
            await asyncio.to_thread(one.reload)
