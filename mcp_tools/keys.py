"""The public keys of an OAuth issuer: found, fetched and kept, with bounds on all three."""

import asyncio
import json
from collections.abc import Callable
from time import monotonic
from urllib.parse import urlsplit, urlunsplit

import httpx2
import jwt
import structlog

from storage.errors import RetryableStoreError

_log = structlog.get_logger(__name__)

FRESH_S = 600.0
"""Keys younger than this are not asked for again, but for one that is not among them."""
ASK_AGAIN_S = 30.0
"""Between two questions, however many tokens name keys that nobody knows."""
STALE_S = 86_400.0
"""For so long the last keys count while the issuer does not answer."""
_ANSWER_S = 5.0
_BYTES_MAX = 1024 * 1024
_WELL_KNOWN = ("oauth-authorization-server", "openid-configuration")


class IssuerKeys:
    """Keys of ``issuer`` by their id; ``jwks_url`` None: as the issuer's metadata says (RFC 8414, OpenID Discovery)."""

    def __init__(self, issuer: str, jwks_url: str | None, clock: Callable[[], float] = monotonic) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._turn = asyncio.Lock()

    async def key(self, identifier: str) -> jwt.PyJWK | None:
        """Return the key, or None where the issuer has no such. Raises RetryableStoreError: it cannot be told now."""
        if self._wanted(identifier):
            async with self._turn:
                if self._wanted(identifier):
                    await self._refresh()
        if self._age() > STALE_S:
            raise RetryableStoreError(f"the keys of {self._issuer} cannot be fetched")
        return self._keys.get(identifier)

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _wanted(self, identifier: str) -> bool:
        if self._age() < FRESH_S and identifier in self._keys:
            return False
        return self._asked_at is None or self._clock() - self._asked_at >= ASK_AGAIN_S

    async def _refresh(self) -> None:
        self._asked_at = self._clock()
        try:
            async with httpx2.AsyncClient(timeout=_ANSWER_S, follow_redirects=False) as http:
                url = self._jwks_url or await self._discover(http)
                found = jwt.PyJWKSet.from_dict(await _json(http, url))
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, jwt.PyJWTError) as error:
            _log.error("the keys of the OAuth issuer cannot be fetched", issuer=self._issuer, reason=str(error)[:300])
            return
        self._keys = {k.key_id: k for k in found.keys if k.key_id and k.public_key_use in {None, "sig"}}
        self._fetched_at = self._clock()

    async def _discover(self, http: httpx2.AsyncClient) -> str:
        """Return where the keys are. Raises ValueError: no metadata, or another issuer's."""
        scheme, host, path, *_ = urlsplit(self._issuer)
        path = path.rstrip("/")
        places = [urlunsplit((scheme, host, f"/.well-known/{name}{path}", "", "")) for name in _WELL_KNOWN]
        if path:  # OpenID Connect appends it to the path
            places.append(urlunsplit((scheme, host, f"{path}/.well-known/{_WELL_KNOWN[1]}", "", "")))
        for place in places:
            try:
                metadata = await _json(http, place)
            except (httpx2.HTTPStatusError, ValueError):
                continue
            if metadata.get("issuer") != self._issuer:
                raise ValueError(f"{place} is the metadata of the issuer {str(metadata.get('issuer'))[:100]!r}")
            url = str(metadata.get("jwks_uri", ""))
            if urlsplit(url).scheme != scheme:
                raise ValueError(f"{place} names no jwks_uri of the scheme {scheme}")
            return url
        raise ValueError(f"no metadata at {', '.join(places)}; set oauth_jwks_url")


async def _json(http: httpx2.AsyncClient, url: str) -> dict[str, object]:
    """Return a JSON object. Raises httpx2.HTTPError, ValueError."""
    async with http.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        answer.raise_for_status()
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > _BYTES_MAX:
                raise ValueError(f"{url} answers more than {_BYTES_MAX} bytes")
    parsed = json.loads(bytes(body))
    if isinstance(parsed, dict):
        return parsed
    raise ValueError(f"{url} is not a JSON object")
