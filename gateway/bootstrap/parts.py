"""Single parts, built from settings: keys, store, broker, translator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.errors import ConfigurationError, KeysMissing
from gateway.model.keys import Keys
from gateway.model.site import Feed, Site
from gateway.model.study import Study
from gateway.ports import Broker, Store, Translator
from gateway.settings import Settings, create_keys, read_keys
from gateway.settings.folder import StudyFile
from gateway.settings.keyfile import KeyFile, readable_by_others

if TYPE_CHECKING:
    from gateway.release.policy import Policy
    from gateway.services.pool import Codes

log = structlog.get_logger()

PREVIEW_FEED = "preview"
PREVIEW_SITE = Site(id="unspecified", name="unspecified", zone="UTC", unidentified="hold", defaults={"0085": "unknown"})
"""What ``gateway translate`` reads with when no site is named: nothing declared, so nothing can be joined."""

PREVIEW_ID_KEY = b"ids of a preview: no secret here"


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def key_file_of(settings: Settings) -> Path:
    """Return the key file; a demo has its own beside its data. Raises ``KeysMissing`` when none is named."""
    if settings.key_file:
        return settings.key_file
    if not settings.gateway.demo:
        raise KeysMissing("no key file is named: make one with 'gateway keys create PATH' and set GATEWAY_KEY_FILE")
    return settings.data / "demo-keys.json"


def keys_of(settings: Settings) -> Keys:
    """Return the keys; a demo makes its own when it has none. Raises ``KeysMissing``."""
    path = key_file_of(settings)
    if settings.key_file or path.exists():
        return read_keys(path)
    return create_keys(path)


def _changed_keys(file: KeyFile) -> Keys | None:
    """Return the keys when their file was replaced; one that cannot be read leaves those in use that are in use."""
    try:
        return file.changed()
    except KeysMissing as error:
        log.warning("the key file cannot be read; the keys read before stay in use", error=str(error))
        return None


def open_store(settings: Settings, keys: Keys | None = None, *, read_only: bool = False) -> Store:
    """Connect to the database of the settings; its schema is not looked at. Raises ``StoreUnavailable``.

    An embedded database has one owner; ``read_only`` looks into it while a running gateway owns it. Without ``keys``
    those of the key file are used, and read again when the file is replaced.
    """
    from gateway.store import create_store

    if settings.embedded:
        settings.data.mkdir(parents=True, exist_ok=True)
    if keys is not None:
        return create_store(settings.database_url.get_secret_value(), keys, read_only=read_only)
    keys_of(settings)  # makes those of a demo
    file = KeyFile(key_file_of(settings))
    if readable_by_others(file.path):
        log.warning("others than its owner may read the key file: chmod 600", file=str(file.path))
    return create_store(
        settings.database_url.get_secret_value(),
        file.read(),
        read_only=read_only,
        changed=functools.partial(_changed_keys, file),
    )


def open_broker(settings: Settings) -> Broker:
    """Return the broker of the settings: RabbitMQ when a URL is given, else one inside this process."""
    if settings.broker_url.get_secret_value():
        from gateway.broker.rabbitmq import RabbitBroker

        return RabbitBroker(settings.broker_url.get_secret_value(), ca_file=settings.gateway.broker.ca_file)
    from gateway.broker.embedded import EmbeddedBroker

    return EmbeddedBroker()


def translator_factory(settings: Settings, keys: Keys) -> Callable[[Codes], Translator]:
    """Return a picklable maker of translators; the code maps it is given replace those of the files."""
    return functools.partial(_translator, dict(settings.sites), dict(settings.feeds), keys.identity)


def _translator(sites: Mapping[str, Site], feeds: Mapping[str, Feed], id_key: bytes, codes: Codes) -> Translator:
    from mappings.translator import SiteTranslator

    mapped = {id: replace(site, codes=codes.get(id, site.codes)) for id, site in sites.items()}
    return SiteTranslator(mapped, feeds, id_key)


def handles(message_type: str) -> bool:
    """Say whether a message type (``ORU^R01``) is translated."""
    from mappings.messages import RULES

    code, _, event = message_type.partition("^")
    return (code, event.partition("^")[0]) in RULES


def preview_translator(settings: Settings, site: str, *, trace: bool) -> tuple[Translator, str]:
    """Return a translator for ``gateway translate`` and the feed to name to it; no keys, no database."""
    from mappings.translator import SiteTranslator

    if site and site not in settings.sites:
        known = ", ".join(settings.sites)
        raise ConfigurationError(str(settings.folder), f"no site {site!r}; there are: {known}")
    profile = settings.sites[site] if site else PREVIEW_SITE
    feeds = {PREVIEW_FEED: Feed(id=PREVIEW_FEED, site=profile.id)}
    return SiteTranslator({profile.id: profile}, feeds, PREVIEW_ID_KEY, trace=trace), PREVIEW_FEED


def policy_of(settings: Settings, keys: Keys) -> Policy:
    """Return who may receive what, from the recipients' files and the studies."""
    from gateway.release.policy import Policy

    studies = [_study(study, keys.identity) for study in settings.studies.values()]
    return Policy(settings.recipients.values(), studies, keys.pseudonym)


def _study(file: StudyFile, id_key: bytes) -> Study:
    from gateway.services.prepare import study_resource_id

    body = file.research_study
    return Study(
        id=file.id,
        resource=study_resource_id(id_key, file.id),
        identifiers=tuple((item.get("system", ""), item.get("value", "")) for item in body.get("identifier", ())),
        arms=tuple(arm["name"] for arm in body.get("arm", ())),
    )


def policy_problems(settings: Settings) -> list[ConfigurationError]:
    """Return what is wrong with the recipients' allow-lists, by file."""
    from gateway.release.policy import policy_errors

    problems = []
    for recipient in settings.recipients.values():
        file = str(settings.folder / "recipients" / f"{recipient.id}.toml")
        problems += [ConfigurationError(file, what) for what in policy_errors(recipient)]
    return problems
