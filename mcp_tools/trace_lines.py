"""PURE: the forest of a trace -> lines within a budget; what is left out is counted where it would stand."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from mcp_tools import render
from mcp_tools.masking import masked
from mcp_tools.trace_shape import Shape, above, critical_path, self_times
from storage.views import LogNode, SpanNode

ERROR_NUMBER = 17
_WARN_NUMBER = 13
_INDENT_MAX = 40
# "+1234 spans in 123 branches, 123 logs left out (focus_span=0123456789abcdef)" and what the JSON of a line adds.
_OMISSION_CHARS = 96
_LINE_FRAME_CHARS = 6
# After so many lines in a row that did not fit, the rest is not looked at: it is shorter by chance only.
_MISSES_MAX = 40


@dataclass(slots=True)
class Node:
    """One line to be: a span, or equal siblings of one parent, or a log record or equal ones of one span.

    ``spans_total`` and ``logs_total`` count itself and all below it.
    """

    spans: list[int] = field(default_factory=list)
    logs: list[LogNode] = field(default_factory=list)
    children: list["Node"] = field(default_factory=list)
    parent: "Node | None" = None
    spans_total: int = 0
    logs_total: int = 0
    quiet_logs: int = 0
    start: int = 0
    weight: int = 0
    important: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """Lines, how many spans below the focus they do not stand for, and how many log records they do."""

    lines: list[str]
    spans_left_out: int
    logs_shown: int


class Drawing:
    """How a trace is drawn: which spans are on the critical path, which failed, what was logged below which.

    ``fold``: equal siblings become one line (the calls below them are merged as well), of log records only those from
    WARN on are shown. Without, each span and each log record is a line of its own.
    """

    def __init__(self, shape: Shape, logs: Sequence[LogNode], *, fold: bool, partial: bool = False) -> None:
        self.shape = shape
        self._fold = fold
        self._partial = partial
        self._main = main_root(shape) if shape.roots else -1
        self.critical = self_times(critical_path(shape, self._main)) if shape.roots else {}
        self._logs: dict[int, list[LogNode]] = {}
        index_of = {s.span_id: i for i, s in reversed(list(enumerate(shape.spans))) if s.span_id}
        for entry in logs:
            self._logs.setdefault(index_of.get(entry.span_id, -1) if entry.span_id else -1, []).append(entry)
        self.failing = _failing(shape, self._logs)

    def draw(self, room: int, focus: int | None = None) -> Drawn:
        """Return the lines that fit in ``room`` characters; below ``focus`` alone where it is given."""
        top = self._grown(focus)
        room -= _OMISSION_CHARS
        for node in _important(top):
            if room < _OMISSION_CHARS:
                break
            room = self._choose_with_way(node, room)
        self._choose_best(top, room)
        lines = [line for below in top.children if below.chosen for line in self._lines(below)]
        lines += self._omission(top, -1)
        nodes = _walk(top.children)
        shown = [node for node in nodes if node.chosen]
        spans = sum(len(node.spans) for node in nodes) - sum(len(node.spans) for node in shown)
        return Drawn(lines, spans, sum(len(node.logs) for node in shown))

    def _grown(self, focus: int | None) -> Node:
        """Return the tree of nodes under a top that has no line."""
        top = Node(chosen=True)
        roots = self.shape.roots if focus is None else [focus]
        stack = [(top, roots, [] if focus is not None else self._logs.get(-1, []))]
        while stack:
            node, below, logs = stack.pop()
            self._add_logs(node, logs)
            for group in self._groups(below):
                child = self._node(group, node)
                node.children.append(child)
                spans = [c for i in group for c in self.shape.children[i]]
                stack.append((child, spans, [entry for i in group for entry in self._logs.get(i, ())]))
        for node in reversed(list(_walk(top.children))):
            node.children.sort(key=lambda c: c.start)
            node.spans_total = len(node.spans) + sum(c.spans_total for c in node.children)
            node.logs_total = len(node.logs) + node.quiet_logs + sum(c.logs_total for c in node.children)
        top.children.sort(key=lambda c: (self._main not in c.spans, not c.spans, c.start))
        return top

    def _groups(self, indices: list[int]) -> list[list[int]]:
        if not self._fold:
            return [[i] for i in indices]
        groups: dict[tuple[str, ...], list[int]] = {}
        for i in indices:
            span = self.shape.spans[i]
            groups.setdefault((span.component, span.name, span.kind, span.status), []).append(i)
        return list(groups.values())

    def _node(self, group: list[int], parent: Node) -> Node:
        shape = self.shape
        return Node(
            spans=group,
            parent=parent,
            start=min(shape.start[i] for i in group),
            weight=sum(shape.spans[i].duration_ns for i in group),
            important=any(i in self.failing or i in self.critical for i in group) or self._main in group,
        )

    def _add_logs(self, node: Node, logs: list[LogNode]) -> None:
        groups: dict[tuple[object, ...], list[LogNode]] = {}
        for entry in logs:
            if self._fold and entry.severity_number < _WARN_NUMBER:
                node.quiet_logs += 1
                continue
            key = (entry.component, entry.severity_number, masked(entry.body)) if self._fold else (entry.id,)
            groups.setdefault(key, []).append(entry)
        node.children += [
            Node(logs=g, parent=node, start=g[0].time_ns, important=g[0].severity_number >= ERROR_NUMBER)
            for g in groups.values()
        ]

    def _choose_with_way(self, node: Node, room: int) -> int:
        """Choose a node with all above it, if all of them fit; return the room that is left."""
        way: list[Node] = []
        step: Node | None = node
        while step is not None and not step.chosen:
            way.append(step)
            step = step.parent
        depth = _depth_below(step) if step is not None else 0
        cost = sum(self._cost(n, depth + len(way) - 1 - k) for k, n in enumerate(way))
        if cost > room:
            return room
        for chosen in way:
            chosen.chosen = True
        return room - cost

    def _choose_best(self, top: Node, room: int) -> None:
        """Spend the room on the heaviest children of what is chosen already."""
        count = 0
        heap: list[tuple[int, int, int, Node]] = []

        def offer(nodes: Sequence[Node], depth: int) -> None:
            nonlocal count
            for node in nodes:
                count += 1
                heapq.heappush(heap, (-node.weight, count, depth, node))

        offer(top.children, 0)
        misses = 0
        while heap and misses < _MISSES_MAX:
            _, _, depth, node = heapq.heappop(heap)
            if not node.chosen:
                cost = self._cost(node, depth)
                if cost > room:
                    misses += 1
                    continue
                room -= cost
                node.chosen = True
            misses = 0
            offer(node.children, depth + 1)

    def _cost(self, node: Node, depth: int) -> int:
        line = self._text(node, depth)
        left_out = _OMISSION_CHARS + 2 * min(depth + 1, _INDENT_MAX) if node.children or node.quiet_logs else 0
        return render.weight(line) + _LINE_FRAME_CHARS + left_out

    def _lines(self, first: Node) -> list[str]:
        lines: list[str] = []
        stack: list[tuple[Node | None, int, list[str]]] = [(first, 0, [])]
        while stack:
            node, depth, ready = stack.pop()
            lines += ready
            if node is None:
                continue
            lines.append(self._text(node, depth))
            stack.append((None, depth, self._omission(node, depth)))
            stack += [(c, depth + 1, []) for c in reversed(node.children) if c.chosen]
        return lines

    def _omission(self, node: Node, depth: int) -> list[str]:
        """Return the line that counts the children that are not shown."""
        spans, logs = _unchosen(node)
        logs -= node.quiet_logs if node.spans else 0  # they stand in its own line
        if not spans and not logs:
            return []
        branches = sum(1 for c in node.children if not c.chosen and c.spans)
        said = [f"{spans} spans in {branches} branches"] if spans else []
        said += [f"{logs} logs"] if logs else []
        way = f" (focus_span={self.shape.spans[self._slowest(node.spans)].span_id})" if node.spans else ""
        return [f"{_indent(depth + 1)}+{', '.join(said)} left out{way}"]

    def _slowest(self, group: list[int]) -> int:
        return max(group, key=lambda i: self.shape.spans[i].duration_ns)

    def _text(self, node: Node, depth: int) -> str:
        return _indent(depth) + (self._span_text(node) if node.spans else _log_text(node.logs))

    def _span_text(self, node: Node) -> str:
        index = self._slowest(node.spans)
        span = self.shape.spans[index]
        took = render.duration(span.duration_ns)
        if len(node.spans) > 1:
            times = [self.shape.spans[i].duration_ns for i in node.spans]
            took = (
                f"×{len(times)} ({render.duration(min(times))}-{render.duration(max(times))}, "
                f"Σ {render.duration(sum(times))})"
            )
        mark = "*" if any(i in self.critical for i in node.spans) else ""
        kind = f" {span.kind}" if span.kind not in {"internal", "unspecified"} else ""
        failed = f" ERROR {render.clean(span.status_message, 200)}".rstrip() if span.status == "error" else ""
        quiet = f" logs: {node.quiet_logs} below WARN" if node.quiet_logs else ""
        return f"{mark}{span_title(span)}{kind} {took} [{span.span_id}]{failed}{self._flags(node.spans)}{quiet}"

    def _flags(self, group: list[int]) -> str:
        flags = ""
        if not self._partial and any(self.shape.orphan[i] for i in group):
            flags += " (its parent is not stored)"
        if any(self.shape.looped[i] for i in group):
            flags += " (its parents lead back to it)"
        skew = max((self.shape.skew[i] for i in group), key=abs)
        if skew:
            flags += f" (clock off by {'-' if skew > 0 else '+'}{render.duration(abs(skew))}; moved)"
        return flags


def main_root(shape: Shape) -> int:
    """Return the root that is drawn first: one that has no parent, the longest of them."""
    roots = [i for i in shape.roots if not shape.orphan[i] and not shape.looped[i]] or shape.roots
    return max(roots, key=lambda i: shape.spans[i].duration_ns)


def span_title(span: SpanNode) -> str:
    """Return component and name, safe to show."""
    return f"{render.clean(span.component, 120)} {render.clean(span.name, 200)}"


def _failing(shape: Shape, logs: dict[int, list[LogNode]]) -> set[int]:
    """Return the spans that failed or logged an error, and all above them."""
    marked: set[int] = set()
    for index, span in enumerate(shape.spans):
        said = any(entry.severity_number >= ERROR_NUMBER for entry in logs.get(index, ()))
        if span.status == "error" or said:
            for step in (index, *above(shape, index)):
                if step in marked:
                    break
                marked.add(step)
    return marked


def _walk(nodes: Sequence[Node]) -> list[Node]:
    """Return all nodes, parents before children."""
    found = list(nodes)
    for node in found:
        found += node.children
    return found


def _important(top: Node) -> list[Node]:
    """Return the root, then what matters, the first to matter first: shallow before deep, errors' ends included."""
    marked = [n for n in _walk(top.children) if n.important]
    first = [n for n in marked[:1] if n.spans]
    ends = [n for n in marked if not any(c.important for c in n.children)]
    return first + ends + [n for n in marked if n not in first]


def _unchosen(node: Node) -> tuple[int, int]:
    """Return the spans and log records below the node's children that are not shown."""
    out = [c for c in node.children if not c.chosen]
    return sum(c.spans_total for c in out), sum(c.logs_total for c in out) + node.quiet_logs


def _depth_below(node: Node) -> int:
    """Return how deep its children stand; 0 below the top."""
    depth = 0
    while node.parent is not None:
        depth += 1
        node = node.parent
    return depth


def _indent(depth: int) -> str:
    return "  " * min(max(depth, 0), _INDENT_MAX)


def _log_text(entries: list[LogNode]) -> str:
    entry = entries[0]
    times = f" ×{len(entries)}" if len(entries) > 1 else ""
    return (
        f"· {render.severity_of(entry)} {render.clean(entry.component, 120)} {render.said(entry)}{times} (#{entry.id})"
    )
