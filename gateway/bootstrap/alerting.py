"""Who looks for trouble, where, and who is told: built from settings and an open store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from gateway.bootstrap.parts import utc_now
from gateway.errors import ConfigurationError
from gateway.ports import Channel, Store
from gateway.services.alerts import Alerter, AlertTiming, LogChannel
from gateway.services.troubles import Limits, Watch
from gateway.settings import Settings
from gateway.tls import client_context, ends_at


def alerter_of(settings: Settings, store: Store, owner: str) -> Alerter:
    """Return what looks for trouble and tells. Raises ``ConfigurationError`` when a secret or a PEM file is missing."""
    wanted = settings.gateway.alerts
    timing = AlertTiming(timedelta(seconds=wanted.look_seconds), timedelta(minutes=wanted.settle_minutes))
    limits = Limits(
        silent={
            feed.id: timedelta(minutes=feed.silent_minutes)
            for feed in settings.feeds.values()
            if feed.silent_minutes is not None
        },
        factor=wanted.silence_factor,
        least_silence=timedelta(minutes=wanted.least_silence_minutes),
        waiting=timedelta(minutes=wanted.waiting_minutes),
        disk_free=wanted.disk_free_percent / 100,
        certificate=timedelta(days=wanted.certificate_days),
    )

    def certificates() -> dict[str, datetime]:
        ends = {name: ends_at(file) for name, file in _certificates(settings)}
        return {name: moment for name, moment in ends.items() if moment is not None}

    watch = Watch(tuple(settings.feeds), tuple(settings.receivers), settings.data, limits, certificates)
    return Alerter(store, utc_now, owner, watch, [LogChannel(), *_channels(settings)], timing)


def _channels(settings: Settings) -> Iterator[Channel]:
    from adapters.alert.mail import AlertMail
    from adapters.alert.webhook import AlertWebhook

    wanted, unit = settings.gateway.alerts, settings.gateway.name
    where = str(settings.folder / "gateway.toml")
    for webhook in wanted.webhooks:
        secret = _secret(where, webhook.secret_env) if webhook.secret_env else ""
        context = client_context(where, _path(settings, webhook.ca_file))
        name = f"webhook:{webhook.name}"
        yield AlertWebhook(name, webhook.address, unit, utc_now, secret.encode(), context)
    if mail := wanted.mail:
        password = _secret(where, mail.password_env) if mail.user else ""
        context = client_context(where, _path(settings, mail.ca_file))
        yield AlertMail(
            "mail", unit, mail.host, mail.port, mail.sender, mail.receivers, mail.tls, context, mail.user, password
        )


def _certificates(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield a name without a folder, and the PEM file, of every certificate that the configuration names."""
    http, fhir = settings.gateway.http, settings.gateway.fhir
    files = [http.certificate, http.client_ca, fhir.key_sets_ca_file, fhir.subscription_ca_file]
    for feed in settings.feeds.values():
        files += [feed.tls.certificate, feed.tls.client_ca] if feed.tls else []
    for recipient in settings.recipients.values():
        files += [recipient.ca_file, recipient.client_certificate]
    for file in dict.fromkeys(filter(None, files)):
        yield Path(file).name, file


def _path(settings: Settings, file: str) -> str:
    return str(settings.folder / file) if file else ""


def _secret(where: str, variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigurationError(where, f"alerts: the environment variable {variable or '(not named)'} is not set")
    return value
