"""Subscriptions, their triggers and their events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, delete, exists, func, or_, select, update

from gateway.errors import StoreError
from gateway.model.subscription import Happening, Subscription, SubscriptionState, Terms, Trigger
from gateway.ports.subscriptions import Listener, Telling
from gateway.store.api_tables import clients
from gateway.store.backend import Unit, chunks
from gateway.store.clients import views_of
from gateway.store.subscription_tables import (
    subscription_events,
    subscription_triggers,
    subscriptions,
    terms_place,
)

_S, _T, _E = subscriptions.c, subscription_triggers.c, subscription_events.c
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Terms)
_PROGRESS: Final = ("events", "settled", "sending", "failures", "failed_at", "told_at", "due_at", "detail")
_OFF: Final = SubscriptionState.OFF.value

_LISTENING: Final = (
    select(subscriptions, clients.c.views)
    .join_from(subscriptions, clients, clients.c.name == _S.client)
    .where(_S.state != _OFF, clients.c.revoked_at.is_(None))
    .order_by(_S.id)
)
_GET: Final = select(subscriptions).where(_S.id == bindparam("id_"))
_RIPE: Final = or_(_T.due_at.is_(None), _T.due_at <= bindparam("now_", type_=_T.due_at.type))
_TRIGGERED: Final = exists().where(_T.subscription == _S.id, _RIPE)
_FREE: Final = or_(_S.lease_until.is_(None), _S.lease_until <= bindparam("now_", type_=_S.lease_until.type))
_DUE: Final = or_(_S.due_at <= bindparam("now_", type_=_S.due_at.type), _TRIGGERED)
_ANY_DUE: Final = select(_S.id).where(_S.state != _OFF, _FREE, _DUE).limit(1)
_NEXT: Final = (
    select(subscriptions)
    .where(_S.state != _OFF, _FREE, _DUE, _S.client.not_in(bindparam("without", expanding=True)))
    .order_by(func.coalesce(_S.due_at, bindparam("now_", type_=_S.due_at.type)), _S.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)


class SqlSubscriptions:
    """The subscriptions of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    # --- what clients asked for -------------------------------------------------------------------------------------

    def add(self, subscription: Subscription) -> None:
        """Add a subscription."""
        self._connection.execute(subscriptions.insert(), self._row(subscription))

    def get(self, id: str, *, lock: bool = False) -> Subscription | None:
        """Return a subscription; with ``lock`` it stays as it is until the transaction ends."""
        row = self._connection.execute(_GET.with_for_update() if lock else _GET, {"id_": id}).one_or_none()
        return None if row is None else self._subscription(row)

    def of_client(self, client: str) -> list[Subscription]:
        """Return the subscriptions of a client, in the order of their ids."""
        found = self._connection.execute(select(subscriptions).where(_S.client == client).order_by(_S.id))
        return [self._subscription(row) for row in found]

    def every(self) -> list[Subscription]:
        """Return every subscription."""
        found = self._connection.execute(select(subscriptions).order_by(_S.client, _S.id))
        return [self._subscription(row) for row in found]

    def listeners(self) -> list[Listener]:
        """Return the subscriptions that wait for changes: not those that are off or whose client was revoked."""
        found = self._connection.execute(_LISTENING)
        return [Listener(self._subscription(row), views_of(row.views)) for row in found]

    def save(self, subscription: Subscription) -> None:
        """Replace what a subscription is and how far it is; a lease on it stays."""
        self._connection.execute(update(subscriptions).where(_S.id == subscription.id).values(self._row(subscription)))

    def drop(self, id: str) -> None:
        """Take a subscription away, with its triggers and events."""
        self._connection.execute(delete(subscriptions).where(_S.id == id))
        self._connection.execute(delete(subscription_triggers).where(_T.subscription == id))
        self._connection.execute(delete(subscription_events).where(_E.subscription == id))

    # --- what may have happened -------------------------------------------------------------------------------------

    def note(self, triggers: Sequence[Trigger]) -> None:
        """Append what may be events. Those of one patient keep the order of their commits."""
        rows = [{name: getattr(one, name) for name in one.__struct_fields__ if name != "id"} for one in triggers]
        if rows:
            self._connection.execute(subscription_triggers.insert(), rows)

    def triggers(self, id: str, now: datetime, limit: int) -> list[Trigger]:
        """Return what a subscription has not decided on yet, of what can be by now, oldest first."""
        query = select(subscription_triggers).where(_T.subscription == id, _RIPE).order_by(_T.id).limit(limit)
        return [Trigger(**row._mapping) for row in self._connection.execute(query, {"now_": now})]

    # --- telling ----------------------------------------------------------------------------------------------------

    def is_due(self, now: datetime) -> bool:
        """Whether there may be one to claim."""
        return self._connection.execute(_ANY_DUE, {"now_": now}).first() is not None

    def claim(self, now: datetime, owner: str, lease: timedelta, without: Collection[str] = ()) -> Subscription | None:
        """Claim one for which something is to be done, longest due first, of no client in ``without``."""
        row = self._connection.execute(_NEXT, {"now_": now, "without": list(without)}).one_or_none()
        if row is None:
            return None
        held = {"lease_until": now + lease, "lease_owner": owner}
        self._connection.execute(update(subscriptions).where(_S.id == row.id).values(held))
        return self._subscription(row).but(lease_until=now + lease)

    def begin(self, subscription: Subscription, told: Telling, owner: str) -> bool:
        """Write events and what is under way; the lease stays. False when it went to somebody else."""
        row = self._held(subscription, owner)
        if row is None:
            return False
        if told.happened:
            rows = [self._event(subscription.id, one) for one in told.happened]
            self._connection.execute(subscription_events.insert(), rows)
        for some in chunks(sorted(told.decided)):
            self._connection.execute(delete(subscription_triggers).where(_T.id.in_(some)))
        values: dict[str, Any] = {"events": subscription.events, "sending": subscription.sending}
        if row.version == subscription.version:
            values["due_at"] = subscription.due_at
        self._connection.execute(update(subscriptions).where(_S.id == subscription.id).values(values))
        return True

    def settle(self, subscription: Subscription, owner: str) -> Subscription | None:
        """Write how far a claimed one has come, and let go of it; None when the lease went to somebody else."""
        row = self._held(subscription, owner)
        if row is None:
            return None
        names = _PROGRESS if row.version == subscription.version else ("events", "settled", "sending")
        values: dict[str, Any] = {name: getattr(subscription, name) for name in names}
        values |= {"lease_until": None, "lease_owner": None}
        if row.version == subscription.version:
            values["state"] = subscription.state.value
        self._connection.execute(update(subscriptions).where(_S.id == subscription.id).values(values))
        return self.get(subscription.id)

    def events(self, id: str, after: int, upto: int, limit: int) -> list[Happening]:
        """Return events with ``after`` < number <= ``upto``, ascending."""
        query = select(subscription_events).where(_E.subscription == id, _E.number > after, _E.number <= upto)
        found = self._connection.execute(query.order_by(_E.number).limit(limit))
        names = Happening.__struct_fields__
        return [Happening(**{name: getattr(row, name) for name in names}) for row in found]

    def forget(self, before: datetime) -> int:
        """Take away settled events older than this and return how many."""
        settled = select(_S.settled).where(_S.id == _E.subscription).scalar_subquery()
        old = delete(subscription_events).where(_E.at < before, _E.number <= func.coalesce(settled, _E.number))
        return self._connection.execute(old).rowcount

    def release(self, owner: str) -> None:
        """Let go of what this owner held when it died."""
        free = {"lease_until": None, "lease_owner": None}
        self._connection.execute(update(subscriptions).where(_S.lease_owner == owner).values(free))

    def _held(self, subscription: Subscription, owner: str) -> Any:
        """Return the row of a subscription whose lease is still this owner's; it stays locked."""
        query = _GET.where(_S.lease_owner == owner, _S.lease_until == subscription.lease_until).with_for_update()
        return self._connection.execute(query, {"id_": subscription.id}).one_or_none()

    # --- rows -------------------------------------------------------------------------------------------------------

    def _row(self, one: Subscription) -> dict[str, Any]:
        terms = self._unit.cipher.seal(_ENCODER.encode(one.terms), terms_place(one.id))
        written: dict[str, Any] = {"id": one.id, "client": one.client, "state": one.state.value, "terms": terms}
        written |= {"updated_at": one.updated_at, "version": one.version}
        return written | {name: getattr(one, name) for name in _PROGRESS}

    def _subscription(self, row: Any) -> Subscription:
        try:
            terms = _DECODER.decode(self._unit.cipher.open(bytes(row.terms), terms_place(row.id)))
        except msgspec.MsgspecError:
            raise StoreError("subscriptions: what a client asked for was changed outside the gateway") from None
        return Subscription(
            id=row.id,
            client=row.client,
            state=SubscriptionState(row.state),
            terms=terms,
            updated_at=row.updated_at,
            version=row.version,
            lease_until=row.lease_until,
            **{name: getattr(row, name) for name in _PROGRESS},
        )

    def _event(self, id: str, one: Happening) -> dict[str, Any]:
        return {"subscription": id} | {name: getattr(one, name) for name in one.__struct_fields__}
