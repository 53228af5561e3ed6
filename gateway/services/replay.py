"""Sending again to one chosen recipient, from what is stored and with its settings of now."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.model.delivery import View
from gateway.model.recipient import Recipient
from gateway.ports import AuditEvent, Clock, Store, Transaction


def replay_delivery(store: Store, delivery: int, clock: Clock, *, actor: str, from_change: int | None = None) -> bool:
    """Make a delivery due again with fresh attempts; False when there is none of this id.

    ``from_change``: everything after this change number is sent again; None: from where it stands, which is what a
    ``dead`` delivery needs once its cause is mended.
    """
    now = clock()
    with store.begin() as tx:
        if tx.deliveries.get(delivery) is None:
            return False
        tx.deliveries.replay(delivery, now, from_change=from_change)
        tx.audit.write([AuditEvent(now, "delivery-replayed", actor, f"delivery/{delivery}")])
    return True


def replay_message(store: Store, message: int, recipient: Recipient, clock: Clock, *, actor: str) -> list[int]:
    """Send what a message became to one recipient again and return the deliveries that are due for it.

    Each cursor of the recipient that has anything to do with the message goes back to before its first change. What
    leaves is decided anew, so a change since then of consent or of the recipient's file counts. An empty list: the
    message became nothing, or nothing that concerns a view of this recipient.
    """
    now = clock()
    with store.begin() as tx:
        first: dict[str, int] = {}
        for version in tx.resources.of_message(message):
            first[version.patient] = min(version.change, first.get(version.patient, version.change))
        replayed = list(_replay(tx, recipient, first, clock))
        events = [
            AuditEvent(now, "delivery-replayed", actor, f"delivery/{delivery}", f"message {message}")
            for delivery in replayed
        ]
        tx.audit.write(events)
    return replayed


def _replay(tx: Transaction, recipient: Recipient, first: dict[str, int], clock: Clock) -> Iterable[int]:
    survivors = tx.resources.canonical([patient for patient in first if patient])
    for patient, change in first.items():
        for study in recipient.studies:
            cursor = tx.deliveries.of_view(View(recipient.id, study), survivors.get(patient, patient))
            if cursor is not None:
                tx.deliveries.replay(cursor.id, clock(), from_change=change - 1)
                yield cursor.id
