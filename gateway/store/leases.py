"""Leases: what one process at a time may do."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, or_

from gateway.store.backend import Insert, Unit
from gateway.store.schema import leases

_L = leases.c


class SqlLeases:
    """The leases of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def claim(self, name: str, owner: str, now: datetime, lease: timedelta) -> bool:
        """Take or renew a lease; False while another holds it."""
        row = {"name": name, "owner": owner, "lease_until": now + lease, "now_": now}
        return self._unit.connection.execute(_claiming(self._unit.backend.insert), row).scalar() is not None

    def give_back(self, name: str, owner: str) -> None:
        """Let go of a lease, if it is this owner's."""
        self._unit.connection.execute(delete(leases).where(_L.name == name, _L.owner == owner))


@cache
def _claiming(insert: Insert) -> Any:
    claimed = insert(leases)
    free = or_(_L.owner == claimed.excluded.owner, _L.lease_until <= bindparam("now_", type_=_L.lease_until.type))
    taken = {"owner": claimed.excluded.owner, "lease_until": claimed.excluded.lease_until}
    return claimed.on_conflict_do_update(index_elements=["name"], set_=taken, where=free).returning(_L.name)
