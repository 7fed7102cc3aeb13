"""logger_query(id=…): one log record, whole where it fits, else field by field; and what was logged around it."""

from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mcp_tools import render
from mcp_tools.answers import Answer
from mcp_tools.errors import UserInputError, did_you_mean
from storage import cursor as cursors
from storage.cursor import InvalidCursor
from storage.filters import LogQuery
from storage.reader import Reader
from storage.views import LogEntry, LogNode

_ENVELOPE_TOKENS = 80
_PIECE_ENVELOPE_TOKENS = 130
_AROUND_ENVELOPE_TOKENS = 120


class Around(BaseModel):
    """Records before and after one: of its component, or of its trace."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int = Field(ge=1, le=2**63 - 1)
    before: int = Field(10, ge=0, le=500)
    after: int = Field(10, ge=0, le=500)
    same: Literal["component", "trace"] = "component"


async def one_record(reader: Reader, identifier: int, fields: list[str], cursor: str | None, max_tokens: int) -> Answer:
    """Return one record, or as much of each long field as the budget holds; one field goes on by cursor."""
    entry = await _record(reader, identifier)
    record = asdict(entry) | {"time": render.time_of(entry.time_ns)}
    if fields:
        record = {name: _field(entry, record, name) for name in fields}
        if len(record) == 1:
            return _piece(identifier, *next(iter(record.items())), cursor, max_tokens)
    shown, cut = render.fit_fields(record, max_tokens, reserve=_ENVELOPE_TOKENS)
    whole = f' (raise max_tokens, or id={identifier}, fields=["{cut[0]}"] goes on by cursor)' if cut else ""
    out = [f"left out: the ends of {', '.join(cut)}{whole}"] if cut else []
    lines = [f"{name}: {value}" for name, value in shown.items()]
    return Answer(
        "\n".join([f"log record {identifier}", *out, render.FENCE, *lines, render.FENCE_END]),
        {
            "record": record | {name: shown[name] for name in cut},
            "truncated": bool(cut),
            "truncated_by": "field_cut" if cut else None,
            "fields_cut": cut,
            "untrusted_data": True,
        },
    )


async def _record(reader: Reader, identifier: int) -> LogEntry:
    entry = await reader.get_log(identifier)
    if entry is None:
        raise UserInputError(
            "UNKNOWN_ID",
            f"no log record has id {identifier}; ids stand first in each line of logger_query",
        )
    return entry


def _field(entry: LogEntry, record: dict[str, Any], name: str) -> Any:
    for place in (record, entry.attributes, entry.resource):
        if name in place:
            return place[name]
    known = [*record, *entry.attributes, *entry.resource]
    near = did_you_mean(name, known)
    raise UserInputError("UNKNOWN_FIELD", f'record {entry.id} has no field "{render.clean(name, 60)}".{near}')


def _piece(identifier: int, name: str, value: Any, cursor: str | None, max_tokens: int) -> Answer:
    """Return a field from where the cursor stands, as much as fits."""
    whole = render.plain(value)
    question = f"field {identifier} {name}"
    begin = 0
    if cursor is not None:
        try:
            (begin,) = cursors.decode(cursor, question, (int,))
        except InvalidCursor as error:
            raise UserInputError("INVALID_CURSOR", str(error)) from error
    begin = min(max(begin, 0), len(whole))
    room = (max_tokens - _PIECE_ENVELOPE_TOKENS) * render.CHARS_A_TOKEN - len(name)
    size = min(room, len(whole) - begin)
    shown = render.clean(whole[begin : begin + size], size)
    while (weight := render.weight(shown)) > room:
        size = max(size * room // weight - 1, 1)
        shown = render.clean(whole[begin : begin + size], size)
    left = len(whole) - begin - size
    following = cursors.encode([begin + size], question) if left else None
    summary = f"log record {identifier}, {name}: characters {begin} to {begin + size} of {len(whole)}"
    more = [f"{left} left, go on with cursor={following}"] if left else []
    data = {
        "summary": summary,
        "record": {"id": identifier, name: shown},
        "returned": size,
        "matched": len(whole),
        "truncated": left > 0,
        "truncated_by": "max_tokens" if left else None,
        "next_cursor": following,
        "untrusted_data": True,
    }
    return Answer("\n".join([summary, *more, render.FENCE, shown, render.FENCE_END]), data)


async def surroundings(reader: Reader, around: Around, filters: LogQuery, max_tokens: int) -> Answer:
    """Return the records before and after one, oldest first; the nearest are the last to be left out."""
    entry = await _record(reader, around.id)
    if around.same == "trace" and entry.trace_id is None:
        raise UserInputError(
            "NO_TRACE", f'record {around.id} belongs to no trace; same="component" shows its neighbours'
        )
    before = await _beside(reader, entry, around, filters, "newest")
    after = await _beside(reader, entry, around, filters, "oldest")
    itself = LogQuery(component=entry.component, limit=1)
    place = cursors.encode([entry.time_ns // 1000, entry.id + 1], itself.canonical())
    anchor = await reader.read_messages(replace(itself, cursor=place))
    kept = _nearest(before, after, anchor, max_tokens)
    out = len(before) + len(after) + len(anchor) - len(kept)
    nodes = sorted(kept, key=lambda n: (n.time_ns // 1000, n.id))
    lines = [f"{'> ' if n.id == around.id else '  '}{render.message_line(n)}" for n in nodes]
    of = f"trace {entry.trace_id}" if around.same == "trace" else f"component {render.clean(entry.component, 120)}"
    summary = f"{len(before)} records before and {len(after)} after #{around.id}, of {of}, oldest first"
    more = [f"left out: the {out} farthest of them (raise max_tokens)"] if out else []
    data = {
        "summary": summary,
        "around": around.id,
        "lines": lines,
        "returned": len(nodes),
        "left_out": out,
        "truncated": out > 0,
        "truncated_by": "max_tokens" if out else None,
        "next_cursor": None,
        "untrusted_data": True,
    }
    return Answer("\n".join([summary, *more, render.FENCE, *lines, render.FENCE_END]), data)


async def _beside(
    reader: Reader, entry: LogEntry, around: Around, filters: LogQuery, order: Literal["newest", "oldest"]
) -> list[LogNode]:
    count = around.before if order == "newest" else around.after
    if not count:
        return []
    same = {"trace_id": entry.trace_id} if around.same == "trace" else {"component": entry.component}
    given = {name: getattr(filters, name) for name in ("severity_min", "text", "attributes", "query")}
    query = LogQuery(**given | same, order=order, limit=count)
    place = cursors.encode([entry.time_ns // 1000, entry.id], query.canonical())
    return await reader.read_messages(replace(query, cursor=place))


def _nearest(before: list[LogNode], after: list[LogNode], anchor: list[LogNode], max_tokens: int) -> list[LogNode]:
    """Return what fits, from the anchor outwards."""
    outwards = [n for pair in zip(_padded(before, after), _padded(after, before), strict=True) for n in pair if n]
    chosen = [*anchor, *outwards]
    fitting = render.fit([render.message_line(n) for n in chosen], max_tokens, reserve=_AROUND_ENVELOPE_TOKENS)
    return chosen[: len(fitting)]


def _padded(nodes: list[LogNode], other: list[LogNode]) -> list[LogNode | None]:
    return [*nodes, *[None] * max(len(other) - len(nodes), 0)]
