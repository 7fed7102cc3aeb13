"""logger_retention and logger_set_retention: how long what is kept, what goes next, and changing it after a preview."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked
from mcp_tools.arguments import NS
from mcp_tools.errors import UserInputError
from storage.control import Control
from storage.reader import Reader
from storage.retention.planning import Held, Step, next_steps, steps
from storage.retention.rules import (
    SIGNALS,
    Rule,
    RuleError,
    Selector,
    changed,
    keep_of,
    keep_words,
    longest_s,
    selector_of,
)
from storage.retention.store import SetRule

_STEPS_MAX = 50


class RetentionArguments(Arguments):
    """Arguments of logger_retention."""


class SetRetentionArguments(Arguments):
    """Arguments of logger_set_retention."""

    signal: Literal["logs", "spans", "metrics"] = Field(description="What the rule is about")
    keep: str = Field(description='"30d", "12h", "13w", "forever"; "unset" ends the rule')
    component: str | None = Field(None, max_length=512, description="Of logs: one component")
    severity_min: str | None = Field(None, description="Of logs: this severity and above")
    severity_max: str | None = Field(None, description="Of logs: this severity and below")
    reason: str = Field(min_length=3, max_length=500, description="Why; it stands in the audit log")
    confirm: str | None = Field(None, max_length=40, description="From the preview, where records would go at once")


async def logger_retention(reader: Reader, args: RetentionArguments, asked: Asked) -> Answer:
    """Return the rules, how much there is of each signal and since when, and what goes next."""
    now = _time(asked)
    set_rules, held = await reader.retention(now)
    rules = [found.rule for found in set_rules]
    going = [step for step in steps(held, rules, now) if step.destroys]
    coming = next_steps(held, rules, now)
    lines = [_rule_line(found) for found in set_rules]
    lines += [f"goes with the next upkeep: {_step_line(step)}" for step in going[:_STEPS_MAX]]
    lines += [f"goes next: {render.clean(words)}, {name} at {_at(when)}" for when, _, name, words in coming]
    kept = render.fit(lines, args.max_tokens, reserve=800)
    sizes = {signal: _size(held, signal, rules) for signal in SIGNALS}
    summary = "; ".join(f"{signal}: {_size_words(size)}" for signal, size in sizes.items())
    hints = [
        f"{signal} have no rule of their own: what no rule is about is kept forever"
        for signal in SIGNALS
        if not any(rule.selector == Selector(signal=signal) for rule in rules)
    ]
    left = [f"left out: {len(lines) - len(kept)} lines (raise max_tokens)"] if len(kept) < len(lines) else []
    text = "\n".join([summary, *hints, *left, *([render.FENCE, *kept, render.FENCE_END] if kept else [])])
    data = {
        "summary": summary,
        "rules": [_rule_data(found) for found in set_rules[: len(kept)]],
        "signals": sizes,
        "goes_now": [_step_data(step) for step in going[: max(0, min(_STEPS_MAX, len(kept) - len(set_rules)))]],
        "goes_next": [
            {"at": _at(when), "partition": name, "rule": render.clean(words)}
            for when, _, name, words in coming[: max(0, len(kept) - len(set_rules) - len(going[:_STEPS_MAX]))]
        ],
        "truncated": len(kept) < len(lines),
        "hints": hints,
        "untrusted_data": True,
    }
    return Answer(text, data)


async def logger_set_retention(reader: Reader, args: SetRetentionArguments, asked: Asked) -> Answer:
    """Put a rule in force, or end one; what would let records go at once is previewed first."""
    control = _control(asked)
    selector, rule = _asked_for(args)
    now = _time(asked)
    before = [found.rule for found in (await reader.retention(now))[0]]
    after = changed(before, selector, rule)
    held = (await reader.retention(now, after))[1]
    known = {_key(step) for step in steps(held, before, now)}
    more = [step for step in steps(held, after, now) if step.destroys and _key(step) not in known]
    confirm = _confirmation(selector, args.keep, more)
    what = f"{render.clean(selector.words())}: {'no rule any more' if rule is None else keep_words(rule.keep_s)}"
    if more and args.confirm != confirm:
        return _preview(what, more, confirm, mismatch=args.confirm is not None)
    given = args.model_dump(exclude={"max_tokens"}, exclude_none=True)
    try:
        was = await control.set_retention(selector, rule, args.reason, (asked.caller, asked.role), given)
    except RuleError as error:
        raise UserInputError("INVALID_ARGUMENT", str(error)) from error
    if rule is None and not was:
        raise UserInputError("INVALID_ARGUMENT", f"there is no rule about {render.clean(selector.words())}")
    hints = [f"{len(more)} partitions lose records with the next upkeep, within ten minutes"] if more else []
    data = {
        "summary": what,
        "dry_run": False,
        "replaced": was,
        "goes_now": [_step_data(s) for s in more],
        "hints": hints,
    }
    return Answer("\n".join([what, *hints]), data)


def _preview(what: str, more: Sequence[Step], confirm: str, *, mismatch: bool) -> Answer:
    """Return what would go at once, and what to call with to have it so."""
    size = sum(step.bytes for step in more)
    summary = f"{what}. Nothing was changed yet: records would go from {len(more)} partitions ({_bytes(size)}) at once"
    hints = ["what would go changed since that preview"] if mismatch else []
    hints.append(f"to do it call again with confirm={confirm}. A person should decide this.")
    lines = [render.FENCE, *(_step_line(step) for step in more[:_STEPS_MAX]), render.FENCE_END]
    data = {
        "summary": summary,
        "dry_run": True,
        "goes_now": [_step_data(step) for step in more[:_STEPS_MAX]],
        "partitions": len(more),
        "confirm": confirm,
        "hints": hints,
        "untrusted_data": True,
    }
    return Answer("\n".join([summary, *hints, *lines]), data)


def _control(asked: Asked) -> Control:
    if asked.control is None or asked.control.eraser is None:
        raise UserInputError("READ_ONLY", "retention cannot be set through this server: it has no way to do so")
    return asked.control


def _asked_for(args: SetRetentionArguments) -> tuple[Selector, Rule | None]:
    try:
        selector = selector_of(args.signal, args.component, args.severity_min, args.severity_max)
        if args.keep.strip().lower() == "unset":
            return selector, None
        return selector, Rule(selector=selector, keep_s=keep_of(args.keep))
    except RuleError as error:
        raise UserInputError("INVALID_ARGUMENT", f"logger_set_retention: {error}") from error


def _confirmation(selector: Selector, keep: str, more: Sequence[Step]) -> str:
    """Return a text that stands for exactly this rule and exactly what it would take."""
    told = repr((selector, keep.strip().lower(), sorted(_key(step) for step in more)))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _key(step: Step) -> tuple[str, str, str]:
    return step.kind, step.name, step.split.digest()


def _time(asked: Asked) -> datetime:
    return datetime.fromtimestamp(asked.now_ns / NS, UTC)


def _at(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _rule_line(found: SetRule) -> str:
    about, keep = render.clean(found.rule.selector.words()), keep_words(found.rule.keep_s)
    return f"{about}: {keep}, set by {render.clean(found.set_by, 120)}: {render.clean(found.reason, 300)}"


def _rule_data(found: SetRule) -> dict[str, Any]:
    selector = found.rule.selector
    return {
        "signal": selector.signal,
        "component": None if selector.component is None else render.clean(selector.component),
        "severity_min": selector.severity_min,
        "severity_max": selector.severity_max,
        "keep": keep_words(found.rule.keep_s),
        "reason": render.clean(found.reason, 300),
        "set_by": render.clean(found.set_by, 120),
        "set_at": _at(found.set_at.astimezone(UTC)),
    }


def _step_line(step: Step) -> str:
    return f"{step.kind} {step.name} ({_bytes(step.bytes)}): {render.clean(step.reason)}"


def _step_data(step: Step) -> dict[str, Any]:
    return {
        "step": step.kind,
        "partition": step.name,
        "since": _at(step.bounds.since),
        "until": _at(step.bounds.until),
        "rows_estimate": step.rows,
        "bytes": step.bytes,
        "reason": render.clean(step.reason),
    }


def _size(held: Sequence[Held], signal: str, rules: Sequence[Rule]) -> dict[str, Any]:
    mine = [h for h in held if h.signal == signal]
    filled = [h for h in mine if h.rows or h.cold_records or h.bytes > _EMPTY_BYTES]
    longest = longest_s(rules, signal)
    return {
        "oldest": _at(min(h.bounds.since for h in filled)) if filled else None,
        "partitions": len(mine),
        "bytes": sum(h.bytes for h in mine),
        "cold_bytes": sum(h.cold_bytes for h in mine),
        "kept_at_most": keep_words(longest),
    }


# A partition without rows holds the first pages of its indexes.
_EMPTY_BYTES = 64 * 1024


def _size_words(size: dict[str, Any]) -> str:
    since = f" since {size['oldest'][:10]}" if size["oldest"] else ""
    cold = f", {_bytes(size['cold_bytes'])} of cold files" if size["cold_bytes"] else ""
    return f"{_bytes(size['bytes'])} in {size['partitions']} partitions{cold}{since}, kept {size['kept_at_most']}"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004
