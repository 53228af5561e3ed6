"""What delivers, built from settings: who packs and who speaks to each recipient."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.bootstrap.parts import keys_of, open_store, policy_of, utc_now
from gateway.services.package import Packager

if TYPE_CHECKING:
    from gateway.model.recipient import Recipient
    from gateway.ports import Broker, RecipientAdapter, Store
    from gateway.services.package_process import ProcessPackager
    from gateway.settings import Settings


def packager_beside(settings: Settings) -> ProcessPackager:
    """Return a packager in a process of its own, which looks into the database file beside its owner."""
    from gateway.services.package_process import ProcessPackager

    return ProcessPackager(partial(_packager, settings))


def _packager(settings: Settings) -> Packager:
    return Packager(open_store(settings, read_only=True), policy_of(settings, keys_of(settings)))


def adapter_of(recipient: Recipient, store: Store, broker: Broker) -> RecipientAdapter:
    """Return who speaks to a recipient, by its kind."""
    if recipient.kind == "amqp":
        from adapters.recipient.amqp import Amqp
        from gateway.services.receipts import RecipientOutbox

        return Amqp(recipient, broker, RecipientOutbox(store, recipient.id, utc_now))
    if recipient.kind == "webhook":
        from adapters.recipient.webhook import Webhook

        return Webhook(recipient)
    from adapters.recipient.fhir_server import FhirServer

    return FhirServer(recipient)
