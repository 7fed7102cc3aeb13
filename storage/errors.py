"""What can go wrong in the store; the type says whether trying again helps."""


class StoreError(Exception):
    """Base of all errors of the store."""


class RetryableStoreError(StoreError):
    """Nothing was stored and the same call may succeed later: PostgreSQL is away, read-only, full or slow."""


class PermanentStoreError(StoreError):
    """Trying again does not help: wrong credentials, missing schema, a version of PostgreSQL that is not supported."""


class QueryTimeout(RetryableStoreError):  # noqa: N818 - named for what happened
    """A statement was cancelled at its time limit; a narrower question may be answered."""
