"""The troubles people are told of, and how often each feed usually speaks."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, func, select

from gateway.model.alert import Alert, Rhythm, Trouble
from gateway.ports.alerts import FeedNews
from gateway.store.backend import Unit, replacing
from gateway.store.schema import alerts, messages, rhythms

_M = messages.c
_A = alerts.c
_NEWEST = select(func.coalesce(func.max(_M.id), 0))
_NEWS = (
    select(_M.feed, func.count(), func.min(_M.received_at), func.max(_M.received_at), func.max(_M.id))
    .where(_M.id > bindparam("after_"))
    .group_by(_M.feed)
    .order_by(_M.feed)
)


class SqlAlerts:
    """The alerts of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def list_all(self) -> list[Alert]:
        """Return every trouble, the oldest first."""
        found = self._connection.execute(select(alerts).order_by(_A.began_at, _A.trouble, _A.subject))
        return [
            Alert(Trouble(row.trouble), row.subject, row.detail, row.began_at, row.ended_at, tuple(row.told.split()))
            for row in found
        ]

    def put(self, alert: Alert) -> None:
        """Write a trouble; there is one for each kind and subject."""
        row = {
            "trouble": alert.trouble.value,
            "subject": alert.subject,
            "detail": alert.detail,
            "began_at": alert.began_at,
            "ended_at": alert.ended_at,
            "told": " ".join(alert.told),
        }
        self._connection.execute(replacing(self._unit.backend.insert, alerts, "trouble", "subject"), row)

    def remove(self, trouble: Trouble, subject: str) -> None:
        """Forget a trouble."""
        self._connection.execute(delete(alerts).where(_A.trouble == trouble.value, _A.subject == subject))

    def newest(self) -> int:
        """Return the id of the newest message; 0 when there is none."""
        return int(self._connection.execute(_NEWEST).scalar_one())

    def news(self, after: int) -> list[FeedNews]:
        """Return what came in, by feed, with ids above ``after``."""
        return [FeedNews(*row) for row in self._connection.execute(_NEWS, {"after_": after})]

    def rhythms(self) -> list[Rhythm]:
        """Return what is known of each feed that has spoken."""
        found = self._connection.execute(select(rhythms).order_by(rhythms.c.feed))
        return [
            Rhythm(row.feed, row.last_at, row.since, row.longest / 1000, row.before / 1000, row.messages, row.seen)
            for row in found
        ]

    def put_rhythms(self, known: Iterable[Rhythm]) -> None:
        """Write what is known of feeds."""
        rows = [
            {
                "feed": one.feed,
                "last_at": one.last_at,
                "since": one.since,
                "longest": round(one.longest * 1000),
                "before": round(one.before * 1000),
                "messages": one.count,
                "seen": one.seen,
            }
            for one in known
        ]
        if rows:
            self._connection.execute(replacing(self._unit.backend.insert, rhythms, "feed"), rows)
