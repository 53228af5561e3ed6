"""Who translates which lane."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, case, func, or_, select, text, tuple_, update

from gateway.errors import StaleClaim
from gateway.ports import LaneClaim
from gateway.store.backend import Unit
from gateway.store.schema import IS_STORED, lanes, messages

_L = lanes.c
_OLDEST = (
    select(func.min(messages.c.id))
    .where(text(IS_STORED), messages.c.lane == _L.lane)
    .correlate(lanes)
    .scalar_subquery()
)
_FREE = (
    select(_L.lane, _L.owner, _L.epoch)
    .where(
        or_(_L.owner.is_(None), _L.owner == bindparam("owner_"), _L.lease_until <= bindparam("now_")),
        _OLDEST.is_not(None),
    )
    .order_by(_OLDEST, _L.lane)
    .limit(bindparam("limit_"))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(lanes)
    .where(_L.lane.in_(bindparam("lanes_", expanding=True)))
    .values(
        owner=bindparam("owner_"),
        lease_until=bindparam("until_"),
        epoch=case((_L.owner == bindparam("owner_"), _L.epoch), else_=_L.epoch + 1),
    )
)
_HELD = (
    select(_L.lane, _L.owner, _L.epoch)
    .where(_L.lane.in_(bindparam("lanes_", expanding=True)))
    .order_by(_L.lane)
    .with_for_update()
)
_FREE_AGAIN = (
    update(lanes)
    .where(_L.owner == bindparam("owner_"), tuple_(_L.lane, _L.epoch).in_(bindparam("claims_", expanding=True)))
    .values(owner=None, lease_until=None)
)


class SqlLanes:
    """The lanes of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._connection = unit.connection

    def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> list[LaneClaim]:
        """Claim up to ``limit`` lanes that have stored messages and are free, expired or already this owner's.

        The lane with the oldest message comes first; what another worker is claiming at this moment is passed over.
        """
        free = self._connection.execute(_FREE, {"owner_": owner, "now_": now, "limit_": limit}).all()
        if not free:
            return []
        claims = [LaneClaim(row.lane, row.epoch if row.owner == owner else row.epoch + 1) for row in free]
        taken = [claim.lane for claim in claims]
        self._connection.execute(_TAKE, {"lanes_": taken, "owner_": owner, "until_": now + lease})
        return claims

    def confirm(self, claims: Sequence[LaneClaim], now: datetime) -> None:
        """Check at commit that the claims still hold (row locks on a server). Raises ``StaleClaim``.

        A lease that ran out while nobody else took the lane still holds: the row is locked until the commit.
        """
        if not claims:
            return
        rows = self._connection.execute(_HELD, {"lanes_": [claim.lane for claim in claims]})
        held = {(row.lane, row.epoch) for row in rows if row.owner is not None}
        lost = sorted(claim.lane for claim in claims if (claim.lane, claim.epoch) not in held)
        if lost:
            raise StaleClaim(f"lane {lost[0]} went to another worker")

    def renew(self, owner: str, claims: Sequence[LaneClaim], until: datetime) -> None:
        """Hold claimed lanes until then. Raises ``StaleClaim`` when one went to another worker."""
        self.confirm(claims, until)
        if claims:
            held = [claim.lane for claim in claims]
            self._connection.execute(_TAKE, {"lanes_": held, "owner_": owner, "until_": until})

    def give_back(self, owner: str, claims: Sequence[LaneClaim]) -> None:
        """Free lanes; what went to somebody else meanwhile stays theirs."""
        if claims:
            given = [(claim.lane, claim.epoch) for claim in claims]
            self._connection.execute(_FREE_AGAIN, {"owner_": owner, "claims_": given})
