"""The lines of the audit trail: written and read, never changed."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from gateway.ports import AuditEvent
from gateway.store.backend import Unit
from gateway.store.schema import audit

_A = audit.c
_INSERT = audit.insert()


class SqlAudit:
    """The audit trail: append only."""

    def __init__(self, unit: Unit) -> None:
        self._connection = unit.connection

    def write(self, events: Iterable[AuditEvent]) -> None:
        """Append events."""
        rows = [
            {
                "at": event.at,
                "action": event.action,
                "actor": event.actor,
                "subject": event.subject,
                "detail": event.detail,
            }
            for event in events
        ]
        if rows:
            self._connection.execute(_INSERT, rows)

    def find(self, *, subject: str = "", action: str = "", limit: int = 200) -> list[AuditEvent]:
        """Return events, newest first."""
        query = select(audit).order_by(_A.id.desc()).limit(limit)
        if subject:
            query = query.where(_A.subject == subject)
        if action:
            query = query.where(_A.action == action)
        rows = self._connection.execute(query)
        return [AuditEvent(row.at, row.action, row.actor, row.subject, row.detail) for row in rows]
