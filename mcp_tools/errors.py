"""Errors that teach: a stable code, what was wrong, and a corrected example. The same text through every door."""

from difflib import get_close_matches


class UserInputError(Exception):
    """A question that cannot be answered as it was asked. ``code`` is stable; the text says what would be right."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


_SAME_AS = {
    "component": ("service", "service_name", "servicename", "app", "application", "job"),
    "severity_min": ("level", "min_level", "loglevel", "log_level", "min_severity"),
    "since": ("from", "start", "start_time", "begin", "time_range", "timerange", "last", "window"),
    "until": ("to", "end", "end_time"),
    "query": ("q", "filter", "where", "expression"),
    "text": ("search", "message", "contains", "body", "pattern"),
    "trace_id": ("trace", "traceid", "id"),
    "name": ("operation", "span_name", "operation_name", "metric"),
    "limit": ("size", "max_results", "count", "n", "page_size"),
    "order": ("sort", "sort_by", "direction"),
    "sort": ("order", "order_by"),
    "agg": ("aggregation", "function", "metric_type"),
    "interval": ("step", "bucket", "bin", "step_interval"),
    "key": ("field", "attribute"),
    "sql": ("query", "statement"),
    "collapse": ("group", "dedupe", "denoise"),
}


def argument_meant(word: str, known: list[str]) -> str:
    """Return ' Did you mean "x"?' for what other servers call an argument that is known, or for a near miss."""
    plain = word.lower().replace("-", "_")
    for name, others in _SAME_AS.items():
        if name in known and plain in others:
            return f' Did you mean "{name}"?'
    return did_you_mean(word, known)


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ' Did you mean "x"?' for a near miss, else nothing."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""
