"""Operations: what comes in and what becomes of it, what is stored, who changed something."""

import asyncio
from dataclasses import asdict
from typing import Any

from mcp_tools.arguments import NS
from mcp_tools.page.gauges import gauges
from mcp_tools.page.histogram import draw
from mcp_tools.page.show import stamp
from mcp_tools.page.visit import Shown, Visit
from storage.errors import QueryTimeout, RetryableStoreError
from storage.filters import LogQuery
from storage.views import StoreInfo

_HOUR_S, _MINUTE_S = 3_600, 60
_GROUPS_MAX = 1_000
_AUDIT_ENTRIES = 50
_TOKENS = 20_000


async def view(visit: Visit) -> Shown:
    """Return the state of this server and its store; with the store away, the state of the server alone."""
    told = gauges((await visit.metrics()).decode())
    spooled = visit.reader.spooled()
    data: dict[str, Any] = {
        "receiver": told,
        "spool": None if spooled is None else asdict(spooled),
        "store": None,
        "away": None,
        "ping_ms": None,
        "minutes": [],
        "audit": None,
        "retention": None,
    }
    more = {"may_admin": visit.visitor.may("admin")}
    try:
        ping_s = await visit.reader.ping()
        store, minutes, audit = await asyncio.gather(visit.reader.store_info(), _minutes(visit), _audit(visit))
        retention = (await visit.call("logger_retention", {"max_tokens": _TOKENS})).data
    except RetryableStoreError as error:
        return Shown("operations.html", "Operations", data | {"away": str(error)}, more)
    data |= {"store": _store(store), "minutes": minutes, "ping_ms": round(ping_s * 1000, 2), "audit": audit}
    return Shown("operations.html", "Operations", data | {"retention": retention}, more)


def _store(info: StoreInfo) -> dict[str, Any]:
    tables = [
        {
            "name": name,
            "rows": info.rows.get(name, 0),
            "bytes": info.bytes.get(name, 0),
            "partitions": info.partitions.get(name, 0),
            "oldest": stamp(oldest) if (oldest := info.oldest_ns.get(name)) else None,
            "newest": stamp(newest) if (newest := info.newest_ns.get(name)) else None,
            "newest_ns": newest,
        }
        for name in info.oldest_ns
    ]
    return {"postgresql": info.postgresql_version, "tables": tables, "rejected_last_day": info.rejected_last_day}


async def _minutes(visit: Visit) -> list[dict[str, Any]]:
    """Return log records by minute of the last hour as bars; none where counting takes too long."""
    since = visit.now_ns - _HOUR_S * NS
    try:
        counts = await visit.reader.log_counts(LogQuery(since_ns=since), ["severity"], _MINUTE_S, _GROUPS_MAX)
    except QueryTimeout:
        return []
    bars = draw(counts, since, visit.now_ns, _MINUTE_S).bars
    return [asdict(bar) | {"total": bar.total, "start": stamp(bar.start_ns)} for bar in bars]


async def _audit(visit: Visit) -> list[dict[str, Any]] | None:
    """Return the newest entries of the audit log; None for who may change nothing: arguments are not for everybody."""
    if not visit.visitor.may("control") and not visit.visitor.may("admin"):
        return None
    entries = await visit.control.audit_entries(_AUDIT_ENTRIES)
    return [asdict(entry) | {"at": stamp(entry.at_ns)} for entry in entries]
