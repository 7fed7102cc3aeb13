"""What can go wrong in the store; the type says whether trying again helps."""


class StoreError(Exception):
    """Base of all errors of the store."""


class RetryableStoreError(StoreError):
    """Nothing was stored and the same call may succeed later: PostgreSQL is away, read-only, full or slow."""


class OutcomeUnknown(RetryableStoreError):  # noqa: N818 - named for what happened
    """The connection broke during COMMIT: all was stored or nothing.

    ``transaction`` asks ``storage.transactions.outcome_of`` which; writing the same batches again stores them once.
    """

    def __init__(self, message: str, *, transaction: str) -> None:
        super().__init__(message)
        self.transaction = transaction


class PermanentStoreError(StoreError):
    """Trying again does not help: wrong credentials, missing schema, a version of PostgreSQL that is not supported."""


class QueryTimeout(RetryableStoreError):  # noqa: N818 - named for what happened
    """A statement was cancelled at its time limit; a narrower question may be answered."""


class QuestionTooLarge(QueryTimeout):
    """Answering would unpack more packed records than one question may; a narrower question may be answered."""
