"""Subscriptions, put together from settings: their routes, and who tells their endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.bootstrap.loop import Loop
from gateway.bootstrap.parts import utc_now

if TYPE_CHECKING:
    from gateway.api.fhir.exchange import Rule
    from gateway.api.fhir.reading import Shelf
    from gateway.ports import Hook, Store
    from gateway.release.policy import Policy
    from gateway.services.notify_worker import NotifyWorker
    from gateway.settings import Settings


class Telling(Loop):
    """The loop that tells endpoints, and the connections to them."""

    def __init__(self, worker: NotifyWorker, hook: Hook) -> None:
        self._hook = hook
        super().__init__("notify", worker.run)

    def stop(self) -> None:
        """Finish what is begun, and let go of the connections."""
        super().stop()
        self._hook.close()


def hook_of(settings: Settings) -> Hook:
    """Return the way to the endpoints that are allowed. Raises ``ConfigurationError`` when a PEM file is missing."""
    from adapters.recipient.rest_hook import RestHook
    from gateway.model.endpoints import Endpoints
    from gateway.tls import client_context

    wanted = settings.gateway.fhir
    context = client_context(str(settings.folder / "gateway.toml"), wanted.subscription_ca_file)
    return RestHook(Endpoints(wanted.subscription_endpoints, wanted.private_networks), context, utc_now)


def subscribing_rules(settings: Settings, shelf: Shelf) -> list[Rule]:
    """Return the routes of Subscription; what is read and searched of it is put on the shelf."""
    from gateway.api.fhir.subscriptions import subscription_rules, subscription_sources
    from gateway.services.subscribe import Subscribe

    subscribe = Subscribe(shelf.store, shelf.sight, hook_of(settings))
    shelf.sources.update(subscription_sources(subscribe))
    return subscription_rules(subscribe)


def telling_of(settings: Settings, store: Store, policy: Policy, owner: str) -> Telling:
    """Return who tells the endpoints, begun; what this owner held when it died is let go of."""
    from gateway.services.concerns import Concerns
    from gateway.services.enrolments import Enrolments
    from gateway.services.notify import Notify
    from gateway.services.notify_worker import NotifyWorker
    from gateway.services.pull import Sight

    hook = hook_of(settings)
    notify = Notify(store, Sight(policy, Enrolments(policy), Concerns()), hook, utc_now, owner)
    keep = timedelta(days=settings.gateway.fhir.subscription_event_days)
    with store.begin() as tx:
        tx.subscriptions.release(owner)
    worker = NotifyWorker(notify, store, utc_now, keep, settings.gateway.deliver.threads)
    return Telling(worker, hook)
