"""Packing what a cursor owes: every resource is decided on now, by ``release``, in one read transaction.

A change that may leave becomes an entry; one that may not, of something the view holds, becomes a retraction where the
view holds it wrongly (``gateway.release.retraction``). What an entry refers to travels before it, unless the view has
it already; a reference to what the view may not have is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.errors import StoreError, StoreUnavailable
from gateway.model.delivery import Delivery, Packed
from gateway.ports import Store, Transaction
from gateway.release.policy import Policy, Rights
from gateway.services.packing import StudyPacking
from gateway.services.patient_packing import PatientPacking
from gateway.services.reading import Owed, Reading, limit_of


class Packager:
    """Packs deliveries. Safe from any thread."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy

    def package(self, delivery: Delivery, now: datetime) -> Packed:
        """Pack what a cursor owes up to its window, or else all that is planned. ``now`` is UTC."""
        (packed,) = self.package_many([delivery], now)
        if isinstance(packed, Exception):
            raise packed
        return packed

    def package_many(self, deliveries: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
        """Pack several cursors at one moment, in their order. ``now`` is UTC.

        One read transaction serves them all. What is wrong with one cursor stands in its place and spoils no other.
        Raises ``StoreUnavailable``.
        """
        try:
            with self._store.begin(write=False) as tx:
                return self._together(tx, deliveries, now)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 (whoever asked decides what becomes of a cursor)
            if len(deliveries) == 1:
                return [error]
        # A row that cannot be read spoils the statement it is read with: find out whose it is.
        return [self.package_many([delivery], now)[0] for delivery in deliveries]

    def _together(self, tx: Transaction, deliveries: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
        reading = Reading(tx, self._policy, now)
        known = [(each, self._policy.rights(each.view)) for each in deliveries]
        cursors = [(each, rights) for each, rights in known if rights is not None]
        owed = iter(reading.owed(cursors))
        return [
            Packed(None, limit_of(each)) if rights is None else _packed(reading, each, rights, next(owed))
            for each, rights in known
        ]


def _packed(reading: Reading, delivery: Delivery, rights: Rights, owed: Owed) -> Packed | Exception:
    if owed.merged_away:
        return Packed(None, limit_of(delivery))  # the survivor's cursor owes what this one did
    kind = PatientPacking if delivery.patient else StudyPacking
    try:
        return kind(reading, rights, delivery, owed).packed()
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 (whoever asked decides what becomes of this cursor)
        return error
