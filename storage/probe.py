"""Whether PostgreSQL takes writes at this moment, at the price of one small question."""

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.dberrors import translate
from storage.errors import RetryableStoreError

# A standby that was promoted, or a primary that was made read-only, answers reads all the same.
_READ_ONLY = text("SELECT current_setting('transaction_read_only')::boolean")


async def takes_writes(engine: AsyncEngine) -> None:
    """Return when it does. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            if (await connection.execute(_READ_ONLY)).scalar_one():
                raise RetryableStoreError("PostgreSQL is read-only")
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
