"""PURE: logs and traces requests parsed no deeper than a row needs: what is within them stays bytes.

The same messages on the wire, made from OTLP's own descriptors, but a record, what is in a span, a resource, a scope,
an attribute and a value are ``repeated bytes``: records are then parsed one by one, a resource seen before is known by
its bytes, and so is an attribute. Repeated, because of a message that stands twice both are kept: joined they are what
a parser merges.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

_PACKAGE = "otel_ingest.shallow"
_CLOSED = frozenset(
    {"KeyValue", "AnyValue", "Resource", "InstrumentationScope", "LogRecord", "Span", "Event", "Link", "Status"}
)


def _name(descriptor: Any) -> str:
    """Return a flat name for a message; names of OTLP messages differ over logs and traces."""
    outer = descriptor.containing_type
    return f"{outer.name}{descriptor.name}" if outer else str(descriptor.name)


def _file(*roots: Any) -> FileDescriptorProto:
    """Return the file of the shallow twins of these messages and of what they hold."""
    file = FileDescriptorProto(name="otel_ingest/shallow.proto", package=_PACKAGE, syntax="proto3")
    waiting: list[Descriptor] = [*roots]
    for descriptor in waiting:  # grows on the way
        message = file.message_type.add(name=_name(descriptor))
        for field in descriptor.fields:
            twin = message.field.add(name=field.name, number=field.number, type=field.type)
            twin.label = (
                FieldDescriptorProto.LABEL_REPEATED if field.is_repeated else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if field.type == FieldDescriptor.TYPE_ENUM:
                twin.type = FieldDescriptorProto.TYPE_INT32
            elif field.message_type and field.message_type.name in _CLOSED:
                twin.type, twin.label = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.LABEL_REPEATED
            elif field.message_type:
                twin.type_name = f".{_PACKAGE}.{_name(field.message_type)}"
                if field.message_type not in waiting:
                    waiting.append(field.message_type)
    return file


_pool = DescriptorPool()
_pool.Add(
    _file(
        ExportLogsServiceRequest.DESCRIPTOR,
        ExportTraceServiceRequest.DESCRIPTOR,
        logs_pb2.LogRecord.DESCRIPTOR,
        trace_pb2.Span.DESCRIPTOR,
        *trace_pb2.Span.DESCRIPTOR.nested_types,
        trace_pb2.Status.DESCRIPTOR,
    )
)


def _type(name: str) -> Any:
    return GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


REQUESTS = {"logs": _type("ExportLogsServiceRequest"), "traces": _type("ExportTraceServiceRequest")}
LogRecord = _type("LogRecord")
Span, Event, Link, Status = _type("Span"), _type("SpanEvent"), _type("SpanLink"), _type("Status")
