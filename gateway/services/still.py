"""Whether what was released once may be sent once more: consent is asked each time something leaves."""

from __future__ import annotations

from datetime import datetime

from gateway.model.delivery import ChangeKind
from gateway.ports import Transaction, Unreceipted
from gateway.release.consent import Entitlement, entitlement
from gateway.release.policy import Policy
from gateway.services.subjects import subjects_of


def may_still_leave(policy: Policy, tx: Transaction, event: Unreceipted, now: datetime) -> bool:
    """Say whether an event that was released before may be published again now (UTC).

    A retraction always may, and so may what belongs to no patient. Of a patient: while the view is entitled.
    """
    if event.routing_key.endswith(f".{ChangeKind.RETRACTED}"):
        return True
    delivery = tx.deliveries.get(event.delivery)
    if delivery is None:
        return False
    rights = policy.rights(delivery.view)
    if rights is None or not delivery.patient:
        return rights is not None
    patient = tx.resources.canonical((delivery.patient,))[delivery.patient]
    subject = subjects_of(tx, patient, policy).subjects.get(delivery.view.study)
    return isinstance(entitlement(subject, rights.recipient, now), Entitlement)
