"""The 45 checks of an OTLP receiver as data: what is sent, and what the specification (1.11) wants back."""

import base64
import gzip
import json
import math
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from backports import zstd
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.contract.client import Answer, Target
from tests.contract.readback import same
from tests.factories import attributes, log_record, logs_request
from tests.wire_bytes import field as wire

PB = "application/x-protobuf"
JSON = "application/json"
MIB = 1024 * 1024
JSON_BODY = AnyValue(string_value="json")


class NotApplicable(Exception):  # noqa: N818
    """A check that a transport cannot have; the text says why."""


Check = Callable[[Target], None]


@dataclass(frozen=True)
class Requirement:
    """One check: its number, level, section of the specification, what it wants; how each transport shows it."""

    id: str
    level: str
    section: str
    wants: str
    http: Check | str
    grpc: Check | str = "HTTP only"
    tags: tuple[str, ...] = field(default=())


def expect(condition: object, saw: object) -> None:
    """Fail with what was seen."""
    assert condition, f"saw {saw!r}"


def body(count: int = 1, **fields: Any) -> bytes:
    """Return a logs request of ``count`` records."""
    return logs_request([log_record(**fields) for _ in range(count)]).SerializeToString()


def document(**fields: Any) -> dict[str, Any]:
    """Return an OTLP/JSON document with one record."""
    record = {"timeUnixNano": str(time.time_ns()), "severityNumber": 9, "body": {"stringValue": "json"}} | fields
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "conformance"}}]}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {}, "logRecords": [record]}]}]}


def send_json(target: Target, **fields: Any) -> Answer:
    """POST one JSON record."""
    return target.post("/v1/logs", json.dumps(document(**fields)).encode(), JSON)


def status_of(answer: Answer) -> Status:
    """Return the google.rpc.Status of an error answer, in the encoding it says."""
    if answer.headers["content-type"].startswith(JSON):
        parsed = json.loads(answer.body)
        return Status(code=parsed.get("code", 0), message=parsed.get("message", ""))
    return Status.FromString(answer.body)


def ok_http(answer: Answer) -> None:
    """Expect a full success: 200 and an empty message."""
    expect(answer.status == 200, answer)
    expect(answer.body in {b"", b"{}"}, answer.body)


def error_http(answer: Answer, status: int) -> None:
    """Expect an error with a Status that says something."""
    expect(answer.status == status, answer)
    expect(status_of(answer).message, answer.body)


def rejected_http(answer: Answer, count: int = 1) -> str:
    """Expect 200 with ``count`` rejected; return the message."""
    expect(answer.status == 200, answer)
    if answer.headers["content-type"].startswith(JSON):
        partial = json.loads(answer.body)["partialSuccess"]
        expect(partial["rejectedLogRecords"] == str(count), partial)
        return str(partial["errorMessage"])
    partial = ExportLogsServiceResponse.FromString(answer.body).partial_success
    expect(partial.rejected_log_records == count, partial)
    return str(partial.error_message)


def rejected_grpc(data: bytes, count: int = 1) -> None:
    """Expect OK with ``count`` rejected and a message."""
    partial = ExportLogsServiceResponse.FromString(data).partial_success
    expect(partial.rejected_log_records == count and partial.error_message, partial)


def error_grpc(target: Target, data: bytes, code: grpc.StatusCode, **options: Any) -> grpc.RpcError:
    """Expect a gRPC error of ``code``."""
    try:
        target.call("logs", data, **options)
    except grpc.RpcError as error:
        expect(error.code() is code, (error.code(), error.details()))
        return error
    raise AssertionError("saw OK")


def c1(t: Target) -> None:
    for signal in ("logs", "traces", "metrics"):
        expect(t.call(signal, b"") == b"", signal)


def c2(t: Target) -> None:
    for signal in ("logs", "traces", "metrics"):
        ok_http(t.post(f"/v1/{signal}", b"", PB))


def c3(t: Target) -> None:
    error_http(t.post("/elsewhere/v1/logs", b"", PB), 404)
    ok_http(t.post("/v1/logs/", body(), PB))


def c4(t: Target) -> None:
    ok_http(t.post("/v1/logs", body(), PB))
    ok_http(send_json(t))


def c6(t: Target) -> None:
    expect(t.post("/v1/logs", body(), PB).headers["content-type"] == PB, "protobuf")
    expect(send_json(t).headers["content-type"] == JSON, "json")


def c7(t: Target) -> None:
    ok_http(t.post("/v1/logs", body(), "application/x-protobuf; charset=utf-8"))
    ok_http(t.post("/v1/logs", json.dumps(document()).encode(), "APPLICATION/JSON"))


def c8(t: Target) -> None:
    error_http(t.post("/v2/logs", b"", PB), 404)
    error_http(t.request("GET", "/v1/logs"), 405)
    error_http(t.post("/v1/logs", b"x", "text/plain"), 415)
    error_http(t.post("/v1/logs", b"\xff\xff", PB), 400)


def c9(t: Target) -> None:
    answer = t.post("/v1/logs", b"x", "text/plain")
    error_http(answer, 415)
    expect(answer.headers["content-type"] == JSON, answer.headers)


def c10(t: Target) -> None:
    answer = t.request("GET", "/v1/logs")
    error_http(answer, 405)
    expect(answer.headers.get("allow") == "POST", answer.headers)


def c11(t: Target) -> None:
    data = body()
    head = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: {PB}\r\n"
    plain = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"
    answers = t.raw(plain + chunked + plain, answers=3)
    expect(answers.count(b"HTTP/1.1 200") == 3, answers)
    expecting = f"{head}Expect: 100-continue\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
    expect(b"HTTP/1.1 200" in t.raw(expecting, answers=1, needle=b"HTTP/1.1 200"), "expect")


def c12(t: Target) -> None:
    error_http(t.request("OPTIONS", "/v1/logs"), 405)


def compressed(t: Target, coding: str, data: bytes) -> Answer:
    """POST compressed bytes."""
    return t.post("/v1/logs", data, PB, {"Content-Encoding": coding})


def c13(t: Target) -> None:
    ok_http(compressed(t, "gzip", gzip.compress(body())))
    ok_http(t.post("/v1/logs", body(), PB))


def c13_grpc(t: Target) -> None:
    expect(t.call("logs", body(), compression=grpc.Compression.Gzip) == b"", "gzip")
    expect(t.call("logs", body()) == b"", "identity")


def c14(t: Target) -> None:
    ok_http(compressed(t, "GZIP", gzip.compress(body())))
    ok_http(compressed(t, "identity", body()))


def c15(t: Target) -> None:
    ok_http(compressed(t, "zstd", zstd.compress(body())))
    ok_http(compressed(t, "deflate", zlib.compress(body())))
    raw = zlib.compressobj(wbits=-15)
    ok_http(compressed(t, "deflate", raw.compress(body()) + raw.flush()))


def c15_grpc(t: Target) -> None:
    expect(t.call("logs", body(), compression=grpc.Compression.Deflate) == b"", "deflate")


def c16(t: Target) -> None:
    answer = compressed(t, "br", body())
    error_http(answer, 415)
    expect("gzip" in answer.headers.get("accept-encoding", ""), answer.headers)


def c17(t: Target) -> None:
    error_http(compressed(t, "gzip", gzip.compress(bytes(65 * MIB))), 413)
    error_http(compressed(t, "zstd", zstd.compress(bytes(65 * MIB))), 413)


def c17_grpc(t: Target) -> None:
    error_grpc(t, bytes(65 * MIB), grpc.StatusCode.RESOURCE_EXHAUSTED, compression=grpc.Compression.Gzip)


def c18(t: Target) -> None:
    whole = gzip.compress(body())
    for damaged in (whole[:-9], whole[:20] + b"\xff" * 20 + whole[40:], body(), whole + b"trailing garbage"):
        error_http(compressed(t, "gzip", damaged), 400)
    ok_http(compressed(t, "gzip", gzip.compress(b"") + whole))


def c19(t: Target) -> None:
    ok_http(t.post("/v1/logs", body(), PB, {"Accept-Encoding": "gzip"}))


def c20(t: Target) -> None:
    error_http(t.post("/v1/logs", bytes(64 * MIB + 1), PB), 413)


def c21_grpc(t: Target) -> None:
    error = error_grpc(t, bytes(65 * MIB), grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect("grpc-status-details-bin" not in dict(error.trailing_metadata() or ()), error.trailing_metadata())


def large() -> bytes:
    """Return a request just below 64 MiB, of records that are stored."""
    return body(60, body=AnyValue(string_value="x" * MIB))


def c22(t: Target) -> None:
    ok_http(t.post("/v1/logs", large(), PB))


def c22_grpc(t: Target) -> None:
    expect(t.call("logs", large()) == b"", "60 MiB")


def many_bad() -> bytes:
    """Return 5,000 records that are all rejected."""
    return body(5_000, trace_id=b"abc")


def c23(t: Target) -> None:
    answer = t.post("/v1/logs", many_bad(), PB)
    expect(len(answer.body) < 4 * MIB and len(rejected_http(answer, 5_000)) < 5_000, len(answer.body))


def c23_grpc(t: Target) -> None:
    expect(len(t.call("logs", many_bad())) < 5_000, "long")


def c24(t: Target) -> None:
    ok_http(t.post("/v1/logs", b"", PB))
    for empty in (b"{}", b'{"resourceLogs":[]}', b'{"resourceLogs":[{"scopeLogs":[{}]}]}', b'{"resourceLogs":[{}]}'):
        ok_http(t.post("/v1/logs", empty, JSON))


def c24_grpc(t: Target) -> None:
    expect(t.call("logs", b"") == b"", "empty")
    expect(t.call("logs", logs_request([]).SerializeToString()) == b"", "envelope")


def c25(t: Target) -> None:
    expect(t.post("/v1/logs", body(), PB).body == b"", "protobuf")
    expect(send_json(t).body == b"{}", "json")


def c25_grpc(t: Target) -> None:
    expect(t.call("logs", body()) == b"", "set")


def one_bad() -> bytes:
    """Return three records, the second with a trace id of 3 bytes."""
    return logs_request([log_record(), log_record(trace_id=b"abc"), log_record()]).SerializeToString()


def c26(t: Target) -> None:
    message = rejected_http(t.post("/v1/logs", one_bad(), PB))
    expect("#1" in message and "trace_id" in message, message)


def c26_grpc(t: Target) -> None:
    rejected_grpc(t.call("logs", one_bad()))


def c27(t: Target) -> None:
    for data, content_type in ((body(), PB), (json.dumps(document()).encode(), JSON)):
        ok_http(t.post("/v1/logs", data, content_type))
        again = t.post("/v1/logs", data, content_type)
        expect(again.status == 200, again)
        if content_type == JSON:
            partial = json.loads(again.body)["partialSuccess"]
            expect(set(partial) == {"errorMessage"} and "stored once" in partial["errorMessage"], partial)
        else:
            expect("stored once" in rejected_http(again, 0), again.body)


def c27_grpc(t: Target) -> None:
    data = body()
    expect(t.call("logs", data) == b"", "a warning on the first")
    rejected_grpc(t.call("logs", data), 0)


def c28(t: Target) -> None:
    rejected_http(t.post("/v1/logs", body(2, span_id=b"x"), PB), 2)


def c28_grpc(t: Target) -> None:
    rejected_grpc(t.call("logs", body(2, span_id=b"x")), 2)


def c29(t: Target) -> None:
    answer = t.post("/v1/logs", b"\x0a\xff\xff\xff", PB)
    error_http(answer, 400)
    expect(any("BadRequest" in d.type_url for d in status_of(answer).details), answer.body)
    error_http(t.post("/v1/logs", b'{"resourceLogs":', JSON), 400)


def c29_grpc(t: Target) -> None:
    error = error_grpc(t, b"\x0a\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT)
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    expect("BadRequest" in Status.FromString(details).details[0].type_url, details)


def c30(t: Target) -> None:
    with t.store_away():
        answer = t.post("/v1/logs", body(), PB)
    error_http(answer, 503)
    expect(1 <= int(answer.headers["retry-after"]) <= 2, answer.headers)


def c30_grpc(t: Target) -> None:
    with t.store_away():
        error = error_grpc(t, body(), grpc.StatusCode.UNAVAILABLE)
    details = Status.FromString(dict(error.trailing_metadata() or ())["grpc-status-details-bin"]).details
    expect(any("RetryInfo" in d.type_url for d in details), details)


def c31(t: Target) -> None:
    with t.store_away():
        expect(t.post("/v1/logs", body(), PB).status in {429, 502, 503, 504}, "not retryable")


def c33(t: Target) -> None:
    with t.store_away():
        after = send_json(t).headers["retry-after"]
    expect(after.isdigit() and int(after) >= 1, after)


def c34(t: Target) -> None:
    with t.token_required() as (none_role, wrong_role):
        answer = t.post("/v1/logs", body(), PB)
        error_http(answer, 401)
        expect("Bearer" in answer.headers["www-authenticate"], answer.headers)
        error_http(t.post("/v1/logs", body(), PB, {"Authorization": f"Bearer {none_role}"}), 401)
        error_http(t.post("/v1/logs", body(), PB, {"Authorization": f"Bearer {wrong_role}"}), 403)


def c34_grpc(t: Target) -> None:
    with t.token_required() as (none_role, wrong_role):
        error_grpc(t, body(), grpc.StatusCode.UNAUTHENTICATED)
        error_grpc(t, body(), grpc.StatusCode.UNAUTHENTICATED, token=none_role)
        error_grpc(t, body(), grpc.StatusCode.PERMISSION_DENIED, token=wrong_role)


def c35(t: Target) -> None:
    for answer in t.parallel(lambda: t.post("/v1/logs", body(), PB), 32):
        ok_http(answer)


def c35_grpc(t: Target) -> None:
    expect(set(t.parallel(lambda: t.call("logs", body()), 32)) == {b""}, "parallel")


def c36(t: Target) -> None:
    mark, whole = marked(), body()
    cut = body(severity_text=mark)
    head = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: {PB}\r\n"
    length = f"{head}Content-Length: {len(cut) + 100}\r\n\r\n".encode()
    chunk = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(cut):x}\r\n".encode()
    for _ in range(10):
        t.abandon(length + cut[:40])
        t.abandon(length + cut)  # a whole message, of a body that said it is longer
        t.abandon(chunk + cut + b"\r\n")  # and one without its last chunk
    ok_http(t.post("/v1/logs", whole, PB))
    stored = t.log_records(mark)
    expect(not stored, f"{len(stored)} records of cut requests were stored")


def marked() -> str:
    """Return a severity text that no other record has."""
    return f"mark-{uuid.uuid4().hex}"


def read_back(t: Target, sent: list[LogRecord], mark: str) -> None:
    """Expect the records of a mark to be stored as they were sent, to the last bit."""
    stored = t.log_records(mark)
    expect(len(stored) == len(sent), f"{len(stored)} records of {len(sent)}")
    for one, other in zip(stored, sent, strict=True):
        expect(same(one, other), f"stored {one} for {other}")


def c37(t: Target) -> None:
    mark, now = marked(), time.time_ns()
    ids = {"traceId": "5B8EFFF798038103d269b633813fc60c", "spanId": "eee19B7EC3c1b174"}
    ok_http(send_json(t, severityText=mark, timeUnixNano=str(now), **ids))
    trace_id, span_id = (bytes.fromhex(value) for value in ids.values())
    sent = LogRecord(time_unix_nano=now, severity_number=9, body=JSON_BODY, trace_id=trace_id, span_id=span_id)
    sent.severity_text = mark
    read_back(t, [sent], mark)
    span = ids | {"name": mark, "parentSpanId": "00000000000000AB", "startTimeUnixNano": str(now), "links": [ids]}
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    ok_http(t.post("/v1/traces", json.dumps(spans).encode(), JSON))
    link = {"trace_id": trace_id, "span_id": span_id}
    wanted = Span(trace_id=trace_id, span_id=span_id, parent_span_id=b"\0" * 7 + b"\xab", links=[link])
    expect(t.span_ids(mark) == [wanted], t.span_ids(mark))
    bad = (
        "5b8",
        "5b8e",
        "zz" * 16,
        base64.b64encode(b"\x01" * 16).decode(),
    )
    for trace_text in bad:
        expect("traceId" in (m := rejected_http(send_json(t, traceId=trace_text))) or "trace_id" in m, m)


def c38(t: Target) -> None:
    mark = marked()
    for number in (9, 24, 99):
        ok_http(send_json(t, severityNumber=number, severityText=mark))
    rejected_http(send_json(t, severityNumber="SEVERITY_NUMBER_INFO", severityText=mark))
    stored = [record.severity_number for record in t.log_records(mark)]
    expect(stored == [9, 24, 99], stored)


def c39(t: Target) -> None:
    sent = document(unknown={"deep": [1, {"x": None}]}) | {"other": 1}
    sent["resourceLogs"][0]["zork"] = [[]]
    ok_http(t.post("/v1/logs", json.dumps(sent).encode(), JSON))


def c40(t: Target) -> None:
    before = t.stored("logs")
    ok_http(t.post("/v1/logs", json.dumps(document()).replace("resourceLogs", "resource_logs").encode(), JSON))
    expect(t.stored("logs") == before, "snake_case was stored")


def c41(t: Target) -> None:
    values: list[tuple[dict[str, Any] | None, AnyValue | None]] = [
        ({"intValue": "9223372036854775807"}, AnyValue(int_value=2**63 - 1)),
        ({"intValue": "-9223372036854775808"}, AnyValue(int_value=-(2**63))),
        ({"intValue": 1e18}, AnyValue(int_value=10**18)),
        ({"intValue": 7}, AnyValue(int_value=7)),
        ({"doubleValue": "NaN"}, AnyValue(double_value=math.nan)),
        ({"doubleValue": "-Infinity"}, AnyValue(double_value=-math.inf)),
        ({"doubleValue": 1}, AnyValue(double_value=1.0)),
        ({"bytesValue": "_-8"}, AnyValue(bytes_value=b"\xff\xef")),
        ({"bytesValue": "/+8="}, AnyValue(bytes_value=b"\xff\xef")),
        ({"boolValue": False}, AnyValue(bool_value=False)),
        ({}, AnyValue()),
        (None, None),
    ]
    mark, sent = marked(), []
    for value, wanted in values:
        now = time.time_ns()
        ok_http(send_json(t, body=value, timeUnixNano=now, severityText=mark))
        sent.append(LogRecord(time_unix_nano=now, severity_number=9, severity_text=mark, body=wanted))
    read_back(t, sent, mark)
    rejected_http(send_json(t, body={"intValue": True}))


def unknown_fields() -> bytes:
    """Return a valid request with an unknown field, the resource split in two that merge."""
    first = logs_request([log_record()])
    return first.SerializeToString() + b"\x9a\x06\x03abc" + ExportLogsServiceRequest().SerializeToString()


def c42(t: Target) -> None:
    ok_http(t.post("/v1/logs", unknown_fields(), PB))
    error_http(t.post("/v1/logs", b"\x0f\x01", PB), 400)


def c42_grpc(t: Target) -> None:
    expect(t.call("logs", unknown_fields()) == b"", "unknown")
    error_grpc(t, b"\x0f\x01", grpc.StatusCode.INVALID_ARGUMENT)


def odd_records(mark: str) -> list[LogRecord]:
    """Return records at the edges of the data model, all of them valid."""
    nested = AnyValue(kvlist_value={"values": attributes(a=1, b="x", c=float("inf"))})
    plain = AnyValue(kvlist_value={"values": attributes(a=1, b="x", c=1.0, d=True)})
    same_key = [*attributes(same=1), *attributes(same=2.0)]
    most = 2**32 - 1
    return [
        log_record(severity_text=mark, **fields)
        for fields in (
            {"trace_id": b"", "span_id": b""},
            {"trace_id": bytes(16), "span_id": bytes(8)},
            {"time_unix_nano": 0, "severity_number": 0, "body": None},
            {"severity_number": 24, "flags": most, "dropped_attributes_count": most, "event_name": "device.opened"},
            {"observed_time_unix_nano": time.time_ns() + 1, "attributes": attributes(i=-(2**63), d=5e-324, b=False)},
            {"body": nested, "attributes": same_key},
            {"body": plain, "attributes": [{"key": "list", "value": {"array_value": {"values": [plain, nested]}}}]},
            {"body": AnyValue(bytes_value=b"\x00\xff"), "attributes": [{"key": "empty", "value": {}}]},
            {"body": AnyValue(), "attributes": attributes(zero=-0.0, one=1.0, big=1e300)},
        )
    ]


def c43(t: Target) -> None:
    mark = marked()
    sent = odd_records(mark)
    ok_http(t.post("/v1/logs", logs_request(sent).SerializeToString(), PB))
    read_back(t, sent, mark)


def c43_grpc(t: Target) -> None:
    mark = marked()
    sent = odd_records(mark)
    expect(t.call("logs", logs_request(sent).SerializeToString()) == b"", "odd")
    read_back(t, sent, mark)


def nested_value(depth: int) -> AnyValue:
    """Return a value of ``depth`` arrays in each other."""
    value = AnyValue(string_value="bottom")
    for _ in range(depth):
        value = AnyValue(array_value={"values": [value]})
    return value


def deep(depth: int, mark: str) -> bytes:
    """Return a request of three records, the second nested deeper than the protobuf library itself goes."""
    value = wire(1, b"bottom")
    for _ in range(depth):
        value = wire(5, wire(1, value))
    good = [log_record(severity_text=mark).SerializeToString() for _ in range(2)]
    return wire(1, wire(2, wire(2, good[0]), wire(2, good[1], wire(5, value)), wire(2, good[1])))


def poisons(mark: str) -> list[tuple[bytes, int]]:
    """Return requests of three records with a troublesome one in the middle, and how many are rejected."""
    text = b"UNIQUEMARK"

    def three(**bad: Any) -> bytes:
        return logs_request([log_record(severity_text=mark, **f) for f in ({}, bad, {})]).SerializeToString()

    invalid = three(body=AnyValue(string_value=text.decode())).replace(text, b"\xff" * len(text))
    year_2262 = 2**63 - 1
    return [
        (three(body=AnyValue(string_value="a\0b")), 0),
        (invalid, 1),
        (three(body=nested_value(45)), 1),
        (deep(300, mark), 1),
        (three(time_unix_nano=year_2262), 1),
        (three(time_unix_nano=2**64 - 1), 1),
        (three(body=AnyValue(string_value="x" * 9 * MIB)), 1),
        (three(attributes=attributes(**{f"k{i}": i for i in range(10_001)})), 1),
        (three(body=AnyValue(string_value="x" * MIB)), 0),
    ]


def json_poisons(mark: str) -> list[bytes]:
    """Return JSON requests of three records of which the middle one is rejected."""
    deep = b'{"arrayValue":{"values":[' * 10_000 + b'{"stringValue":"x"}' + b"]}}" * 10_000
    requests = []
    for poison in (b'{"stringValue":"\\ud800"}', b'{"stringValue":"\xff\xfe"}', deep, b'"text"', b'{"intValue":"1.5"}'):
        sent = document(severityText=mark)
        records = sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        records += [records[0] | {"body": "POISON"}, records[0] | {"timeUnixNano": str(time.time_ns())}]
        requests.append(json.dumps(sent).encode().replace(b'"POISON"', poison))
    late = document(severityText=mark)
    records = late["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    records += [records[0] | {"timeUnixNano": str(2**63 - 1)}, records[0]]
    return [*requests, json.dumps(late).encode()]


def c44(t: Target) -> None:
    mark = marked()
    wanted = 0
    for data, rejected in poisons(mark):
        answer = t.post("/v1/logs", data, PB)
        rejected_http(answer, rejected) if rejected else ok_http(answer)
        wanted += 3 - rejected
    for data in json_poisons(mark):
        message = rejected_http(t.post("/v1/logs", data, JSON))
        expect("#1" in message or "[1]" in message, message)
        wanted += 2
    stored = len(t.log_records(mark))
    expect(stored == wanted, f"{stored} records stored, {wanted} were good")


def c44_grpc(t: Target) -> None:
    mark = marked()
    wanted = 0
    for data, rejected in poisons(mark):
        answer = t.call("logs", data)
        rejected_grpc(answer, rejected) if rejected else expect(answer == b"", answer)
        wanted += 3 - rejected
    stored = len(t.log_records(mark))
    expect(stored == wanted, f"{stored} records stored, {wanted} were good")


def c45(t: Target) -> None:
    whole = json.dumps(document()).encode()
    for data in (b"\xef\xbb\xbf" + whole, b"[]", b"null", b"", whole + b"\n" + whole, b'"x"'):
        error_http(t.post("/v1/logs", data, JSON), 400)


RPC = "OTLP/gRPC: requests, responses"
REQ = "OTLP/HTTP: request"
RESP = "OTLP/HTTP: response"
REQUIREMENTS = [
    Requirement("C1", "default", RPC, "three unary Export methods on gRPC", "gRPC only", c1),
    Requirement("C2", "default", REQ, "POST /v1/logs, /v1/traces, /v1/metrics", c2),
    Requirement("C3", "MAY", REQ, "paths: a trailing slash is taken, others are 404", c3),
    Requirement("C4", "SHOULD", REQ, "protobuf and JSON on one port by Content-Type", c4),
    Requirement(
        "C5", "MAY", "ports", "gRPC and HTTP on one port", "optional; two ports here", "optional; two ports here"
    ),
    Requirement("C6", "MUST", RESP, "response Content-Type equals the request's", c6),
    Requirement("C7", "RFC 9110", REQ, "media types in any case, with parameters", c7),
    Requirement("C8", "MUST", "failures", "every 4xx body is a google.rpc.Status", c8),
    Requirement("C9", "impl", "failures", "unknown Content-Type: 415, Status in JSON", c9),
    Requirement("C10", "impl", "RFC 9110", "GET: 405 and Allow: POST", c10),
    Requirement("C11", "MAY", "connection", "keep-alive, pipelining, chunked, Expect", c11),
    Requirement("C12", "RFC 9110", "CORS", "OPTIONS without CORS: 405", c12),
    Requirement("C13", "MUST", "compression", "none and gzip", c13, c13_grpc),
    Requirement("C14", "RFC 9110", "compression", "codings in any case, identity", c14),
    Requirement("C15", "extra", "compression", "zstd, deflate", c15, c15_grpc),
    Requirement("C16", "RFC 9110", "compression", "unknown coding: 415 and Accept-Encoding", c16),
    Requirement("C17", "MUST", "size limits", "the limit holds while decompressing", c17, c17_grpc),
    Requirement("C18", "impl", "compression", "damaged streams: 400; multi-member gzip is fine", c18),
    Requirement("C19", "MAY", "compression", "Accept-Encoding is no obstacle", c19),
    Requirement("C20", "MUST", "size limits", "a body over the limit: 413", c20),
    Requirement(
        "C21", "MUST", "size limits", "gRPC over the limit: RESOURCE_EXHAUSTED, not retryable", "gRPC only", c21_grpc
    ),
    Requirement("C22", "RECOMM.", "size limits", "64 MiB by default", c22, c22_grpc),
    Requirement("C23", "MUST", "size limits", "the answer is bounded", c23, c23_grpc),
    Requirement("C24", "SHOULD", "success", "empty requests and envelopes succeed", c24, c24_grpc),
    Requirement("C25", "MUST", "success", "full success leaves partial_success unset", c25, c25_grpc),
    Requirement("C26", "MUST", "partial success", "count, index and reason of what is rejected", c26, c26_grpc),
    Requirement(
        "C27",
        "MUST",
        "partial success",
        "a warning has rejected 0 and a message",
        c27,
        c27_grpc,
    ),
    Requirement("C28", "ours", "partial success", "all records invalid: success, all rejected", c28, c28_grpc),
    Requirement("C29", "MUST", "failures", "undecodable: 400 or INVALID_ARGUMENT with BadRequest", c29, c29_grpc),
    Requirement("C30", "SHOULD", "throttling", "store away, no spool: 503 or UNAVAILABLE, with a delay", c30, c30_grpc),
    Requirement("C31", "table", "failures", "a passing fault is one of 429, 502, 503, 504", c31),
    Requirement("C32", "table", "failures", "a passing fault is a retryable gRPC code", "gRPC only", c30_grpc),
    Requirement("C33", "MAY", "throttling", "Retry-After of a second or more", c33),
    Requirement(
        "C34", "RFC 9110", "authentication", "401 and 403, UNAUTHENTICATED and PERMISSION_DENIED", c34, c34_grpc
    ),
    Requirement("C35", "SHOULD", "concurrency", "many requests at once, all acknowledged", c35, c35_grpc),
    Requirement("C36", "impl", "connection", "cut requests leave nothing behind", c36),
    Requirement("C37", "MUST", "JSON", "ids in hex of either case, others rejected alone", c37),
    Requirement("C38", "MUST", "JSON", "enums as numbers, unknown ones kept, names rejected", c38),
    Requirement("C39", "MUST", "JSON", "unknown fields ignored at every depth", c39),
    Requirement("C40", "MUST", "JSON", "lowerCamelCase only", c40),
    Requirement("C41", "proto3", "JSON", "64-bit integers, special doubles, base64, null", c41),
    Requirement("C42", "proto3", "encoding", "unknown fields skipped; broken framing refused", c42, c42_grpc),
    Requirement("C43", "model", "data model", "the edges of the data model come back to the last bit", c43, c43_grpc),
    Requirement("C44", "robust", "data model", "a bad record costs only itself", c44, c44_grpc),
    Requirement("C45", "ours", "JSON", "BOM, arrays, null, NDJSON, empty: 400", c45),
]
