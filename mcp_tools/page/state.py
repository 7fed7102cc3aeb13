"""PURE: where one is: the path and the parameters that make a view, and links that change some of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class Here:
    """A view's whole state, as it stands in the URL."""

    path: str
    params: Mapping[str, str]

    def link(self, path: str | None = None, **changes: object) -> str:
        """Return the URL of this state with changes; None or an empty text takes a parameter away."""
        params = {**self.params, **{name: "" if v is None else str(v) for name, v in changes.items()}}
        return href(path or self.path, params)

    def twin(self, kind: str, **changes: object) -> str:
        """Return the URL of the same question in another form: json, jsonl, csv."""
        return self.link(f"{self.path}.{kind}", **changes)


def href(path: str, params: Mapping[str, object] | None = None) -> str:
    """Return a URL on this server; empty parameters are left out."""
    given = {name: str(v) for name, v in (params or {}).items() if v is not None and v != ""}
    query = urlencode(given, quote_via=quote, safe=":/@")
    return quote(path) + (f"?{query}" if query else "")


def local(target: str, default: str = "/logs") -> str:
    """Return ``target`` where it is a path on this server, else ``default``: a login must not send anybody away."""
    plain = target.isprintable() and "\\" not in target
    return target if plain and target.startswith("/") and not target.startswith("//") else default
