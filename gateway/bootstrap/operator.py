"""What the operator's commands need, built from settings and an open store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.bootstrap.parts import keys_of, policy_of, utc_now
from gateway.errors import GatewayError
from gateway.model.message import CLIENT_FEED
from gateway.ports import AuditEvent, Store
from gateway.services.explain import Explanation, explain
from gateway.services.map_code import Mapping, map_code
from gateway.services.replay import replay_delivery, replay_message
from gateway.services.status import status_lines
from gateway.settings import Settings


def status_of(settings: Settings, store: Store, now: datetime) -> list[dict[str, Any]]:
    """Return one line per feed and recipient."""
    return status_lines(store, settings.feeds, settings.receivers, now)


def map_gap(settings: Settings, store: Store, gap: int, mapping: Mapping) -> str:
    """Map a gap and say what happens next."""
    site_of = {feed.id: feed.site for feed in settings.feeds.values()}
    count = map_code(store, gap, site_of, mapping, utc_now())
    return f"gap {gap} is mapped; {count} message(s) will be translated again"


def explanation_of(
    settings: Settings, store: Store, recipient: str, *, patient: str, message: int | None, resource: str
) -> Explanation:
    """Explain a recipient's part of a patient's, a message's or a resource's data."""
    policy = policy_of(settings, keys_of(settings))
    return explain(store, policy, recipient, utc_now(), patient=patient, message=message, resource=resource)


class Replayer:
    """Sends again, or translates again, and says what happens next. ``actor`` stands in the audit trail."""

    def __init__(self, settings: Settings, store: Store, actor: str) -> None:
        self._settings = settings
        self._store = store
        self._actor = actor

    def message(self, message: int, recipient: str) -> str:
        """Translate a message again, or with ``recipient`` send what it became to that one recipient again."""
        if not recipient:
            return self._translate(message)
        if recipient not in self._settings.recipients:
            raise GatewayError(f"no recipient {recipient!r}; there are: {', '.join(self._settings.recipients)}")
        wanted = self._settings.recipients[recipient]
        made_due = replay_message(self._store, message, wanted, utc_now, actor=self._actor)
        if not made_due:
            return f"message {message} became nothing that {recipient} has a view of"
        return f"message {message}: {len(made_due)} delivery(ies) to {recipient} are due again"

    def delivery(self, delivery: int, *, everything: bool) -> str:
        """Make a delivery due again, from the start with ``everything``."""
        from_change = 0 if everything else None
        if not replay_delivery(self._store, delivery, utc_now, actor=self._actor, from_change=from_change):
            raise GatewayError(f"delivery {delivery}: there is none")
        return f"delivery {delivery} is due again"

    def _translate(self, message: int) -> str:
        now = utc_now()
        with self._store.begin() as tx:
            found = tx.messages.get(message)
            if found is not None and found.feed.startswith(CLIENT_FEED):
                raise GatewayError(f"message {message}: a client wrote it as FHIR, there is nothing to translate")
            if not tx.messages.restore([message]):
                raise GatewayError(f"message {message}: there is none that could be translated again")
            tx.audit.write([AuditEvent(now, "message-replayed", self._actor, f"message/{message}")])
        return f"message {message} will be translated again"
