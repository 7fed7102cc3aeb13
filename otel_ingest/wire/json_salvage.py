"""PURE: makes JSON that nests too deeply readable: what lies too deep becomes null, in one linear pass."""

import re

# One level of AnyValue takes four levels of JSON; a record anywhere near this is over the limit of decode anyway.
# The standard library's parser stops at its recursion limit, near 1,000.
DEPTH_MAX = 400

# A string (the last one may lack its end) is taken in one step that never goes back: hostile input stays linear.
_TOKEN = re.compile(rb'"[^"\\]*+(?:(?:\\.)++[^"\\]*+)*+\\?"?|[\[{]|[\]}]', re.DOTALL)


def prune(body: bytes) -> bytes:
    """Return ``body`` with every array and object deeper than DEPTH_MAX replaced by null."""
    parts: list[bytes] = []
    depth = copied = cut_at = 0
    for match in _TOKEN.finditer(body):
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth == DEPTH_MAX + 1:
                cut_at = match.start()
        elif token in b"]}":
            depth -= 1
            if depth == DEPTH_MAX:
                parts += [body[copied:cut_at], b"null"]
                copied = match.end()
    return b"".join([*parts, body[copied:]])
