"""Bytes to statements: the whole way of one message, without a database.

``SiteTranslator`` reads the message, runs the rule of its type, and turns what that drafted into checked, encoded
statements. What is wrong with a message comes back as ``Translation.failure``; a programming error propagates.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from gateway.errors import InvalidResource, MessageError
from gateway.hl7v2.message import Message, parse
from gateway.model.site import Feed, Site
from gateway.model.translation import Failure, Finding, Statement, Translation
from mappings.context import Context
from mappings.coverage import not_mapped
from mappings.datatypes.ts import sent_at
from mappings.messages import EVERYWHERE, RULES
from mappings.provenance import provenance
from mappings.statements import statement

MOST_FINDINGS = 500

CACHE_LIMIT = 20_000
"""Entries a site's cache may hold; past that it starts afresh (codes of a site are a few thousand)."""

CACHE_BYTES = 64 * 1024 * 1024
"""Bytes of the messages that may have added to it: whatever a sender writes into its codes, memory stays bounded."""


@dataclass(slots=True)
class _Place:
    """A site, with what is kept between its messages."""

    site: Site
    zone: ZoneInfo
    cache: dict[Hashable, Any] = field(default_factory=dict)
    size: int = 0
    weight: int = 0
    message: int = 0
    """Entries of the cache before the last message, bytes of the messages that added to it, bytes of the last one."""

    def make_room(self, message: int) -> None:
        """Start the cache afresh where it has grown too large; ``message`` is how many bytes come now."""
        if len(self.cache) > CACHE_LIMIT or self.weight > CACHE_BYTES:
            self.cache.clear()
            self.size = self.weight = 0
        if len(self.cache) > self.size:
            self.size = len(self.cache)
            self.weight += self.message
        self.message = message


class SiteTranslator:
    """Implements ``gateway.ports.Translator`` for the sites of a configuration folder.

    ``feeds`` maps feed id -> Feed, whose ``site`` is a key of ``sites``; ``id_key`` is ``Keys.identity``. The arguments
    are picklable, so that each worker process can build its own. Not safe for use by several threads at once.
    """

    def __init__(
        self, sites: Mapping[str, Site], feeds: Mapping[str, Feed], id_key: bytes, *, trace: bool = False
    ) -> None:
        places = {name: _Place(site, ZoneInfo(site.zone)) for name, site in sites.items()}
        self._places = {name: places[feed.site] for name, feed in feeds.items()}
        self._id_key = id_key
        self._trace = trace

    def translate(self, raw: bytes, feed: str, received_at: datetime) -> Translation:
        """Translate one message of a feed.

        Takes the bytes as they came and the time of receipt (UTC). What is wrong with the message comes back as
        ``failure``; a message type that is not translated has ``handled`` False. Raises ``KeyError`` for a feed that is
        not configured.
        """
        place = self._places[feed]
        site = place.site
        try:
            message = parse(raw, default_charset=site.charset, windows_1252=site.windows_1252)
        except MessageError as error:
            return Translation(failure=_failure(error))

        context = self._context(message, place, feed, received_at)
        sent = sent_at(message, context)
        rule = RULES.get((message.type, message.event))
        if rule is None:
            return Translation(findings=_findings(message, context), sent_at=sent, handled=False)
        failure: Failure | None = None
        statements: tuple[Statement, ...] = ()
        try:
            rule(message, context)
            for also in EVERYWHERE:
                also(message, context)
            provenance(raw, context)
            statements = self._statements(context)
        except (MessageError, InvalidResource) as error:
            failure = _failure(error)
        return Translation(
            statements=statements,
            keys=tuple(context.keys) if failure is None else (),
            links=tuple(context.links) if failure is None else (),
            gaps=tuple(context.gaps),
            findings=_findings(message, context),
            trace=tuple(context.traces),
            sent_at=sent,
            failure=failure,
            not_mapped=not_mapped(message),
        )

    def _context(self, message: Message, place: _Place, feed: str, received_at: datetime) -> Context:
        place.make_room(len(message.raw_text))
        return Context(
            site=place.site,
            feed=feed,
            message=message,
            received_at=received_at,
            id_key=self._id_key,
            zone=place.zone,
            cache=place.cache,
            tracing=self._trace,
        )

    def _statements(self, context: Context) -> tuple[Statement, ...]:
        return tuple([statement(draft, context) for draft in context.drafts.values()])


def _findings(message: Message, context: Context) -> tuple[Finding, ...]:
    findings = (*message.findings, *context.findings)
    more = len(findings) - MOST_FINDINGS
    return (*findings[:MOST_FINDINGS], Finding("message", f"and {more} findings more")) if more > 0 else findings


def _failure(error: MessageError | InvalidResource) -> Failure:
    if isinstance(error, InvalidResource):
        return Failure(error.path, error.what)
    return Failure(str(error.place), error.what, error.code)
