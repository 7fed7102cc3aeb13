"""What one record and one request may be at most; each limit with its unit, its default and its reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request. A record past one of its own is rejected by itself; the rest of its request is stored."""

    # The OTLP specification recommends 64 MiB (1.11, "Message size limits"); measured after decompression.
    body_bytes_max: int = 64 * 1024 * 1024
    # Seconds until a body is whole. SDKs give up after 10; who takes longer holds memory that others need.
    body_timeout_s: float = 60.0
    # Connections of one listener at a time: each costs some 20 KiB, an HTTP/2 one 50.
    connections_max: int = 8_192
    # Rows of one request: an empty record takes 2 bytes of a body and 250 of memory. 64 MiB of what SDKs send hold
    # some 200,000. What is past it is rejected, and the rest stored: all of it would be lost by a refusal.
    records_max: int = 250_000
    # A record is one PostgreSQL row; rows of many MiB stall everyone who reads past them.
    record_bytes_max: int = 8 * 1024 * 1024
    # Attributes at any depth of one record. SDKs stop at 128; a million is an attack or a bug.
    attributes_max: int = 10_000
    # Nesting of AnyValue. The protobuf library goes 100 messages deep in a request: a map within a map takes three, and
    # the deepest attributes, those of an exemplar, begin at the ninth.
    value_depth_max: int = 30
    # Days before and after the receipt for which a partition is made: a lifetime. A clock at its epoch (1970) or a unit
    # mistaken is stored where the record says it is, and told (logger_overview); only what no clock shows is rejected.
    record_age_days_max: int = 36_525
    record_ahead_days_max: int = 36_525


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that is not stored: its position in the request (0-based, in wire order) and why, in English."""

    index: int
    reason: str
    count: int = 1
