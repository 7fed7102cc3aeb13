"""Errors that teach: a stable code, what was wrong, and a corrected example. The same text through every door."""

from difflib import get_close_matches


class UserInputError(Exception):
    """A question that cannot be answered as it was asked. ``code`` is stable; the text says what would be right."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ' Did you mean "x"?' for a near miss, else nothing."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""
