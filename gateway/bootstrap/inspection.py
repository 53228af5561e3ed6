"""What an inspector asks for, built from settings and an open store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

from gateway.bootstrap.parts import utc_now
from gateway.errors import GatewayError
from gateway.ports import AuditEvent, Period, Store
from gateway.services.disclose import patient_known_by
from gateway.services.reconcile import Reconciliation, Unit, reconcile
from gateway.services.seal import ANCHOR, Anchor, Sealer, SealSettings, read_anchor
from gateway.services.verify import Verdict, verify
from gateway.services.viewing import INBOX, note_view, take_in
from gateway.settings import Settings


def sealer_of(settings: Settings, store: Store, owner: str) -> Sealer:
    """Return what seals the audit trail."""
    wanted = settings.gateway.audit
    limits = SealSettings(timedelta(seconds=wanted.seal_seconds), timedelta(seconds=wanted.lease_seconds))
    gather = partial(take_in, store, settings.data / INBOX) if settings.embedded else _nothing
    return Sealer(store, utc_now, owner, settings.data / ANCHOR, limits, gather)


def viewed(settings: Settings, store: Store, actor: str, subject: str, detail: str) -> None:
    """Note that somebody is about to be shown a person's data. ``subject`` and ``detail`` hold ids alone."""
    inbox = settings.data / INBOX if settings.embedded else None
    note_view(store, inbox, AuditEvent(utc_now(), "viewed", actor, subject, detail))


def verdict_of(
    settings: Settings, store: Store, known: str, anchor: Path | None, tell: Callable[[int], None]
) -> Verdict:
    """Verify the audit trail against an anchor, this machine's by default, and a seal ``known`` from the log."""
    file = anchor or settings.data / ANCHOR
    found = read_anchor(file)
    if found is None and anchor is not None:
        raise GatewayError(f"{anchor}: there is no such file")
    anchors = [found] if found else []
    return verify(store, anchors + ([_known(known)] if known else []), tell)


def reconciled(settings: Settings, store: Store, period: Period) -> Reconciliation:
    """Reconcile what came in with what went out."""
    windows = {id: timedelta(days=feed.repeat_window_days) for id, feed in settings.feeds.items()}
    amqp = frozenset(id for id, recipient in settings.recipients.items() if recipient.kind == "amqp")
    return reconcile(store, Unit(windows, amqp), period)


def patient_of(settings: Settings, store: Store, identifier: str) -> str:
    """Return the Patient that AUTHORITY|VALUE names; the authority as a site writes it, or its system URI.

    Raises ``GatewayError``, which does not repeat the identifier.
    """
    authority, separator, value = identifier.strip().partition("|")
    if not separator or not value:
        raise GatewayError("write the identifier as AUTHORITY|VALUE")
    declared = {site.authorities[authority].system for site in settings.sites.values() if authority in site.authorities}
    for system in sorted(declared) or [authority]:
        found = patient_known_by(store, system, value)
        if found is not None:
            return found
    raise GatewayError("no Patient is known by that identifier of that authority")


def _known(text: str) -> Anchor:
    number, _, mac = text.partition(":")
    if not number.isdecimal() or len(mac) != 64:
        raise GatewayError(f"{text!r} is no seal: write NUMBER:MAC, as the log line tells them")
    return Anchor(int(number), mac.lower(), "the command line")


def _nothing() -> None:
    """Gather nothing: every process writes into the database itself."""
