"""The ledgers of the audit trail: which tables, which columns of them never change, and up to where they are final.

``messages`` says what was received and refused, ``attempts`` what was released and delivered and why it might leave,
``answers`` what was shown to whom, ``audit`` everything else. A row is marked by a keyed digest of its columns, so
that a change of any is noticed.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from datetime import datetime
from struct import Struct
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, select, text

from gateway.ports import Horizon
from gateway.store.api_tables import answers
from gateway.store.backend import Unit
from gateway.store.schema import IS_SENDING, attempts, audit, deliveries, messages
from gateway.store.types import microseconds

BEFORE_ALL: Final = -(2**63)
"""Below the id of any row."""

MARK: Final = Struct(">q12s")
"""What is kept of a sealed row: its id and the beginning of its keyed digest."""

_M, _T, _D, _W = messages.c, attempts.c, deliveries.c, answers.c
_COLUMNS: Final[dict[str, Select[Any]]] = {
    "messages": select(
        _M.id, _M.feed, _M.site, _M.control_id, _M.message_type, _M.received_at, _M.positive, _M.digest
    ),
    "attempts": select(
        _T.id, _T.delivery, _T.number, _T.started_at, _T.settled_at, _T.outcome, _T.detail, _T.upto, _T.manifest,
        _T.grounds, _D.recipient, _D.study, _D.patient,
    ).outerjoin(deliveries, _D.id == _T.delivery),
    "audit": select(audit),
    "answers": select(_W.id, _W.at, _W.client, _W.interaction, _W.type, _W.status, _W.manifest),
}  # fmt: skip
"""What a message became is no column of its ledger: it changes, and the audit table says each time what to.

The raw bytes need none: they are encrypted, and bound to id, time and digest of their row.
"""

LEDGERS: Final = tuple(_COLUMNS)
_ROWS: Final = {
    name: columns.where(columns.selected_columns.id > bindparam("after_"))
    .where(columns.selected_columns.id <= bindparam("upto_"))
    .order_by(columns.selected_columns.id)
    for name, columns in _COLUMNS.items()
}
_YOUNGER: Final = {
    name: select(func.count()).where(columns.selected_columns.id > bindparam("after_"))
    for name, columns in _COLUMNS.items()
}
_NEWEST: Final = {name: select(func.max(columns.selected_columns.id)) for name, columns in _COLUMNS.items()}
_DRAWN: Final = text("SELECT coalesce(pg_sequence_last_value(CAST(:sequence AS regclass)), 0)")
_WRITING: Final = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'"
    " AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND relation IN ('messages_id_seq'::regclass, 'attempts_id_seq'::regclass, 'audit_id_seq'::regclass,"
    " 'answers_id_seq'::regclass)"
)
_UNDER_WAY: Final = select(func.min(_D.open_attempt)).where(text(IS_SENDING))


def horizon(unit: Unit) -> Horizon:
    """Return up to where the ledgers are written now.

    PostgreSQL hands ids out before they are committed, and gaps stay where a transaction is rolled back. Whoever drew
    an id holds a lock on its sequence until the transaction ends; so once those who hold one now have ended, every
    id drawn until now is a row for good or never. SQLite has one writer, and what is committed is final.
    """
    if unit.connection.dialect.name != "postgresql":
        newest = {name: unit.connection.execute(query).scalar() for name, query in _NEWEST.items()}
        return Horizon({name: BEFORE_ALL if id is None else id for name, id in newest.items()})
    drawn = {name: unit.connection.execute(_DRAWN, {"sequence": f"{name}_id_seq"}).scalar_one() for name in LEDGERS}
    return Horizon(drawn, _writing(unit))


def passed(unit: Unit, horizon: Horizon) -> bool:
    """Say whether every transaction that was writing then has ended."""
    return not horizon.writing or not horizon.writing & _writing(unit)


def final(unit: Unit, ledger: str, upto: int) -> int:
    """Return up to where a ledger may be sealed: an attempt under way is still to be rewritten."""
    if ledger != "attempts":
        return upto
    first = unit.connection.execute(_UNDER_WAY).scalar()
    return upto if first is None else min(upto, first - 1)


def marks(unit: Unit, ledger: str, after: int, upto: int, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield id and mark of a ledger's rows with ``after`` < id <= ``upto``, ascending."""
    query = _ROWS[ledger].limit(limit) if limit else _ROWS[ledger]
    for row in unit.connection.execute(query, {"after_": after, "upto_": upto}):
        yield row.id, unit.cipher.mark(ledger.encode() + b"|" + encoded(row))[:12]


def younger(unit: Unit, ledger: str, after: int) -> int:
    """Return how many rows a ledger has above an id."""
    return int(unit.connection.execute(_YOUNGER[ledger], {"after_": after}).scalar_one())


def encoded(values: Any) -> bytes:
    r"""Return a row's values as bytes: the same in both databases, different for any two rows.

    >>> encoded((7, "lab", None, b"\x00"))
    b'2|i74|slab1|n2|b\x00'
    """
    return b"".join(b"%d|%b" % (len(part), part) for part in map(_bytes, values))


def equal(one: bytes, other: bytes) -> bool:
    """Compare two keyed digests."""
    return hmac.compare_digest(one, other)


def _bytes(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, str):
        return b"s" + value.encode()
    if isinstance(value, datetime):
        return b"t%d" % microseconds(value)
    if isinstance(value, bytes):
        return b"b" + value
    return b"i%d" % value


def _writing(unit: Unit) -> frozenset[str]:
    return frozenset(unit.connection.execute(_WRITING).scalars())
