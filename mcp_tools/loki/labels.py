"""PURE: a record's labels, and matchers -> what the store is asked.

The streams of the store are made of component and level; ``service_name``, which Loki gives to what comes by OTLP, is
the component by another name, and ``detected_level`` the level.
"""

from collections.abc import Sequence

from mcp_tools.loki.reading import LogQLError
from mcp_tools.loki.tree import Lines, Matcher
from storage.filters import Line
from storage.query import regex
from storage.query.fields import BAND, SEVERITIES
from storage.query.tree import Between, Exists, Field, Is, Node, conjunction, disjunction, negation

LABELS = ("component", "level", "service_name")
_SAME = {"service_name": "component", "detected_level": "level"}
UNKNOWN = "unknown"
LEVELS = (*SEVERITIES, UNKNOWN)
_IDS = {"trace_id": ("trace", 32), "span_id": ("span", 16)}
# A condition each; a selector that names none of them needs none of these.
COMPONENTS_MAX = 500


def stream_of(component: str, level: str) -> dict[str, str]:
    """Return the labels of a stream."""
    return {"component": component, "level": level, "service_name": component}


def level_of(severity: int) -> str:
    """Return the label of a severity number: trace to fatal, unknown where none was given."""
    return LEVELS[(severity - 1) // BAND] if 1 <= severity <= BAND * len(SEVERITIES) else UNKNOWN


def canonical(label: str) -> str:
    """Return the label that another name stands for."""
    return _SAME.get(label, label)


def question(lines: Lines, components: Sequence[str]) -> tuple[Node, tuple[Line, ...]] | None:
    """Return what the store is asked for ``lines``, None where no record can match. Raises LogQLError."""
    nodes: list[Node] = []
    chosen, levels = list(components), list(LEVELS)
    for matcher in lines.matchers:
        label = canonical(matcher.label)
        if label == "component":
            chosen = [c for c in chosen if holds(matcher, c)]
        elif label == "level":
            levels = [n for n in levels if holds(matcher, n)]
        elif label in _IDS:
            nodes.append(_id(matcher))
        elif not holds(matcher, ""):  # a label that no record has is empty, as in Loki
            return None
    if not chosen or not levels:
        return None
    if len(chosen) < len(components):
        if len(chosen) > COMPONENTS_MAX:
            raise LogQLError(f"the selector matches {len(chosen)} components; {COMPONENTS_MAX} at most")
        nodes.append(disjunction(*(Field("component", Is(c)) for c in chosen)))
    if len(levels) < len(LEVELS):
        nodes.append(disjunction(*(_level(n) for n in levels)))
    return conjunction(*nodes), _filters(lines)


def holds(matcher: Matcher, value: str) -> bool:
    """Whether a label of this value matches."""
    if matcher.operator in {"=", "!="}:
        return (value == matcher.value) is (matcher.operator == "=")
    return regex.fullmatch(matcher.value, value) is (matcher.operator == "=~")


def _level(name: str) -> Node:
    if name == UNKNOWN:
        return negation(Field("level", Exists()))
    return Field("level", Between(SEVERITIES[name], SEVERITIES[name] + BAND - 1))


def _id(matcher: Matcher) -> Node:
    name, digits = _IDS[matcher.label]
    if matcher.operator not in {"=", "!="}:
        raise LogQLError(f"parse error : {matcher.label} is compared with = or != here")
    if not matcher.value:
        found: Node = negation(Field(name, Exists()))
    else:
        text = matcher.value.lower()
        if len(text) != digits or any(c not in "0123456789abcdef" for c in text):
            raise LogQLError(f"parse error : {matcher.label} is {digits} hexadecimal digits")
        found = Field(name, Is(text))
    return found if matcher.operator == "=" else negation(found)


def _filters(lines: Lines) -> tuple[Line, ...]:
    found: list[Line] = []
    for one in lines.filters:
        patterns = one.operator in {"|~", "!~"}
        values = tuple(regex.to_postgresql(v) if patterns else v for v in one.values)
        found.append(Line(values, is_regex=patterns, negated=one.operator.startswith("!")))
    return tuple(found)
