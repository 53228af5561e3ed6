"""Writing what a batch of messages became, in one transaction (ARCHITECTURE, the way of a message, 2 and 3).

New versions where something changed, clocks where not, gaps, holds, the state of each message and the cursors that are
now due. A crash before the commit leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from gateway.errors import KeysMissing, SchemaMismatch, StaleClaim, StoreUnavailable, VersionConflict
from gateway.model.message import Became, Message, MessageState
from gateway.model.resource import ResourceVersion
from gateway.model.translation import Failure, Translation
from gateway.ports import AuditEvent, Clock, LaneClaim, Store, Transaction, spans
from gateway.services.apply import Batch
from gateway.services.defect import words_of

log = structlog.get_logger()

Settled = Callable[[Sequence[tuple[str, Became]]], None]
"""Is told the feed and the fate of each message after a commit."""


class OutdatedCodeMaps(Exception):
    """A code map was changed since the messages were translated; nothing was written."""


class Planner(Protocol):
    """Notes in the same transaction which views the new versions concern (``gateway.services.plan``)."""

    def __call__(self, tx: Transaction, changed: Sequence[ResourceVersion], *, lost: Iterable[str] = ()) -> object:
        """Plan these changes. ``lost``: patients from whom resources were taken."""


@dataclass(frozen=True, slots=True)
class Translated:
    """Messages and what they became, the claims on their lanes, the revision of the code maps they were read by."""

    pairs: Sequence[tuple[Message, Translation]]
    claims: Sequence[LaneClaim]
    revision: int

    def halves(self) -> tuple[Translated, Translated]:
        """Return the first and the second half."""
        middle = len(self.pairs) // 2
        first, second = self.pairs[:middle], self.pairs[middle:]
        return Translated(first, self.claims, self.revision), Translated(second, self.claims, self.revision)

    def failed(self, error: Exception) -> Translated:
        """Return the messages as failed, by an error met in writing them."""
        failed = Translation(failure=Failure("message", words_of(error)))
        return Translated([(message, failed) for message, _ in self.pairs], self.claims, self.revision)


_NOT_THE_MESSAGE: Final = (
    StoreUnavailable, StaleClaim, VersionConflict, SchemaMismatch, KeysMissing, OutdatedCodeMaps,
)  # fmt: skip
"""What every message would meet: the batch is translated again later."""


def again() -> Retrying:
    """Return the attempts at a transaction: a resource that another worker wrote first is merged with once more."""
    retried = retry_if_exception_type(VersionConflict)
    return Retrying(retry=retried, stop=stop_after_attempt(8), wait=wait_random(0, 0.05), reraise=True)


class Writer:
    """Writes batches, one after the other. ``on_settled`` is called after each commit."""

    def __init__(self, store: Store, planner: Planner, clock: Clock, on_settled: Settled) -> None:
        self._store = store
        self._planner = planner
        self._clock = clock
        self._on_settled = on_settled

    def write(self, translated: Translated) -> None:
        """Write a batch. A message that cannot be written fails alone, so that it does not hold its lane.

        Raises ``StaleClaim``, ``OutdatedCodeMaps``, ``VersionConflict`` or ``StoreUnavailable``: what is not committed
        by then still waits in its lane.
        """
        try:
            self._attempt(translated)
        except _NOT_THE_MESSAGE:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not stop the feed; the failure says where)
            if len(translated.pairs) > 1:
                for half in translated.halves():
                    self.write(half)
            else:
                self._attempt(translated.failed(error))

    def _attempt(self, translated: Translated) -> None:
        for attempt in again():
            with attempt:
                settled = self._commit(translated)
        for feed, became in settled:
            _tell(feed, became)
        self._on_settled(settled)

    def _commit(self, translated: Translated) -> list[tuple[str, Became]]:
        """Write one batch; return feed and fate of each message."""
        now = self._clock()
        pairs = translated.pairs
        with self._store.begin() as tx:
            batch = Batch(tx, now)
            batch.prepare([translation for _, translation in pairs])
            for message, translation in pairs:
                batch.apply(message, translation)
            seen = [(message.feed, message.id, gap) for message, translation in pairs for gap in translation.gaps]
            tx.worklist.record_gaps(seen, now)
            if tx.codes.revision() != translated.revision:  # asked while nobody can close one of these gaps
                raise OutdatedCodeMaps
            changed = batch.flush()
            settled = [(message.feed, _became(batch, message, translation)) for message, translation in pairs]
            _note(tx, [became for _, became in settled], now)
            self._planner(tx, changed, lost=batch.lost)
            tx.lanes.confirm(translated.claims, now)
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
        return Became(message.id, MessageState.FAILED, failure.place, failure.what, failure.code)
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
