"""The circuits of the recipients, the processes that run, and what waits where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import func, literal, select, text, union_all

from gateway.ports import Breaker, Process, QueueLine
from gateway.store.backend import Unit, replacing
from gateway.store.schema import (
    IS_DEAD,
    IS_DUE,
    IS_SENDING,
    IS_STORED,
    breakers,
    deliveries,
    messages,
    processes,
)

_B = breakers.c
_FEEDS = (
    select(messages.c.feed, func.count().label("waiting"), func.min(messages.c.received_at).label("oldest"))
    .where(text(IS_STORED))
    .group_by(messages.c.feed)
    .order_by(messages.c.feed)
)


def _owed(condition: str, *groups: Any, dead: bool = False) -> Any:
    """Return how many deliveries are in a state and since when, and whether that is dead: a query by its own index."""
    columns = deliveries.c.recipient, func.count().label("count"), func.min(deliveries.c.due_at).label("oldest")
    return select(*columns, literal(dead).label("dead")).where(text(condition)).group_by(*groups)


_RECIPIENTS = union_all(
    _owed(IS_DUE, deliveries.c.recipient),
    _owed(IS_SENDING, deliveries.c.recipient, deliveries.c.lease_until),
    _owed(IS_DEAD, deliveries.c.recipient, dead=True),
)
"""One statement: between two a delivery that is set back, or claimed, would be in neither state and seem to be paid."""


class SqlBreakers:
    """The circuits of the recipients."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def get(self, recipient: str) -> Breaker:
        """Return a recipient's circuit (closed when nothing is known)."""
        row = self._connection.execute(select(breakers).where(_B.recipient == recipient)).one_or_none()
        if row is None:
            return Breaker(recipient)
        return Breaker(row.recipient, row.failures, row.open_until, row.reason)

    def set(self, breaker: Breaker) -> None:
        """Write a circuit."""
        row = {
            "recipient": breaker.recipient,
            "failures": breaker.failures,
            "open_until": breaker.open_until,
            "reason": breaker.reason,
        }
        self._connection.execute(replacing(self._unit.backend.insert, breakers, "recipient"), row)


class SqlProcesses:
    """Which processes run."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def beat(self, process: Process) -> None:
        """Say that a process runs."""
        row = {
            "owner": process.owner,
            "roles": " ".join(process.roles),
            "began_at": process.began_at,
            "seen_at": process.seen_at,
        }
        self._connection.execute(replacing(self._unit.backend.insert, processes, "owner"), row)

    def leave(self, owner: str) -> None:
        """Say that it has ended."""
        self._connection.execute(processes.delete().where(processes.c.owner == owner))

    def list_all(self) -> list[Process]:
        """Return every process that has not said it ended, by name."""
        found = self._connection.execute(select(processes).order_by(processes.c.owner))
        return [Process(row.owner, tuple(row.roles.split()), row.began_at, row.seen_at) for row in found]


def feed_queues(unit: Unit) -> list[QueueLine]:
    """Return what waits per feed."""
    return [QueueLine(row.feed, row.waiting, row.oldest) for row in unit.connection.execute(_FEEDS)]


def recipient_queues(unit: Unit) -> list[QueueLine]:
    """Return what waits per recipient: due and under way, since when it is due, and how many are dead."""
    lines: dict[str, QueueLine] = {}
    for name, count, oldest, dead in unit.connection.execute(_RECIPIENTS):
        line = lines.get(name, QueueLine(name, 0, None))
        if dead:
            lines[name] = replace(line, dead=count)
        else:
            since = min((moment for moment in (line.oldest, oldest) if moment is not None), default=None)
            lines[name] = replace(line, waiting=line.waiting + count, oldest=since)
    return [lines[name] for name in sorted(lines)]
