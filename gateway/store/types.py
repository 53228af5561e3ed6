"""Column types: how a moment, an internal id and a line of text stand in SQLite and in PostgreSQL."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, LargeBinary, Text, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""What ``""`` (a shared resource's patient) is stored as, so that unique indexes hold for it too."""

LONGEST_KEY: Final = 200
"""Longest indexed text in characters; PostgreSQL refuses index entries near 2,700 bytes."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """A moment: ``timestamptz`` in PostgreSQL, microseconds since 1970 in SQLite; aware UTC in Python."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        return dialect.type_descriptor(DateTime(timezone=True) if dialect.name == "postgresql" else BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse a moment without a zone: it would be read as another one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return value if dialect.name == "postgresql" else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return _EPOCH + timedelta(microseconds=value)


class Id(TypeDecorator[str]):
    """An internal id (UUID text): ``uuid`` in PostgreSQL, 16 bytes in SQLite; ``""`` is the nil UUID."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        return dialect.type_descriptor(Uuid(as_uuid=False) if dialect.name == "postgresql" else LargeBinary(16))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return what the driver takes."""
        if value is None:
            return None
        return (value or NOBODY) if dialect.name == "postgresql" else packed(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return UUID text, ``""`` for the nil UUID."""
        if value is None:
            return None
        text = value if isinstance(value, str) else unpacked(value)
        return "" if text == NOBODY else text


class Line(TypeDecorator[str]):
    """Text without what PostgreSQL cannot hold (NUL, lone surrogates): each becomes U+FFFD or ``?``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return text that both databases take."""
        return value if value is None else storable(value)


class Key(Line):
    """A ``Line`` that is indexed: beyond 200 characters the rest is replaced by its digest."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return text short enough for an index; the same text always becomes the same key."""
        return value if value is None else short(storable(value))


def microseconds(moment: datetime) -> int:
    """Return the microseconds between 1970-01-01T00:00:00Z and an aware moment."""
    return (moment - _EPOCH) // _MICROSECOND


def packed(id: str) -> bytes:
    """Return the 16 bytes of UUID text; ``""`` gives sixteen zero bytes. Raises ``ValueError`` for anything else.

    >>> packed("00000000-0000-5000-8000-0000000000ff").hex()
    '000000000000500080000000000000ff'
    """
    raw = bytes.fromhex(id.replace("-", "")) if id else bytes(16)
    if len(raw) != 16:
        raise ValueError("an internal id is a UUID")
    return raw


def unpacked(raw: bytes) -> str:
    """Return UUID text for 16 bytes.

    >>> unpacked(bytes(16))
    '00000000-0000-0000-0000-000000000000'
    """
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def storable(text: str) -> str:
    r"""Return text without NUL and lone surrogates.

    >>> storable("a\x00b\udcff")
    'a\ufffdb?'
    """
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def short(text: str) -> str:
    """Return text of at most 200 characters, unique for each longer text.

    >>> len(short("x" * 5000)), short("MSG1")
    (200, 'MSG1')
    """
    if len(text) <= LONGEST_KEY:
        return text
    return text[: LONGEST_KEY - 32] + hashlib.sha256(text.encode()).hexdigest()[:32]
