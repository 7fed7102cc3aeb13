"""PURE: the bodies of answers: Export*ServiceResponse, and google.rpc.Status for errors, in either encoding."""

from collections.abc import Sequence
from typing import Any

import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from otel_ingest.limits import Rejection
from otel_ingest.signals import Signal
from otel_ingest.wire import Encoding

# The specification lets clients stop reading at 4 MiB; nobody reads more than this.
MESSAGE_BYTES_MAX = 4 * 1024
_REASONS_MAX = 10


def encode_response(signal: Signal, encoding: Encoding, rejected: int, message: str) -> bytes:
    """Return the body of a 200: partial_success only when something was rejected or there is a warning."""
    if encoding is Encoding.JSON:
        if not rejected and not message:
            return b"{}"
        name = _camel(signal.rejected_field)
        # int64 is a string in protobuf's JSON; a zero count is left out.
        body = ({name: str(rejected)} if rejected else {}) | {"errorMessage": message}
        return orjson.dumps({"partialSuccess": body})
    if not rejected and not message:
        return b""  # an empty message
    response = signal.response_type()
    setattr(response.partial_success, signal.rejected_field, rejected)
    response.partial_success.error_message = message
    return bytes(response.SerializeToString())


def status_message(code: int, message: str, *, field: str | None, retry_s: int | None) -> Status:
    """Return a google.rpc.Status with a BadRequest and a RetryInfo where they apply."""
    status = Status(code=code, message=_bounded(message))
    if field is not None:
        violation = BadRequest.FieldViolation(field=field, description=_bounded(message))
        _add(status, BadRequest(field_violations=[violation]))
    if retry_s is not None:
        _add(status, RetryInfo(retry_delay=Duration(seconds=retry_s)))
    return status


def encode_status(status: Status, encoding: Encoding) -> bytes:
    """Return a Status as a body; in JSON its details carry their type (protobuf's JSON mapping of Any)."""
    if encoding is Encoding.PROTOBUF:
        return bytes(status.SerializeToString())
    body: dict[str, Any] = {"code": status.code, "message": status.message}
    details = [_json_detail(detail) for detail in status.details]
    if details:
        body["details"] = details
    return orjson.dumps(body)


def rejection_message(signal: Signal, rejections: Sequence[Rejection], total: int) -> str:
    """Return one English sentence: how many of how many, and index and reason of the first ones."""
    rejected = sum(r.count for r in rejections)
    shown = "; ".join(f"#{_position(r)}: {r.reason}" for r in rejections[:_REASONS_MAX])
    more = len(rejections) - _REASONS_MAX
    tail = f"; and {more} more" if more > 0 else ""
    return _bounded(f"rejected {rejected} of {total} {signal.record}s: {shown}{tail}")


def duplicate_message(age_s: float, rejected_before: int) -> str:
    """Return one English sentence for a request that was stored before, and what PostgreSQL had refused of it."""
    then = f", {rejected_before} of its records were rejected then" if rejected_before else ""
    return f"same request as {_ago(age_s)} ago, stored once{then}"


def _ago(age_s: float) -> str:
    """Return a time span as people say it: 0.3 s, 12 s, 5 min, 3 h."""
    if age_s < 10:  # noqa: PLR2004 - where a tenth of a second still says something
        return f"{age_s:.1f} s"
    for unit, seconds, limit in (("s", 1, 120), ("min", 60, 7_200)):
        if age_s < limit:
            return f"{age_s / seconds:.0f} {unit}"
    return f"{age_s / 3600:.0f} h"


def _position(rejection: Rejection) -> str:
    last = rejection.index + rejection.count - 1
    return str(rejection.index) if rejection.count == 1 else f"{rejection.index}-{last}"


def _bounded(message: str) -> str:
    """Return valid Unicode of at most MESSAGE_BYTES_MAX bytes: reasons may quote what could not be parsed."""
    data = message.encode("utf-8", "replace")
    if len(data) <= MESSAGE_BYTES_MAX:
        return data.decode()
    return data[: MESSAGE_BYTES_MAX - 4].decode("utf-8", "ignore") + "…"


def _add(status: Status, detail: Any) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _json_detail(detail: AnyMessage) -> dict[str, Any]:
    body: dict[str, Any] = {"@type": detail.type_url}
    bad, retry = BadRequest(), RetryInfo()
    if detail.Unpack(bad):
        body["fieldViolations"] = [{"field": v.field, "description": v.description} for v in bad.field_violations]
    elif detail.Unpack(retry):
        body["retryDelay"] = f"{retry.retry_delay.seconds}s"
    return body


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
