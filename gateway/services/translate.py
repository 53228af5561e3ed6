"""Turning stored messages into resource versions: claim lanes, translate, merge, plan, commit.

Translating itself happens in worker processes and touches no database (ARCHITECTURE, decision 4). What comes back is
written in one transaction per batch: new versions where something changed, clocks where not, gaps, holds, the state of
each message and the cursors that are now due. A crash before the commit leaves nothing; the lane's lease runs out and
the next worker translates the same messages to the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from gateway.errors import KeysMissing, SchemaMismatch, StaleClaim, StoreUnavailable, VersionConflict
from gateway.model.message import Became, Message, MessageState
from gateway.model.resource import ResourceVersion
from gateway.model.site import CodeMapEntry
from gateway.model.translation import Failure, Translation
from gateway.ports import AuditEvent, Clock, LaneClaim, Store, Transaction, spans
from gateway.services.apply import Batch
from gateway.services.defect import words_of

log = structlog.get_logger()


class TranslatorPool(Protocol):
    """Translates many messages at once, in as many processes as there are."""

    def translate(self, messages: Sequence[Message]) -> list[Translation]:
        """Return one translation per message, in the same order."""

    def renew(self, codes: Mapping[str, tuple[CodeMapEntry, ...]]) -> None:
        """Translate with these code maps (site -> rows) from now on."""


def again() -> Retrying:
    """Return the attempts at a transaction: a resource that another worker wrote first is merged with once more."""
    retried = retry_if_exception_type(VersionConflict)
    return Retrying(retry=retried, stop=stop_after_attempt(8), wait=wait_random(0, 0.05), reraise=True)


class Planner(Protocol):
    """Notes in the same transaction which views the new versions concern (``gateway.services.plan``)."""

    def __call__(self, tx: Transaction, changed: Sequence[ResourceVersion], *, lost: Iterable[str] = ()) -> object:
        """Plan these changes. ``lost``: patients from whom resources were taken."""


_Pair = tuple[Message, Translation]
_NOT_THE_MESSAGE: Final = (StoreUnavailable, StaleClaim, VersionConflict, SchemaMismatch, KeysMissing)
"""Errors that every message would meet: the batch is translated again later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one round takes: messages per transaction, lanes per worker, and for how long a lane is held."""

    batch: int = 64
    lanes: int = 16
    lease: timedelta = timedelta(seconds=30)


class Translate:
    """The ``translate`` role. One instance per process; ``owner`` names it in its claims."""

    def __init__(
        self,
        store: Store,
        pool: TranslatorPool,
        planner: Planner,
        *,
        sites: Sequence[str],
        clock: Clock,
        owner: str,
        limits: Limits | None = None,
        on_settled: Callable[[Sequence[tuple[str, Became]]], None] = lambda _settled: None,
    ) -> None:
        self._store = store
        self._pool = pool
        self._planner = planner
        self._clock = clock
        self._owner = owner
        self._limits = limits or Limits()
        self._sites = sites
        self._on_settled = on_settled
        self._revision = -1

    def wake(self, _body: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Answer a wake-up."""
        self.run(stop)

    def run(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Translate until nothing waits in the lanes this worker can have; return how many messages were settled.

        Ends after the batch at hand when ``stop()`` turns true.
        """
        settled = 0
        while not stop() and (count := self.step()):
            settled += count
        return settled

    def step(self) -> int:
        """Claim lanes, translate what waits in them, give the lanes back; return how many messages were settled."""
        self._follow_code_maps()
        with self._store.begin() as tx:
            claims = tx.lanes.claim(self._owner, self._clock(), self._limits.lease, self._limits.lanes)
            messages = tx.messages.waiting(claims, self._limits.batch) if claims else []
        if not claims:
            return 0
        try:
            return self._settle(claims, messages) if messages else 0
        finally:
            with self._store.begin() as tx:
                tx.lanes.give_back(self._owner, claims)

    def _follow_code_maps(self) -> None:
        """The database is the truth of the code maps: read them anew when a person or an import changed one."""
        with self._store.begin(write=False) as tx:
            revision = tx.codes.revision()
            if revision == self._revision:
                return
            codes = {site: tx.codes.of_site(site) for site in self._sites}
        self._pool.renew(codes)
        self._revision = revision

    def _settle(self, claims: Sequence[LaneClaim], messages: Sequence[Message]) -> int:
        translations = self._pool.translate(messages)
        pairs = list(zip(messages, translations, strict=True))
        try:
            settled = self._store_all(claims, pairs)
        except StaleClaim:
            log.warning("another worker has taken the lanes over", lanes=[claim.lane for claim in claims])
            return 0
        for feed, became in settled:
            _tell(feed, became)
        self._on_settled(settled)
        return len(pairs)

    def _store_all(self, claims: Sequence[LaneClaim], pairs: Sequence[_Pair]) -> list[tuple[str, Became]]:
        """Write a batch; one message that cannot be written fails alone, so that it does not hold its lane."""
        try:
            return self._attempt(claims, pairs)
        except _NOT_THE_MESSAGE:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not stop the feed; the failure says where)
            if len(pairs) > 1:
                return [each for pair in pairs for each in self._store_all(claims, [pair])]
            message = pairs[0][0]
            failed = Translation(failure=Failure("message", words_of(error)))
            return self._attempt(claims, [(message, failed)])

    def _attempt(self, claims: Sequence[LaneClaim], pairs: Sequence[_Pair]) -> list[tuple[str, Became]]:
        settled: list[tuple[str, Became]] = []
        for attempt in again():
            with attempt:
                settled = self._write(claims, pairs)
        return settled

    def _write(self, claims: Sequence[LaneClaim], pairs: Sequence[_Pair]) -> list[tuple[str, Became]]:
        """Write one batch; return feed and fate of each message."""
        now = self._clock()
        with self._store.begin() as tx:
            batch = Batch(tx, now)
            batch.prepare([translation for _, translation in pairs])
            for message, translation in pairs:
                batch.apply(message, translation)
            changed = batch.flush()
            settled = [(message.feed, _became(batch, message, translation)) for message, translation in pairs]
            _note(tx, [became for _, became in settled], now)
            seen = [(message.feed, message.id, gap) for message, translation in pairs for gap in translation.gaps]
            tx.worklist.record_gaps(seen, now)
            self._planner(tx, changed, lost=batch.lost)
            tx.lanes.confirm(claims, now)
            batch.settle_shared()
        return settled


def _note(tx: Transaction, results: Sequence[Became], now: datetime) -> None:
    """Write what became of these messages: their state, and for the audit trail one line for all that succeeded."""
    tx.messages.settle(results, now)
    done = [each.message for each in results if each.state is MessageState.TRANSLATED]
    lines = [
        AuditEvent(now, str(each.state), "translate", f"message/{each.message}", f"{each.place} {each.reason}".strip())
        for each in results
        if each.state is not MessageState.TRANSLATED
    ]
    if done:
        lines.append(AuditEvent(now, "translated", "translate", "messages", spans(done)))
    tx.audit.write(lines)


def _became(batch: Batch, message: Message, translation: Translation) -> Became:
    failure = translation.failure or batch.failures.get(message.id)
    if failure:
        return Became(message.id, MessageState.FAILED, failure.place, failure.what)
    if not translation.handled:
        return Became(message.id, MessageState.UNHANDLED, "MSH-9", "this event is not translated")
    findings = "; ".join(f"{finding.place}: {finding.what}" for finding in translation.findings)
    return Became(message.id, MessageState.TRANSLATED, "", findings)


def _tell(feed: str, became: Became) -> None:
    """Log one message's fate under its id."""
    if became.state is MessageState.FAILED:
        log.warning("message failed", message=became.message, feed=feed, place=became.place, what=became.reason)
    else:
        log.debug("message translated", message=became.message, feed=feed, state=str(became.state))
