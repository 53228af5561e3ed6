"""Which columns stand encrypted, under which keys, and bringing them under the active one (``gateway keys rotate``)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Table,
    Text,
    Tuple,
    Update,
    and_,
    bindparam,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from gateway.errors import StoreError
from gateway.ports import Resealed
from gateway.store.answers import REQUEST_PLACE
from gateway.store.api_tables import answers, export_parts, export_place, exports, part_place
from gateway.store.backend import Unit
from gateway.store.messages import row_place
from gateway.store.outbox import event_place
from gateway.store.pages import page_place
from gateway.store.schema import messages, outbox, pages
from gateway.store.subscription_tables import subscriptions, terms_place

_ROWS: Final = 500
_BYTES: Final = 8 * 1024 * 1024
"""Rows encrypted in one transaction, as stored: so that nobody waits long for them and they fit into memory."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A table with encrypted columns; ``place`` returns the associated data of one column of a row."""

    table: Table
    columns: tuple[str, ...]
    place: Callable[[Any, str], bytes]

    @property
    def values(self) -> list[ColumnElement[bytes]]:
        """The encrypted columns."""
        return [self.table.c[name] for name in self.columns]

    @property
    def key(self) -> list[ColumnElement[Any]]:
        """The columns of the primary key."""
        return list(self.table.primary_key)

    @property
    def row(self) -> Tuple:
        """The primary key as one value that can be compared."""
        return tuple_(*self.key)


SEALED: Final = (
    Sealed(messages, ("raw", "acknowledgment"), lambda row, name: row_place(row.id, row.digest, row.received_at, name)),
    Sealed(pages, ("body",), lambda row, _: page_place(row.page)),
    Sealed(outbox, ("body",), lambda row, _: event_place(row.recipient, row.message_id)),
    Sealed(answers, ("request",), lambda _row, _: REQUEST_PLACE),
    Sealed(exports, ("asked", "cursor"), lambda row, name: export_place(row.id, name)),
    Sealed(export_parts, ("about", "body"), lambda row, name: part_place(row.export, row.file, row.number, name)),
    Sealed(subscriptions, ("terms",), lambda row, _: terms_place(row.id)),
)
_SEALED: Final = {sealed.table.name: sealed for sealed in SEALED}

CLEAR: Final = {
    "messages.digest": "a keyed hash",
    "gaps.mark": "a keyed hash",
    "patient_keys.hash": "a keyed hash",
    "key_checks.check": "a keyed hash",
    "seals.mac": "a keyed hash",
    "seals.marks": "keyed hashes",
    "attempts.manifest": "internal ids, versions and kinds of change",
    "holdings.manifest": "internal ids, versions and kinds of change",
    "holdings.unsure": "internal ids",
    "answers.manifest": "internal ids and versions",
    "export_parts.manifest": "internal ids and versions",
    "clients.secret": "a keyed hash",
    "clients.old_secret": "a keyed hash",
    "tokens.hash": "a keyed hash",
    "assertions.jti": "a keyed hash",
}
"""Every other binary column, and why it needs no encryption."""


class SqlSealing:
    """The encrypted columns, in one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def tables(self) -> tuple[str, ...]:
        """Return the tables that hold encrypted values."""
        return tuple(_SEALED)

    def keys_in_use(self) -> dict[str, int]:
        """Return by key name how many rows are encrypted under it (a row with two counts for both). Reads every row."""
        found: dict[str, int] = {}
        for sealed in SEALED:
            names = [self._key_name(column).label(f"key_of_{column.name}") for column in sealed.values]
            for *used, rows in self._connection.execute(select(*names, func.count()).group_by(*names)):
                for name in {bytes(one).decode("utf-8", "replace") for one in used if one is not None}:
                    found[name] = found.get(name, 0) + rows
        return found

    def reseal(self, table: str, after: tuple[Any, ...]) -> Resealed:
        """Encrypt the next rows of a table that are not under the active key, ``after`` a row (empty: from the first).

        Values that somebody else changes at the same moment are left alone.
        """
        sealed = _SEALED[table]
        old = self._old(sealed, after)
        upto, complete = self._upto(sealed, old)
        if upto is None:
            return Resealed(0, None)
        changed, unreadable = [], []
        rows = select(sealed.table).where(old, sealed.row <= _values(sealed, upto)).order_by(*sealed.key)
        for row in self._connection.execute(rows):
            try:
                changed.append(self._resealed(sealed, row))
            except StoreError:
                unreadable.append("/".join(str(getattr(row, column.name)) for column in sealed.key))
        if changed:
            self._connection.execute(_update(table), changed)
        return Resealed(len(changed), None if complete else upto, tuple(unreadable))

    def _key_name(self, column: ColumnElement[bytes]) -> ColumnElement[bytes]:
        """Return the key's name in an encrypted value: its first byte is the name's length."""
        first = func.substr(column, 1, 1)
        if self._connection.dialect.name == "postgresql":
            length: ColumnElement[int] = func.get_byte(first, 0)
        else:
            length = func.unicode(cast(first, Text))
        return func.substr(column, 2, length)

    def _old(self, sealed: Sealed, after: tuple[Any, ...]) -> ColumnElement[bool]:
        """Return what holds for the rows that have a value which is not under the active key."""
        head = self._unit.cipher.head
        old = or_(*(func.substr(column, 1, len(head)) != literal(head) for column in sealed.values))
        return and_(old, sealed.row > _values(sealed, after)) if after else old

    def _upto(self, sealed: Sealed, old: ColumnElement[bool]) -> tuple[tuple[Any, ...] | None, bool]:
        """Return the key of the last row to take in one transaction (None: there is no row), and whether it is all."""
        sizes = (func.coalesce(func.length(column), 0) for column in sealed.values)
        query = select(*sealed.key, sum(sizes, literal(0))).where(old).order_by(*sealed.key).limit(_ROWS)
        found = self._connection.execute(query).all()
        total = itertools.accumulate(row[-1] for row in found)
        taken = [
            row[:-1] for place, (row, size) in enumerate(zip(found, total, strict=True)) if not place or size <= _BYTES
        ]
        return (tuple(taken[-1]) if taken else None), len(taken) == len(found) < _ROWS

    def _resealed(self, sealed: Sealed, row: Any) -> dict[str, Any]:
        cipher = self._unit.cipher
        values = {f"{column.name}_": getattr(row, column.name) for column in sealed.key}
        for name in sealed.columns:
            value, place = getattr(row, name), sealed.place(row, name)
            values[f"old_{name}"] = value
            values[f"new_{name}"] = None if value is None else cipher.seal(cipher.open(value, place), place)
        return values


@cache
def _update(table: str) -> Update:
    """Return the UPDATE of one row's encrypted values, which misses a row that somebody else has changed."""
    sealed = _SEALED[table]
    same_row = [column == bindparam(f"{column.name}_") for column in sealed.key]
    same = [column.is_not_distinct_from(bindparam(f"old_{column.name}")) for column in sealed.values]
    changes: dict[str, Any] = {name: bindparam(f"new_{name}") for name in sealed.columns}
    return update(sealed.table).where(*same_row, *same).values(changes)


def _values(sealed: Sealed, key: tuple[Any, ...]) -> Tuple:
    return tuple_(*(literal(value, column.type) for value, column in zip(key, sealed.key, strict=True)))
