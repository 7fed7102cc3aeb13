"""Which requests of spools are stored: their places, committed with their rows, known until their segment is gone."""

from collections.abc import Iterable, Mapping

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.dberrors import translate

Place = tuple[bytes, int]
"""The id of a segment, 16 bytes, and the offset of a request in it."""

_CLAIM = text("""
INSERT INTO spooled_requests (segment, position, time)
SELECT segment, position, now()
FROM unnest(CAST(:segments AS uuid[]), CAST(:positions AS bigint[])) AS u (segment, position)
ON CONFLICT DO NOTHING
RETURNING segment, position
""")
_TAKEN = text("""
SELECT s.segment, s.position, CAST(extract(epoch FROM now() - s.time) AS double precision) AS age_s
FROM spooled_requests s
JOIN unnest(CAST(:segments AS uuid[]), CAST(:positions AS bigint[])) AS u (segment, position)
  ON s.segment = u.segment AND s.position = u.position
""")
_FORGET = text("DELETE FROM spooled_requests WHERE segment = CAST(:segment AS uuid)")


async def claim(connection: AsyncConnection, places: Iterable[Place]) -> Mapping[Place, float]:
    """Claim places in the transaction of ``connection``; return those that were stored before, with seconds since.

    Waits for other transactions that claimed one of them, in the order of places.
    """
    wanted = sorted(places)
    if not wanted:
        return {}
    claimed = {(row.segment.bytes, row.position) for row in await connection.execute(_CLAIM, _parameters(wanted))}
    others = [place for place in wanted if place not in claimed]
    if not others:
        return {}
    rows = await connection.execute(_TAKEN, _parameters(others))
    return {(row.segment.bytes, row.position): max(0.0, row.age_s) for row in rows}


async def forget(engine: AsyncEngine, segment: bytes) -> None:
    """Forget the places of a segment; call it once the segment can never be read again. Raises StoreError."""
    try:
        async with engine.begin() as connection:
            await connection.execute(_FORGET, {"segment": segment.hex()})
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


def _parameters(places: list[Place]) -> dict[str, object]:
    return {"segments": [segment.hex() for segment, _ in places], "positions": [position for _, position in places]}
