"""A small world for delivery tests: a real store, a clock that is set by hand, recipients that answer on order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.errors import StoreError
from gateway.model.delivery import Accepted, Delivery, Outcome, Package, Packed, Released, View
from gateway.ports import Store
from tests.contracts.packages import VIEW
from tests.contracts.stores import NOW


@dataclass
class HandClock:
    """Stands still until it is moved."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@dataclass
class ScriptedRecipient:
    """Answers with the outcomes in order, the last one for ever; keeps the packages. Runs ``before`` each answer."""

    outcomes: Sequence[Outcome | BaseException] = (Accepted(),)
    packages: list[Package] = field(default_factory=list)
    before: object = None

    def deliver(self, package: Package) -> Outcome:
        self.packages.append(package)
        if callable(self.before):
            self.before()
        outcome = self.outcomes[min(len(self.packages), len(self.outcomes)) - 1]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self) -> None:
        pass


@dataclass
class FixedPackager:
    """Packs what it is told, up to the window or what is planned. No entries: nothing may leave."""

    entries: tuple[Released, ...] = ()
    withheld: dict[str, int] = field(default_factory=dict)
    fails: Exception | None = None
    again_at: datetime | None = None

    def package(self, delivery: Delivery, now: datetime) -> Packed:
        if self.fails is not None:
            raise self.fails
        upto = delivery.planned if delivery.window is None else delivery.window
        repeat = delivery.window is not None
        made = Package(delivery.delivery_id, delivery.view, self.entries, repeat) if self.entries else None
        return Packed(made, upto, withheld=self.withheld, again_at=self.again_at)

    def package_many(self, deliveries: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
        return [self._packed(delivery, now) for delivery in deliveries]

    def _packed(self, delivery: Delivery, now: datetime) -> Packed | Exception:
        try:
            return self.package(delivery, now)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - as the port says
            return error


def plan(store: Store, now: datetime, upto: int = 10, view: View = VIEW, patient: str = "") -> int:
    """Plan a cursor and return its id."""
    with store.begin() as tx:
        tx.deliveries.plan({(view, patient): upto}, now)
        cursor = tx.deliveries.of_view(view, patient)
    assert cursor is not None
    return cursor.id
