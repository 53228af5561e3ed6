"""Packing what a cursor owes: every resource is decided on now, by ``release``, in one read transaction.

A change that may leave becomes an entry; one that may not, of something the view holds, becomes a retraction where the
view holds it wrongly (``gateway.release.retraction``). What an entry refers to travels before it, unless the view has
it already; a reference to what the view may not have is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.errors import StoreError
from gateway.model.delivery import Delivery, Packed
from gateway.ports import Store
from gateway.release.policy import Policy
from gateway.services.packing import StudyPacking
from gateway.services.patient_packing import PatientPacking


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

        What is wrong with one cursor stands in its place and spoils no other. Raises ``StoreError``.
        """
        return [self._packed(delivery, now) for delivery in deliveries]

    def _packed(self, delivery: Delivery, now: datetime) -> Packed | Exception:
        try:
            return self._pack(delivery, now)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 (whoever asked decides what becomes of this cursor)
            return error

    def _pack(self, delivery: Delivery, now: datetime) -> Packed:
        limit = delivery.planned if delivery.window is None else delivery.window
        rights = self._policy.rights(delivery.view)
        if rights is None:
            return Packed(None, limit)
        with self._store.begin(write=False) as tx:
            if not delivery.patient:
                return StudyPacking(tx, rights, delivery, now).packed(limit)
            packing = PatientPacking(tx, rights, delivery, now, self._policy)
            if packing.merged_away():
                return Packed(None, limit)  # the survivor's cursor owes what this one did
            return packing.packed(limit)
