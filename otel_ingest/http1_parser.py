"""httptools' parser of requests, for a protocol that takes no offer to speak something else, or only some.

httptools takes what stands behind such a request's headers for that other protocol, its body too, which uvicorn drops
(https://github.com/Kludex/uvicorn/issues/2722): the clients of Java and of JetBrains offer HTTP/2 with each request. A
server may ignore the offer (RFC 9110, 7.8). Here the head is read again without it, by a parser that is new.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import httptools


class Target(Protocol):
    """A protocol as httptools calls it, with the head that was parsed; one with an offer comes again without."""

    url: bytes

    def head(self) -> Iterable[tuple[bytes, bytes]]:
        """Return the headers, names in lower case."""

    def takes_offer(self) -> bool:
        """Return whether the offer of these headers is taken: httptools.HttpParserUpgrade is raised then."""


class Parser:
    """One connection's."""

    feed_once: Callable[[bytes], None]
    get_method: Callable[[], bytes]
    get_http_version: Callable[[], str]
    should_keep_alive: Callable[[], bool]
    should_upgrade: Callable[[], bool]

    def __init__(self, target: Target) -> None:
        self._target = target
        self._renew()

    def feed_data(self, data: bytes) -> None:
        """Parse what came. Raises httptools.HttpParserError; httptools.HttpParserUpgrade for an offer that is taken."""
        while data:
            try:
                self.feed_once(data)
            except httptools.HttpParserUpgrade as offer:
                if self._target.takes_offer():
                    raise
                head = self._without_offer()
                self._renew()
                data = head + data[offer.args[0] :]
            else:
                return

    def _without_offer(self) -> bytes:
        method, version = self.get_method(), self.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is for proxies")
        closes, kept = False, []
        for name, value in self._target.head():
            if name == b"connection":
                closes = closes or b"close" in value.lower()
            elif name != b"upgrade":
                kept.append(b"%s: %s\r\n" % (name, value))
        kept.append(b"connection: close\r\n" if closes else b"")
        return b"%s %s HTTP/%s\r\n%s\r\n" % (method, self._target.url, version, b"".join(kept))

    def _renew(self) -> None:
        parser = httptools.HttpRequestParser(self._target)
        # Behind a request that says "close" more may lie, which is not read: its answer counts.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.feed_once, self.get_method, self.get_http_version = (
            parser.feed_data, parser.get_method, parser.get_http_version,
        )  # fmt: skip
        self.should_keep_alive, self.should_upgrade = parser.should_keep_alive, parser.should_upgrade
