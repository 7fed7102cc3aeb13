"""logger_clear: deletion in two calls. The first counts exactly and returns a confirmation, the second deletes that."""

from typing import Any, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked, check_component
from mcp_tools.errors import UserInputError
from storage.clearing import CONFIRM_S, SIGNALS, Cleared, ClearQuery, Eraser, Preview
from storage.reader import Reader

# One call; clients wait for about a minute.
CLEAR_S_MAX = 45.0
_FILTERS = ("component", "trace_id", "text", "since", "until")


class ClearArguments(Arguments):
    """Arguments of logger_clear."""

    signal: Literal["all", "logs", "spans", "metrics"] = Field("all", description="What to delete")
    component: str | None = Field(None, max_length=512, description="service.name, or namespace/name")
    trace_id: str | None = Field(None, description="32 hex digits")
    text: str | None = Field(None, min_length=3, max_length=1000, description="Part of the body, any case; logs only")
    since: str | None = Field(None, description='Start: "15m", RFC 3339 or epoch. Default: no limit')
    until: str | None = Field(None, description="End, exclusive. Default: no limit")
    everything: bool = Field(False, description="Needed, as true, where nothing else says which")  # noqa: FBT003
    reason: str = Field(min_length=3, max_length=500, description="Why; it stands in the audit log")
    confirm: str | None = Field(None, max_length=200, description="From the preview; same other arguments")


async def logger_clear(reader: Reader, args: ClearArguments, asked: Asked) -> Answer:
    """Preview, or delete what was previewed."""
    eraser = asked.control.eraser if asked.control is not None else None
    if eraser is None:
        raise UserInputError("READ_ONLY", "nothing can be deleted through this server: it has no way to do so")
    query = await _query(reader, args, asked.now_ns)
    question = args.model_dump(exclude={"max_tokens", "confirm", "reason"})
    who, given = (asked.caller, asked.role), question | {"reason": args.reason}
    if args.confirm is None:
        return _previewed(await eraser.preview(query, who, question, given), args)
    return await _confirmed(eraser, args.confirm, who, question, given)


async def _query(reader: Reader, args: ClearArguments, now_ns: int) -> ClearQuery:
    if args.everything is any(getattr(args, name) is not None for name in _FILTERS):
        raise UserInputError(
            "INVALID_ARGUMENT",
            "logger_clear: say which records, by component, trace_id, text, since or until, or everything=true alone",
        )
    signals = tuple(SIGNALS) if args.signal == "all" else (args.signal,)
    if args.text is not None:
        if args.signal == "all":
            signals = ("logs",)
        elif args.signal != "logs":
            raise UserInputError("INVALID_ARGUMENT", f"logger_clear: text is of logs; {args.signal} have none")
    if args.trace_id is not None:
        signals = tuple(signal for signal in signals if signal != "metrics")
        if not signals:
            raise UserInputError("INVALID_ARGUMENT", "logger_clear: metrics have no trace_id")
    if args.confirm is None:
        await check_component(reader, args.component)
    since = read.time_ns(args.since, "since", now_ns) if args.since else None
    until = read.time_ns(args.until, "until", now_ns) if args.until else None
    if since is not None and until is not None and since >= until:
        raise UserInputError("EMPTY_WINDOW", f"since={args.since!r} is not before until={args.until!r}")
    return ClearQuery(
        signals=signals,
        component=args.component,
        trace_id=read.hex_id(args.trace_id, "trace_id", 32) if args.trace_id else None,
        text=args.text,
        since_ns=since,
        until_ns=until,
    )


def _previewed(preview: Preview, args: ClearArguments) -> Answer:
    edges = {
        "oldest": render.time_of(preview.oldest_ns) if preview.oldest_ns is not None else None,
        "newest": render.time_of(preview.newest_ns) if preview.newest_ns is not None else None,
    }
    counted = ", ".join(f"{count} {signal}" for signal, count in preview.counts.items())
    if preview.confirm is None:
        summary = f"nothing to delete ({counted}); nothing was done"
    else:
        summary = f"would delete {counted}, from {edges['oldest']} to {edges['newest']}; nothing was deleted yet"
    hints = []
    if preview.confirm is not None:
        how = f"call again within {CONFIRM_S} s with the same arguments and confirm={preview.confirm}"
        hints = [f"to delete exactly these, {how}; what is stored meanwhile stays. A person should decide this."]
    data: dict[str, Any] = {
        "summary": summary,
        "dry_run": True,
        "would_delete": dict(preview.counts),
        **edges,
        "confirm": preview.confirm,
        "expires_in_s": CONFIRM_S if preview.confirm is not None else None,
        "filter": {name: value for name in ("signal", *_FILTERS) if (value := getattr(args, name)) is not None},
        "hints": hints,
    }
    return Answer("\n".join([summary, *hints]), data, found=preview.confirm is not None)


async def _confirmed(
    eraser: Eraser, confirm: str, who: tuple[str, str], question: dict[str, Any], given: dict[str, Any]
) -> Answer:
    cleared = await eraser.clear(confirm, who, question, given, CLEAR_S_MAX)
    if cleared is None:
        raise UserInputError(
            "CONFIRM_MISMATCH",
            "nothing was deleted: this confirmation was used, is older than 5 minutes, is another caller's, or belongs "
            "to other arguments. Call without confirm for a new preview.",
        )
    return _deleted(cleared)


def _deleted(cleared: Cleared) -> Answer:
    counted = ", ".join(f"{count} {signal}" for signal, count in cleared.deleted.items())
    missing = {signal: cleared.previewed[signal] - count for signal, count in cleared.deleted.items()}
    left = sum(missing.values())
    if cleared.whole:
        hints = [f"{left} of those that were previewed were gone already"] if left else []
    else:
        hints = [f"stopped after {CLEAR_S_MAX:.0f} s: up to {left} are left; preview again to go on"]
    summary = f"deleted {counted} of {sum(cleared.previewed.values())} previewed"
    data = {
        "summary": summary,
        "dry_run": False,
        "deleted": dict(cleared.deleted),
        "previewed": dict(cleared.previewed),
        "gone_already" if cleared.whole else "left": missing,
        "complete": cleared.whole,
        "hints": hints,
    }
    return Answer("\n".join([summary, *hints]), data)
