"""The scenarios: what goes wrong in the shop, what is in the way, which calls look for it, which facts name it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.scenarios.shop import ERROR, INFO, MINUTE_US, REQUESTS, WARN, Shop

Answers = list[dict[str, Any]]
Call = tuple[str, dict[str, Any]]
Step = Callable[[Answers], Call]
CALLS_MAX = 6
TOKENS_MAX = 12_000
SINCE = "15m"
THUMBNAILS = r"thumbnail missing"
BEFORE = {"since": "30m", "until": "15m"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault that is planted, and the policy that looks for it: steps that see only the answers so far.

    ``facts``: regular expressions; all of them must be in the texts of the answers. ``distractors``: what may not stand
    above the last fact in the answer that it is in. ``noise``: what a policy that follows the loudest error is led to.
    """

    name: str
    plant: Callable[[Shop], None]
    policy: tuple[Step, ...]
    facts: tuple[str, ...]
    distractors: tuple[str, ...] = ()
    noise: str = THUMBNAILS


def ask(tool: str, **arguments: Any) -> Step:
    """Return a step that always asks the same."""
    return lambda _: (tool, arguments)


def first_trace(view: str = "summary") -> Step:
    """Return a step that looks at the first trace of the last search."""
    return lambda answers: ("logger_trace", {"trace_id": _last(answers, "traces")[0]["trace_id"], "view": view})


def _last(answers: Answers, key: str) -> list[Any]:
    found: list[Any] = next(a[key] for a in reversed(answers) if key in a)
    return found


OVERVIEW = ask("logger_overview", since=SINCE)
NEW_ERRORS = ask("logger_patterns", since=SINCE, severity_min="error", compare_to="previous")
SLOWEST = ask("logger_search_traces", since=SINCE, sort="slowest", name="POST /checkout", limit=5)
FAILED = ask("logger_search_traces", since=SINCE, sort="errors", limit=5)


# Who takes the loudest error for the cause: its records, the request of one of them, what changed about its component.
LOUDEST = ask("logger_patterns", since=SINCE, severity_min="error", limit=5)


def _loudest(answers: Answers) -> dict[str, Any]:
    found: dict[str, Any] = max(_last(answers, "patterns"), key=lambda pattern: int(pattern["count"]))
    return found


def _its_records(answers: Answers) -> Call:
    of_it = {"component": _loudest(answers)["component"], "severity_min": "error", "limit": 20}
    return "logger_query", {"since": SINCE, "collapse": "patterns"} | of_it


def _its_sample(answers: Answers) -> Call:
    return "logger_query", {"id": _loudest(answers)["sample_id"]}


def _its_component(answers: Answers) -> Call:
    return "logger_diff", {"kind": "windows", "a": BEFORE, "component": _loudest(answers)["component"]}


def _its_numbers(answers: Answers) -> Call:
    return "logger_stats", {"since": SINCE, "component": _loudest(answers)["component"], "interval": "5m"}


FOLLOW_THE_NOISE = (OVERVIEW, LOUDEST, _its_records, _its_sample, _its_component, _its_numbers)


def _deploy(shop: Shop) -> None:
    shop.versions["checkout"].append((shop.change_us, "1.4.3"))
    shop.usual()
    for at in shop.moments(9, before=False):
        request, ids = shop.checkout(at)
        said = "cannot build order: KeyError 'currency'"
        request.log(ids["checkout"], "checkout", ERROR, said, 60, **{"exception.type": "KeyError"})


def _of_first_new(answers: Answers) -> Call:
    component = _last(answers, "patterns")[0]["component"]
    return "logger_diff", {"kind": "windows", "a": BEFORE, "component": component}


def _slow(shop: Shop) -> None:
    shop.usual(after=False)
    for at in shop.moments(REQUESTS, before=False):
        shop.checkout(at, query_ms=900)


def _diff_with_before(answers: Answers) -> Call:
    slow, good = answers[-2]["traces"][0], answers[-1]["traces"][0]
    return "logger_diff", {"kind": "traces", "a": good["trace_id"], "b": slow["trace_id"]}


GOOD_BEFORE = ask("logger_search_traces", **BEFORE, name="POST /checkout", limit=1)


def _n_plus_one(shop: Shop) -> None:
    shop.usual()
    for at in shop.moments(12, before=False):
        request, ids = shop.checkout(at)
        for i in range(140):
            request.span(ids["catalog"], "catalog", "SELECT price", 18 + 5 * i, 4.6, kind=3, **{"db.row": i})
        root = next(i for i, s in enumerate(shop.spans) if s.span_id == ids["frontend"])
        shop.spans[root] = shop.spans[root]._replace(duration_ns=850_000_000)


def _retries(shop: Shop) -> None:
    shop.usual()
    for at in shop.moments(15, before=False):
        request, ids = shop.checkout(at)
        for attempt in range(6):
            quote = request.span(ids["checkout"], "shipping", "Quote", 130 + 50 * attempt, 40, error="503 from carrier")
            if attempt == 0:
                request.log(quote, "shipping", ERROR, "carrier quota exceeded: limit 100 per minute", 140)
            request.log(ids["checkout"], "checkout", WARN, f"retry {attempt + 1} of shipping quote", 170 + 50 * attempt)


def _poison(shop: Shop) -> None:
    shop.usual()
    for at in shop.moments(60, before=False):
        said = "cannot decode message m-777: unexpected field 'gift'"
        shop.log("notifications", ERROR, said, at, None, None, {"messaging.message.id": "m-777"})
    for i, at in enumerate(shop.moments(80, before=False)):
        said = f"cannot decode message m-{i}: truncated, will be sent again"
        shop.log("notifications", ERROR, said, at, None, None, {"messaging.message.id": f"m-{i}"})


def _by_message(answers: Answers) -> Call:
    component = _last(answers, "patterns")[0]["component"]
    return "logger_stats", {
        "since": SINCE, "component": component, "severity_min": "error", "group_by": ["messaging.message.id"], "top": 5,
    }  # fmt: skip


def _skew(shop: Shop) -> None:
    shop.usual(after=False)
    for at in shop.moments(REQUESTS, before=False):
        shop.checkout(at, skew_ms=-4_000)


def _harmless(shop: Shop) -> None:
    shop.usual()
    for before in (True, False):
        for at in shop.moments(200, before=before):
            shop.log("catalog", ERROR, f"thumbnail missing for image {shop.rng.randrange(10**6)}", at, None, None, {})
    for at in shop.moments(6, before=False):
        request, ids = shop.checkout(at)
        request.log(ids["payments"], "payments", ERROR, "card network unreachable: no route to host", 45)


def _leak(shop: Shop) -> None:
    shop.usual()
    held = 0
    for step in range(30):
        at = shop.change_us - 15 * MINUTE_US + step * MINUTE_US + MINUTE_US // 2
        if step % 2 == 0 and held < 20:
            held += 2
            for _ in range(2):
                shop.log(
                    "payments",
                    INFO,
                    "connection",
                    at,
                    None,
                    None,
                    {"code.function": "refund", "event_name": "checked_out"},
                )
        for _ in range(3):
            for event in ("checked_out", "returned"):
                shop.log(
                    "payments", INFO, "connection", at, None, None, {"code.function": "charge", "event_name": event}
                )
        shop.gauge("payments", "db.pool.in_use", held, at)
        shop.gauge("checkout", "db.pool.in_use", 3 + step % 3, at)
        if held >= 20:
            said = "timeout acquiring connection from pool after 3000 ms"
            shop.log("payments", ERROR, said, at + 1000, None, None, {})


def _events_of_first_new(answers: Answers) -> Call:
    component = _last(answers, "patterns")[0]["component"]
    return "logger_stats", {
        "since": "30m", "component": component, "query": "event:*", "group_by": ["code.function", "event_name"],
    }  # fmt: skip


POOLS = ask(
    "logger_stats",
    since="30m",
    signal="metrics",
    name="db.pool.in_use",
    agg="max",
    group_by=["component"],
    interval="5m",
)

SCENARIOS = (
    Scenario(
        "a new error after a deploy", _deploy, (OVERVIEW, NEW_ERRORS, _of_first_new),
        (r"new 9 .*ERROR checkout .*KeyError", r"service\.version=1\.4\.3: 0 % -> 100 %"), (r"host\.name=",),
    ),
    Scenario(
        "a slow dependency", _slow, (OVERVIEW, SLOWEST, GOOD_BEFORE, _diff_with_before),
        (r"slower: .*payments SELECT accounts: 3\.0ms .* -> 900ms",), (r"slower: .*catalog", r"Nightly report"),
    ),
    Scenario(
        "an N+1 query", _n_plus_one, (OVERVIEW, SLOWEST, first_trace()),
        (r"catalog SELECT price client ×140 \(4\.6ms-4\.6ms, Σ 644ms\)",), (r"payments SELECT accounts client ×",),
    ),
    Scenario(
        "a retry storm", _retries, (OVERVIEW, FAILED, first_trace()),
        (r"shipping Quote server ×6 .*503 from carrier", r"carrier quota exceeded: limit 100"), (THUMBNAILS,),
    ),
    Scenario(
        "a poison message", _poison, (OVERVIEW, NEW_ERRORS, _by_message),
        (r"notifications cannot decode message m-<n>: unexpected field 'gift'", r"\bm-777  60\b"), (r"\bm-\d+  1\b",),
        "truncated, will be sent again",
    ),
    Scenario(
        "a clock skew", _skew, (OVERVIEW, SLOWEST, first_trace()),
        (r"clock skew: inventory", r"inventory Reserve .*clock off by -4\.00s"), (),
    ),
    Scenario(
        "a noisy but harmless error", _harmless, (OVERVIEW, NEW_ERRORS),
        (r"new 6 .*payments card network unreachable",), (r"same 225 .*thumbnail",),
    ),
    Scenario(
        "a leaking pool", _leak, (OVERVIEW, NEW_ERRORS, POOLS, _events_of_first_new),
        (r"new \d+ .*payments timeout acquiring connection", r"payments  max_value 20", r"refund  checked_out  20"),
        (r"refund  returned",),
    ),
)  # fmt: skip
