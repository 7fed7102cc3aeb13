"""PURE: who calls whom -> a drawing in layers, callers on the left; calls that close a circle are drawn back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log10

from storage.views import Call

NODES_MAX = 60
"""Components of a drawing; past it nobody reads it."""
WIDTH, HEIGHT, GAP_X, GAP_Y = 148, 38, 76, 14
_PAD = 8


@dataclass(frozen=True, slots=True)
class Node:
    """A component and where it stands, px."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Edge:
    """A call: from where to where as an SVG path, how often, and how wide (px)."""

    parent: str
    child: str
    count: int
    path: str
    width: float


@dataclass(frozen=True, slots=True)
class Graph:
    """A drawing of ``width`` by ``height`` px; ``left_out``: components it has no room for."""

    nodes: list[Node]
    edges: list[Edge]
    width: float
    height: float
    left_out: int


def draw(calls: Iterable[Call]) -> Graph:
    """Return the drawing of calls between components."""
    told = list(calls)
    weight: dict[str, int] = {}
    for call in told:
        for name in (call.parent, call.child):
            weight[name] = weight.get(name, 0) + call.count
    shown = sorted(weight, key=lambda name: (-weight[name], name))[:NODES_MAX]
    kept = [c for c in told if c.parent in set(shown) and c.child in set(shown)]
    layer = _layers(sorted(shown), kept)
    columns: dict[int, list[str]] = {}
    for name in sorted(shown):
        columns.setdefault(layer[name], []).append(name)
    rank = _ordered(columns, kept)
    tallest = max((len(column) for column in columns.values()), default=0)
    whole = tallest * (HEIGHT + GAP_Y) - GAP_Y
    place = {}
    for depth, column in columns.items():
        spare = whole - (len(column) * (HEIGHT + GAP_Y) - GAP_Y)
        for name in column:
            y = _PAD + spare / 2 + rank[name] * (HEIGHT + GAP_Y)
            place[name] = Node(name, _PAD + depth * (WIDTH + GAP_X), y)
    edges = [_edge(place[c.parent], place[c.child], c) for c in kept]
    width = len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * _PAD if columns else 0
    return Graph(list(place.values()), edges, width, whole + 2 * _PAD, len(weight) - len(shown))


def _layers(names: list[str], calls: list[Call]) -> dict[str, int]:
    """Return the column of each component: one more than its furthest caller, circles cut."""
    below: dict[str, list[str]] = {name: [] for name in names}
    called = {c.child for c in calls}
    for call in sorted(calls, key=lambda c: (c.parent, c.child)):
        below[call.parent].append(call.child)
    order: list[str] = []
    state: dict[str, int] = {}
    forward: list[tuple[str, str]] = []
    for start in [n for n in names if n not in called] + names:
        stack = [(start, iter(below[start]))] if start not in state else []
        state.setdefault(start, 1)
        while stack:
            name, rest = stack[-1]
            child = next(rest, None)
            if child is None:
                stack.pop()
                state[name] = 2
                order.append(name)
            elif state.get(child) != 1:  # not back to one that it is below
                forward.append((name, child))
                if child not in state:
                    state[child] = 1
                    stack.append((child, iter(below[child])))
    layer = dict.fromkeys(names, 0)
    targets: dict[str, list[str]] = {}
    for parent, child in forward:
        targets.setdefault(parent, []).append(child)
    for name in reversed(order):
        for child in targets.get(name, ()):
            layer[child] = max(layer[child], layer[name] + 1)
    return layer


def _ordered(columns: Mapping[int, list[str]], calls: list[Call]) -> dict[str, int]:
    """Return the place of each component in its column: near the middle of its callers, so that few lines cross."""
    rank: dict[str, int] = {}
    callers: dict[str, list[str]] = {}
    for call in calls:
        callers.setdefault(call.child, []).append(call.parent)
    for depth in sorted(columns):
        middle = {
            name: sum(places) / len(places)
            if (places := [rank[c] for c in callers.get(name, ()) if c in rank])
            else 0.0
            for name in columns[depth]
        }
        columns[depth].sort(key=lambda name: (middle[name], name))
        rank |= {name: n for n, name in enumerate(columns[depth])}
    return rank


def _edge(parent: Node, child: Node, call: Call) -> Edge:
    x1, y1, x2, y2 = parent.x + WIDTH, parent.y + HEIGHT / 2, child.x, child.y + HEIGHT / 2
    bend = max(GAP_X / 2, (x2 - x1) / 2) if x2 > x1 else GAP_X
    if x2 <= x1:  # back to a caller: around below
        y1, y2 = y1 + HEIGHT / 4, y2 + HEIGHT / 4
    path = f"M{x1:.0f} {y1:.1f}C{x1 + bend:.0f} {y1:.1f} {x2 - bend:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"
    return Edge(call.parent, call.child, call.count, path, round(1 + log10(max(call.count, 1)) * 0.8, 1))
