"""What ends an export, and what only delays it."""


class MissingLibraryError(Exception):
    """A form or transport whose library is not installed; the text says how to get it."""


class SendError(Exception):
    """The endpoint refused a request for good, or was away for too long; the text says which and why."""


class TryLaterError(Exception):
    """Refused for now; ``delay_s`` is what the endpoint asked for, None where it named none."""

    def __init__(self, why: str, delay_s: float | None) -> None:
        super().__init__(why)
        self.delay_s = delay_s


class TooLargeError(Exception):
    """Refused for its size: its halves may pass."""
