"""OTLP over HTTP, protobuf: one POST a batch, statuses read as the specification means them."""

import gzip
import re
import ssl
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_ingest_instrumentation.outcome import Batch, Outcome, Verdict, of_http
from otel_ingest_instrumentation.transport import BATCH_ID_HEADER, CONFIG_HEADER, USER_AGENT, Target

_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|::1")  # no proxy leads back to this machine
_RETRY_AFTER_MAX_S = 300.0  # a server that asks for more is asked again all the same
_ANSWER_BYTES_MAX = 64 << 10  # enough for any partial_success; an error page is not read whole
_RESPONSES: dict[str, tuple[Any, str]] = {
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
}


def partial_success(signal: str, body: bytes) -> tuple[int, str]:
    """Return how many records the other side rejected, and its words."""
    kind, field = _RESPONSES[signal]
    try:
        answer = kind.FromString(body).partial_success
    except Exception:  # noqa: BLE001  # an answer that is not OTLP says nothing
        return 0, ""
    return int(getattr(answer, field)), str(answer.error_message)


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, given as seconds or as a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(0.0, seconds), _RETRY_AFTER_MAX_S)


class HttpTransport:
    """Keeps one connection; proxies and certificates as the environment says."""

    config: str | None = None

    def __init__(self, signal: str, target: Target) -> None:
        """Open nothing yet; ValueError: the endpoint is no http(s) URL, OSError: a certificate cannot be read."""
        if urlsplit(target.endpoint).scheme not in ("http", "https"):
            raise ValueError("it is no http:// or https:// URL")
        self._signal = signal
        self._target = target
        self._headers = {
            "user-agent": USER_AGENT,
            "content-type": "application/x-protobuf",
            **target.headers,
        }
        if target.compression in ("gzip", "deflate"):
            self._headers["content-encoding"] = target.compression
        self._pool = pool(target.endpoint, target)

    def reset_after_fork(self) -> None:
        """Forget the parent's connections without closing them for it."""
        self._pool = pool(self._target.endpoint, self._target)

    def send(self, batch: Batch, timeout_s: float | None = None) -> Outcome:
        """POST once; ``timeout_s`` bounds connecting and each read."""
        limit = min(self._target.timeout_s, timeout_s) if timeout_s is not None else self._target.timeout_s
        try:
            response = self._pool.request(
                "POST",
                self._target.endpoint,
                body=self._encode(batch.body),
                headers=self._headers | {BATCH_ID_HEADER: batch.id},
                timeout=urllib3.Timeout(total=limit),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            answer = response.read(_ANSWER_BYTES_MAX) or b""
            response.drain_conn()
            response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Outcome(Verdict.RETRY, f"{self._target.endpoint}: {type(error).__name__}: {error}")
        self.config = response.headers.get(CONFIG_HEADER, self.config)
        return self._outcome(response.status, response.headers.get("retry-after"), answer)

    def _outcome(self, status: int, after: str | None, answer: bytes) -> Outcome:
        verdict = of_http(status)
        if verdict is Verdict.DELIVERED:
            rejected, words = partial_success(self._signal, answer)
            return Outcome(verdict, words, rejected=rejected)
        text = answer[:200].decode("utf-8", "replace").strip()
        printable = "".join(c for c in text if c.isprintable())
        return Outcome(verdict, f"{self._target.endpoint} answered {status} {printable}".strip(), retry_after(after))

    def _encode(self, body: bytes) -> bytes:
        if self._target.compression == "gzip":
            return gzip.compress(body, 1)
        if self._target.compression == "deflate":
            return zlib.compress(body, 1)
        return body


def pool(url: str, target: Target) -> urllib3.PoolManager:
    """Return connections to a URL, with the target's certificates and the environment's proxies."""
    parts = urlsplit(url)
    options: dict[str, Any] = {"maxsize": 4}
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=target.certificate)
        if target.client_certificate:
            context.load_cert_chain(target.client_certificate, target.client_key)
        options["ssl_context"] = context
    proxy = getproxies().get(parts.scheme)
    if not proxy or _LOOPBACK.fullmatch(parts.hostname or "") or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return urllib3.PoolManager(**options)
    auth = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if auth.username:
        pair = f"{unquote(auth.username)}:{unquote(auth.password or '')}"
        options["proxy_headers"] = urllib3.make_headers(proxy_basic_auth=pair)
    return urllib3.ProxyManager(auth.geturl(), **options)


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of a 200, and whether the server did wait for something to say, as it was asked to (RFC 7240)."""

    body: bytes
    waits: bool


class Client:
    """Posts protobuf to one URL with the headers and certificates of exports."""

    def __init__(self, url: str, target: Target) -> None:
        self._url = url
        self._target = target
        self._pool = pool(url, target)

    def reset_after_fork(self) -> None:
        """Forget the parent's connections."""
        self._pool = pool(self._url, self._target)

    def post(self, body: bytes, timeout_s: float, wait_s: int = 0) -> Reply | None:
        """Return the answer; None for anything but a 200. The server may take ``wait_s`` to have something to say."""
        headers = {"user-agent": USER_AGENT, "content-type": "application/x-protobuf", **self._target.headers}
        if wait_s:
            headers["prefer"] = f"wait={wait_s}"
        limit = urllib3.Timeout(connect=timeout_s, read=timeout_s + wait_s)
        try:
            answer = self._pool.request(
                "POST", self._url, body=body, headers=headers, timeout=limit, retries=False, redirect=False
            )
        except (urllib3.exceptions.HTTPError, OSError):
            return None
        if answer.status != 200:  # noqa: PLR2004
            return None
        return Reply(answer.data, "wait=" in answer.headers.get("preference-applied", "").replace(" ", "").lower())
