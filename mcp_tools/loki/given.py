"""The parameters of a request to Loki, from the address, or from a form, as Grafana sends long queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from mcp_tools.door import DoorError
from mcp_tools.go_values import duration_ns, rfc3339_ns

_HOUR_NS = 3_600 * 1_000_000_000
_BODY_BYTES_MAX = 64 * 1024
_FIELDS_MAX = 100
# As Loki reads them: up to ten digits are seconds, more are nanoseconds.
_SECONDS_DIGITS_MAX = 10
_NS_DIGITS_MAX = 19
_TIME_NS_MAX = 1 << 63
# Loki's own choice: 250 points over what is asked for, a second at least.
_STEPS = 250
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Given:
    """Names and values in the order they came."""

    pairs: Sequence[tuple[str, str]]

    @classmethod
    async def of(cls, request: Request) -> "Given":
        """Return what a request holds."""
        pairs = list(request.query_params.multi_items())
        if request.method == "POST":
            declared = request.headers.get("content-length", "")
            if not declared.isdigit() or int(declared) > _BODY_BYTES_MAX:
                raise DoorError(400, f"send Content-Length, {_BODY_BYTES_MAX} bytes at most")
            try:
                pairs += parse_qsl((await request.body()).decode(), max_num_fields=_FIELDS_MAX)
            except ValueError as error:
                raise DoorError(400, "the body is no form") from error
        return cls(pairs)

    def several(self, name: str) -> list[str]:
        """Return all values of a name."""
        return [v for k, v in self.pairs if k == name]

    def text(self, name: str) -> str:
        """Return the first value that is not empty, or nothing."""
        return next((v for v in self.several(name) if v), "")

    def time_ns(self, name: str) -> int | None:
        """Return a time: seconds with or without a fraction, nanoseconds, or RFC 3339."""
        text = self.text(name)
        whole, point, fraction = text.partition(".")
        try:
            if not text:
                return None
            if whole.isascii() and whole.isdigit() and (not point or (fraction.isascii() and fraction.isdigit())):
                if len(whole) > _NS_DIGITS_MAX:
                    raise ValueError  # noqa: TRY301
                seconds = bool(point) or len(whole) <= _SECONDS_DIGITS_MAX
                found = int(whole) * _SECOND_NS + int(fraction[:9].ljust(9, "0") or "0") if seconds else int(whole)
            else:
                found = rfc3339_ns(text)
        except ValueError:
            raise DoorError(400, f'could not parse "{name}" parameter: {text[:60]!r}') from None
        if found >= _TIME_NS_MAX:
            raise DoorError(400, f'could not parse "{name}" parameter: {text[:60]!r}')
        return found

    def window(self, now_ns: int) -> tuple[int, int]:
        """Return start and end; the last hour by default."""
        end = self.time_ns("end")
        end = now_ns if end is None else end
        start = self.time_ns("start")
        if start is None:
            start = end - (self._duration("since") or _HOUR_NS)
        if end <= start:
            raise DoorError(400, "end timestamp must not be before or equal to start time")
        return start, end

    def step_ns(self, start_ns: int, end_ns: int) -> int:
        """Return the distance of two points."""
        step = self._duration("step")
        if step is not None and step <= 0:
            raise DoorError(
                400, "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        return step or max((end_ns - start_ns) // _STEPS // _SECOND_NS, 1) * _SECOND_NS

    def count(self, name: str, default: int) -> int:
        """Return a whole number."""
        text = self.text(name)
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 9:  # noqa: PLR2004 - any int32
            raise DoorError(400, f'could not parse "{name}" parameter: {text[:60]!r}')
        return int(text)

    def direction(self) -> str:
        """Return backward or forward."""
        text = self.text("direction").lower() or "backward"
        if text not in {"backward", "forward"}:
            raise DoorError(400, f"invalid direction '{text[:60]}'")
        return text

    def _duration(self, name: str) -> int | None:
        """Return a duration in ns: seconds, or as Go writes it."""
        text = self.text(name)
        if not text:
            return None
        try:
            if text.replace(".", "", 1).isdigit() and text.isascii() and len(text) <= _NS_DIGITS_MAX:
                return int(float(text) * 1e9)
            return duration_ns(text)
        except ValueError as error:
            raise DoorError(400, f'could not parse "{name}" parameter: {error}') from None
