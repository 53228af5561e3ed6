"""The clock was set back: what waits for a moment waits as long as before, and no longer by what the clock lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Interval, case, literal, or_, select, type_coerce, update

from gateway.store.api_tables import exports
from gateway.store.backend import Unit
from gateway.store.schema import breakers, deliveries, lanes, leases, outbox
from gateway.store.subscription_tables import subscriptions

_D = deliveries.c
_MICROSECOND: Final = timedelta(microseconds=1)


def set_back(unit: Unit, now: datetime, by: timedelta) -> None:
    """Take moments of the time before the clock was set back by ``by`` as far back; ``now`` is what it shows now.

    What was due by then is due now. A lease that was taken since, by the clock as it is now, is left alone.
    """
    execute, server = unit.connection.execute, unit.connection.dialect.name == "postgresql"

    def earlier(column: Column[datetime]) -> Any:
        return column - literal(by, Interval) if server else type_coerce(column, BigInteger) - by // _MICROSECOND

    def waiting(column: Column[datetime]) -> Any:
        return case((column <= now, column), (column <= now + by, literal(now, column.type)), else_=earlier(column))

    def held(column: Column[datetime]) -> Any:
        return case((column > now + by, earlier(column)), else_=column)

    ahead = or_(_D.due_at > now, _D.published_at > now, _D.first_failed_at > now, _D.lease_until > now + by)
    concerned = select(_D.id).where(ahead)
    if server:  # in the order in which planning locks them
        concerned = concerned.order_by(_D.recipient.collate("C"), _D.study.collate("C"), _D.patient).with_for_update()
    moved = {name: waiting(_D[name]) for name in ("due_at", "published_at", "first_failed_at")}
    execute(update(deliveries).where(_D.id.in_(concerned)).values(**moved, lease_until=held(_D.lease_until)))
    execute(update(breakers).where(breakers.c.open_until > now).values(open_until=waiting(breakers.c.open_until)))
    execute(update(outbox).where(outbox.c.published_at > now).values(published_at=waiting(outbox.c.published_at)))
    for column in (subscriptions.c[name] for name in ("due_at", "told_at", "failed_at")):
        execute(update(subscriptions).where(column > now).values({column: waiting(column)}))
    for table in (lanes, leases, exports, subscriptions):
        until = table.c.lease_until
        execute(update(table).where(until > now + by).values(lease_until=held(until)))
