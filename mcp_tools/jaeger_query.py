"""PURE: parameters of Jaeger's search, legacy and v3 -> what the store is asked. Raises DoorError (400)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_tools.door import DoorError
from mcp_tools.go_values import duration_ns, rfc3339_ns
from storage.filters import TraceQuery
from storage.query.fields import SPAN_KINDS
from storage.query.tree import Attribute, Exists, Field, Is, Node, conjunction, negation
from storage.query.words import looks_loose

# Each trace of an answer is read whole. Jaeger's own page asks for 20.
TRACES_MAX = 200
_TRACES_DEFAULT = 20
_TAGS_MAX = 32
_DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a request, by any of their names."""

    given: Mapping[str, str]

    def text(self, *names: str) -> str:
        """Return the first that is there and not empty, or nothing."""
        return next((self.given[name] for name in names if self.given.get(name)), "")

    def read(self, read: Callable[[str], int], *names: str) -> int | None:
        """Return the first that is there, read; None where none is."""
        name = next((name for name in names if self.given.get(name)), None)
        if name is None:
            return None
        try:
            return read(self.given[name])
        except ValueError as error:
            raise DoorError(400, f"malformed parameter {name}: {error}") from error


def v3_query(given: Parameters) -> TraceQuery:
    """Return the search of /api/v3/traces; camelCase, and snake_case, which Grafana sends."""
    attributes = given.text("query.attributes")
    since, until = (given.read(rfc3339_ns, f"query.{c}", f"query.{s}") for c, s in _TIMES)
    if since is None or until is None:
        raise DoorError(400, "query.startTimeMin and query.startTimeMax are required, as RFC 3339")
    if given.text("query.filter"):
        raise DoorError(400, "query.filter is not supported; use query.attributes")
    return _query(
        given.text("query.serviceName", "query.service_name"),
        given.text("query.operationName", "query.operation_name"),
        _tags(attributes, "query.attributes") if attributes else {},
        since,
        until,
        given.read(duration_ns, "query.durationMin", "query.duration_min"),
        given.read(duration_ns, "query.durationMax", "query.duration_max"),
        given.read(_count, "query.searchDepth", "query.search_depth", "query.num_traces"),
    )


_TIMES = (("startTimeMin", "start_time_min"), ("startTimeMax", "start_time_max"))


def legacy_query(given: Parameters, single_tags: list[str], now_ns: int) -> TraceQuery:
    """Return the search of /api/traces: times in microseconds, tags as JSON or as key:value."""
    if not given.text("service"):
        raise DoorError(400, "parameter 'service' is required")
    tags = _tags(given.text("tags"), "tags") if given.text("tags") else {}
    for tag in single_tags:
        key, colon, value = tag.partition(":")
        if not colon or not key:
            raise DoorError(400, f"malformed 'tag' parameter, expecting key:value, received: {tag[:60]}")
        tags[key] = value
    until = given.read(_microseconds, "end") or now_ns
    since = given.read(_microseconds, "start")
    lookback = given.read(duration_ns, "lookback") if given.text("lookback") != "custom" else None
    return _query(
        given.text("service"),
        given.text("operation"),
        tags,
        since if since is not None else until - (lookback or 2 * _DAY_NS),
        until,
        given.read(duration_ns, "minDuration"),
        given.read(duration_ns, "maxDuration"),
        given.read(_count, "limit"),
    )


def span_kind(text: str) -> int | None:
    """Return the number of a span kind, None where none is asked for."""
    word = text.lower().removeprefix("span_kind_")
    if not word:
        return None
    if word not in SPAN_KINDS:
        raise DoorError(400, f"unsupported span kind: '{text[:60]}'; one of {', '.join(SPAN_KINDS)}")
    return SPAN_KINDS.index(word)


def _query(
    service: str,
    operation: str,
    tags: dict[str, str],
    since_ns: int,
    until_ns: int,
    min_ns: int | None,
    max_ns: int | None,
    limit: int | None,
) -> TraceQuery:
    if until_ns < since_ns:
        raise DoorError(400, "the end of the search is before its start")
    if min_ns is not None and max_ns is not None and max_ns < min_ns:
        raise DoorError(400, "'maxDuration' should be greater than 'minDuration'")
    if len(tags) > _TAGS_MAX:
        raise DoorError(400, f"{_TAGS_MAX} tags at most")
    return TraceQuery(
        component=service or None,
        name=operation if operation and operation != "all" else None,
        min_duration_ns=min_ns,
        max_duration_ns=max_ns,
        query=conjunction(*(_tag(key, value) for key, value in tags.items())) if tags else None,
        since_ns=max(since_ns, 0),
        until_ns=max(until_ns, 0),
        limit=min(limit or _TRACES_DEFAULT, TRACES_MAX),
    )


def _tag(key: str, value: str) -> Node:
    """Return what a tag asks for: some name what OpenTelemetry has as a field, the others are attributes."""
    if key == "error" and value in {"true", "false"}:
        failed = Field("status", Is("error"))
        return failed if value == "true" else negation(failed)
    if key == "span.kind" and value in SPAN_KINDS:
        return Field("kind", Is(value))
    if key == "otel.status_code" and value.lower() in {"ok", "error"}:
        return Field("status", Is(value.lower()))
    if key == "otel.status_code" and value.lower() == "unset":
        return negation(Field("status", Exists()))
    if key in {"otel.scope.name", "otel.library.name"}:
        return Field("scope", Is(value))
    return Attribute(key, Is(value, loose=looks_loose(value)))


def _tags(text: str, name: str) -> dict[str, str]:
    try:
        tags: Any = json.loads(text)
    except ValueError:
        tags = None
    if not isinstance(tags, dict) or not all(isinstance(v, str | int | float | bool) for v in tags.values()):
        raise DoorError(400, f'malformed parameter {name}: it is a JSON object of texts, {{"http.route":"/pay"}}')
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in tags.items()}


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:  # noqa: PLR2004 - any int32
        raise ValueError(f"{text[:60]!r} is no number")
    return int(text)


def _microseconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 16:  # noqa: PLR2004 - to the year 2286
        raise ValueError(f"{text[:60]!r} is no number of microseconds since 1970")
    return int(text) * 1000
