"""OTLP/JSON as the specification writes it."""

import json
import math

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_ingest.encode.json_format import to_json


def test_json_is_written_as_the_specification_says() -> None:
    """Ids in hex, int64 as strings, enums as numbers, lowerCamelCase, NaN as text, bytes in base64."""
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            time_unix_nano=2**64 - 1,
            severity_number=9,
            trace_id=bytes.fromhex("5B8EFFF798038103D269B633813FC60C"),
            flags=1,
        )
    )
    record.body.kvlist_value.values.add(key="n").value.int_value = -(2**63)
    record.body.kvlist_value.values.add(key="d").value.double_value = math.nan
    record.body.kvlist_value.values.add(key="b").value.bytes_value = b"\x00\xff"

    written = json.loads(to_json(request))["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]

    assert written == {
        "timeUnixNano": "18446744073709551615",
        "severityNumber": 9,
        "traceId": "5b8efff798038103d269b633813fc60c",
        "flags": 1,
        "body": {
            "kvlistValue": {
                "values": [
                    {"key": "n", "value": {"intValue": "-9223372036854775808"}},
                    {"key": "d", "value": {"doubleValue": "NaN"}},
                    {"key": "b", "value": {"bytesValue": "AP8="}},
                ]
            }
        },
    }
