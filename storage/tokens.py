"""Tokens: shown once, stored as SHA-256 only; a role each."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.dberrors import translate
from storage.models import tokens

ROLES = ("ingest", "read", "control", "admin")
# A bigint holds any number of 18 digits.
_ID_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it is stored: everything but itself."""

    id: int
    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_FORM = re.compile(r"oti_[a-z]{1,20}_[A-Za-z0-9_-]{43}", re.ASCII)
_TOUCH_EVERY = timedelta(minutes=1)
_FIND = text("SELECT * FROM otel_ingest_find_token(:hash)")
_TOUCH = text("SELECT otel_ingest_touch_tokens(ARRAY[CAST(:id AS bigint)])")
_COLUMNS = [c for c in tokens.c if c.name != "token_hash"]


def allows(role: str, needed: str) -> bool:
    """Whether a token of ``role`` may do what needs ``needed``: each role is one alone, admin is all of them.

    An OAuth token may have several, as in ``read+control``; one without any may do nothing.
    """
    return not {needed, "admin"}.isdisjoint(role.split("+"))


async def create(engine: AsyncEngine, name: str, role: str, expires_at: datetime | None = None) -> tuple[str, Token]:
    """Make a token; return its text, which is nowhere else from now on, and what is stored. Raises StoreError."""
    if role not in ROLES:
        raise ValueError(f"role {role!r} is none of {', '.join(ROLES)}")
    plaintext = f"oti_{role}_{secrets.token_urlsafe(32)}"
    values = {"name": name, "role": role, "token_hash": _hash(plaintext), "expires_at": expires_at}
    try:
        async with engine.begin() as connection:
            row = (await connection.execute(insert(tokens).values(values).returning(*_COLUMNS))).one()
    except SQLAlchemyError as error:
        raise translate(error) from error
    return plaintext, Token(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


async def verify(engine: AsyncEngine, plaintext: str) -> Token | None:
    """Return the token when it is known, not expired and not revoked. Raises StoreError."""
    return (await find(engine, plaintext))[0] if is_well_formed(plaintext) else None


def is_well_formed(plaintext: str) -> bool:
    """Whether ``plaintext`` can be a token at all; what cannot is not worth a question."""
    return _FORM.fullmatch(plaintext) is not None


async def find(engine: AsyncEngine, plaintext: str) -> tuple[Token | None, float | None]:
    """Return the valid token, and for how many seconds it stays so (None: no end). Raises StoreError.

    The lookup is by SHA-256: how long it takes says nothing about the text, as nobody can steer a digest.
    ``last_used_at`` moves once a minute at most. The writer may call these two functions and not read the table.
    """
    try:
        async with engine.begin() as connection:
            row = (await connection.execute(_FIND, {"hash": _hash(plaintext)})).first()
            if row is None:
                return None, None
            used = row.last_used_at
            if used is None or datetime.now(UTC) - used > _TOUCH_EVERY:
                await connection.execute(_TOUCH, {"id": row.id})
    except SQLAlchemyError as error:
        raise translate(error) from error
    return Token(**{c.name: row._mapping[c.name] for c in _COLUMNS}), row.valid_s  # noqa: SLF001


async def list_tokens(engine: AsyncEngine) -> list[Token]:
    """Return all tokens, also those that are over. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            rows = await connection.execute(select(*_COLUMNS).order_by(tokens.c.id))
            return [Token(**row._mapping) for row in rows]  # noqa: SLF001
    except SQLAlchemyError as error:
        raise translate(error) from error


async def revoke(engine: AsyncEngine, name_or_id: str) -> int:
    """Revoke by name or id; return how many were still valid. Raises StoreError."""
    which = tokens.c.name == name_or_id
    if name_or_id.isascii() and name_or_id.isdigit() and len(name_or_id) <= _ID_DIGITS_MAX:
        which = or_(which, tokens.c.id == int(name_or_id))
    statement = update(tokens).where(which, tokens.c.revoked_at.is_(None)).values(revoked_at=func.now())
    try:
        async with engine.begin() as connection:
            return int((await connection.execute(statement)).rowcount)
    except SQLAlchemyError as error:
        raise translate(error) from error


def _hash(plaintext: str) -> bytes:
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).digest()
