"""PURE: what a LogQL query means, as far as it is understood here."""

from dataclasses import dataclass
from typing import Literal

MatchOperator = Literal["=", "!=", "=~", "!~"]
LineOperator = Literal["|=", "!=", "|~", "!~"]


@dataclass(frozen=True, slots=True)
class Matcher:
    """A label against a text or a regular expression that is anchored on both ends."""

    label: str
    operator: MatchOperator
    value: str


@dataclass(frozen=True, slots=True)
class LineFilter:
    """The line holds one of the texts, or matches one of the regular expressions; with ``!`` none of them."""

    operator: LineOperator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Log lines: of the streams all matchers hold for, those all filters hold for."""

    matchers: tuple[Matcher, ...]
    filters: tuple[LineFilter, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """Lines of a window before each point of time, counted, or by the second."""

    function: Literal["count_over_time", "rate"]
    lines: Lines
    range_ns: int


@dataclass(frozen=True, slots=True)
class Aggregated:
    """Series put together by labels; ``without``: by all labels but these. ``k``: of topk and bottomk."""

    function: Literal["sum", "min", "max", "avg", "count", "topk", "bottomk"]
    inner: "Metric"
    labels: tuple[str, ...] = ()
    without: bool = False
    k: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, the same at every point; what Grafana asks to see whether anybody is there. ``scalar``: no vector."""

    value: float
    scalar: bool = False


Metric = Counted | Aggregated | Constant
Query = Lines | Metric
