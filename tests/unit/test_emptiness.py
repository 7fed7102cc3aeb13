"""What is said beside an answer that is empty, where it cannot be found quickly."""

from mcp_tools.emptiness import hints_for_nothing
from storage.errors import QueryTimeout
from storage.filters import LogQuery


class Slow:
    """A reader that finds nothing in time."""

    async def nearest_data(self, _: LogQuery) -> tuple[int | None, int | None]:
        """Take too long."""
        raise QueryTimeout

    async def field_values(self, *_: object, **__: object) -> tuple[int, list[object]]:
        """Know no field."""
        return 0, []


async def test_what_would_take_long_to_find_is_said_to() -> None:
    """And what else is known stands beside it."""
    query = LogQuery(since_ns=1, until_ns=2, attributes={"user.id": "7"})

    hints = await hints_for_nothing(Slow(), query)  # type: ignore[arg-type]

    assert hints == [
        "whether anything matches outside of this window would take long to find; widen the window to know",
        'no recent record has the attribute "user.id".',
    ]
