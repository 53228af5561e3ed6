"""What to answer a message, decided before it is stored (INTERFACES, Acknowledgments; HL7 v2 chapter 2.9).

AE/CE speak of content, AR/CR of everything else. MSH-15 and MSH-16 both empty is the original mode: one answer.
Otherwise the accept acknowledgment (CA CE CR) follows MSH-15 and the application acknowledgment (AA AE AR) MSH-16.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from gateway.errors import MessageError, NotTaken, Place, Unreadable
from gateway.hl7v2.acknowledgment import acknowledge
from gateway.hl7v2.charset import wide_codec
from gateway.hl7v2.conformance import check
from gateway.hl7v2.message import parse
from gateway.hl7v2.peek import Peek, content_digest, glance, peek
from gateway.model.identity import lane_of
from gateway.model.message import Incoming, MessageState
from gateway.model.site import Feed
from gateway.ports import Clock

DUPLICATE: Final = MessageError("MSH-10 was used before for other content", Place("MSH", 1, 10), "205")
_TOLD: Final = 100
"""How many errors of one message are answered."""
HEAD: Final = 64 * 1024
"""How much is kept of what is larger than its feed takes."""


class Mode(NamedTuple):
    """Which acknowledgments the sender asked for: MSH-15 and MSH-16."""

    accept: str = ""
    application: str = ""

    @property
    def original(self) -> bool:
        """Whether neither is valued: one answer is due, in the codes AA AE AR."""
        return not (self.accept or self.application)

    @property
    def may_ask_later(self) -> bool:
        """Whether what becomes of the message after it was stored can change what is answered."""
        return self.original or self.application not in ("", "NE")

    def negative(self, code: str) -> str:
        """Return the code of the negative answer that is due, of the accept kind or else of the application kind.

        ``code`` is the one of the original mode; ``""``: none is due.

        >>> Mode().negative("AE"), Mode("AL", "NE").negative("AE"), Mode("NE", "AL").negative("AE")
        ('AE', 'CE', 'AE')
        """
        if self.original:
            return code
        if due(self.accept, positive=False):
            return "C" + code[1]
        return code if due(self.application, positive=False) else ""


class Verdict(NamedTuple):
    """What is to be stored and answered.

    ``incoming.acknowledgment`` is the first answer (empty: none is due) and ``code`` its code; ``application`` is the
    application acknowledgment that follows at once (empty: none). With ``waits`` the translation decides about it; in
    the original mode the first answer waits, too.
    """

    feed: Feed
    head: Peek
    mode: Mode
    incoming: Incoming
    code: str
    application: bytes = b""
    waits: bool = False


class _Case(NamedTuple):
    """A message being judged."""

    feed: Feed
    raw: bytes
    head: Peek
    mode: Mode
    now: datetime


class Judge:
    """Decides about messages; holds no state but the running number of its acknowledgments (their MSH-10).

    ``handles`` says whether a message type (``ORU^R01``) is translated.
    """

    def __init__(self, clock: Clock, handles: Callable[[str], bool] = lambda _type: True) -> None:
        self._clock = clock
        self._handles = handles
        self._start = secrets.token_hex(4).upper()
        self._numbers = itertools.count(1)

    def judge(self, feed: Feed, raw: bytes, *, size: int = 0) -> Verdict:
        """Decide about one message. ``size``: how large it was, when ``raw`` is only its head. Never raises."""
        if max(size, len(raw)) > feed.max_bytes:
            error = MessageError(f"larger than the feed's limit of {feed.max_bytes} bytes")
            return self._refuse(self._glance(feed, raw[:HEAD]), "AR", [error])
        try:
            _check_bytes(feed, raw)
            head = peek(raw)
        except Unreadable as error:
            return self._refuse(self._glance(feed, raw), "AR", [error], MessageState.QUARANTINED)
        case = self._case(feed, raw, head)
        if refusal := self._not_taken(feed, head):
            return self._refuse(case, "AR", [refusal])
        if feed.conformance == "strict" and (errors := _unsound(raw)):
            return self._refuse(case, "AE", errors)
        return self._accept(case)

    def stray(self, feed: Feed, raw: bytes, reason: str, *, answered: bool) -> Verdict:
        """Keep bytes that stood outside any block; ``answered``: the sender takes them for a message."""
        case = self._glance(feed, raw)
        verdict = self._refuse(case, "AR", [Unreadable(reason)], MessageState.QUARANTINED)
        if answered:
            return verdict
        silent = replace(verdict.incoming, acknowledgment=b"", answer_conflict=bytes)
        return verdict._replace(incoming=silent, code="")

    def settle(self, verdict: Verdict, error: MessageError | None) -> tuple[bytes, str]:
        """Return the application acknowledgment of a translated (None) or failed message and its code, if it is due."""
        code = "AE" if error else "AA"
        if not verdict.mode.original and not due(verdict.mode.application, positive=error is None):
            return b"", ""
        return self._write(self._case_of(verdict), code, [error] if error else ()), code

    def unstored(self, verdict: Verdict) -> tuple[bytes, str]:
        """Return the answer to a message that could not be stored (AR or CE 207; empty: none is due) and its code."""
        error = MessageError("the gateway could not store the message; send it again", code="207")
        return self._negative(self._case_of(verdict), "AR" if verdict.mode.original else "AE", [error])

    def _case(self, feed: Feed, raw: bytes, head: Peek) -> _Case:
        mode = Mode(head.accept_acknowledgment, head.application_acknowledgment)
        return _Case(feed, raw, head, mode, self._clock())

    def _case_of(self, verdict: Verdict) -> _Case:
        return _Case(verdict.feed, b"", verdict.head, verdict.mode, self._clock())

    def _glance(self, feed: Feed, raw: bytes) -> _Case:
        """Return the case of what cannot be read; over MLLP it is never answered in UTF-16."""
        head = glance(raw)
        if feed.kind == "mllp" and wide_codec(raw):
            head = head._replace(codec="utf-8", charset="")
        return self._case(feed, raw, head)

    def _not_taken(self, feed: Feed, head: Peek) -> NotTaken | None:
        """Return why MSH-9, MSH-11 or MSH-12 is not what the feed takes, or None."""
        kind = head.type_and_event
        if not head.message_type or not _takes_type(feed, head.message_type):
            return NotTaken("this feed does not take the message type", Place("MSH", 1, 9, 1, 1), "200")
        if feed.takes and not {head.message_type, kind} & set(feed.takes):
            return NotTaken("this feed does not take the trigger event", Place("MSH", 1, 9, 1, 2), "201")
        if feed.processing_ids and head.processing_id not in feed.processing_ids:
            return NotTaken("this feed does not take the processing id", Place("MSH", 1, 11), "202")
        if feed.versions and head.version not in feed.versions:
            return NotTaken("this feed does not take the version", Place("MSH", 1, 12), "203")
        if feed.unhandled == "reject" and not self._handles(kind):
            return NotTaken("the gateway does not translate this event", Place("MSH", 1, 9, 1, 2), "201")
        return None

    def _accept(self, case: _Case) -> Verdict:
        state = MessageState.STORED if self._handles(case.head.type_and_event) else MessageState.UNHANDLED
        waits = case.feed.acknowledge == "translated" and state is MessageState.STORED and case.mode.may_ask_later
        answers = self._positive(case, application=not waits)
        (first, code), then = answers[0], answers[1][0]
        incoming = self._incoming(case, state, first, lambda: self._negative(case, "AE", [DUPLICATE])[0])
        return Verdict(case.feed, case.head, case.mode, incoming, code, then, waits)

    def _refuse(
        self, case: _Case, code: str, errors: Sequence[MessageError], state: MessageState = MessageState.REFUSED
    ) -> Verdict:
        answer, sent = self._negative(case, code, errors)
        reason = "; ".join(str(error) for error in errors[:5])
        incoming = self._incoming(case, state, answer, lambda: answer, reason)
        return Verdict(case.feed, case.head, case.mode, incoming, sent)

    def _incoming(
        self, case: _Case, state: MessageState, answer: bytes, conflict: Callable[[], bytes], reason: str = ""
    ) -> Incoming:
        return Incoming(
            feed=case.feed.id,
            site=case.feed.site,
            control_id=case.head.control_id,
            message_type=case.head.type_and_event,
            lane=lane_of(case.head.patient_key),
            received_at=case.now,
            raw=case.raw,
            digest=content_digest(case.raw),
            state=state,
            acknowledgment=answer,
            positive=not reason,
            answer_conflict=conflict,
            repeat_window_days=case.feed.repeat_window_days,
            reason=reason,
        )

    def _positive(self, case: _Case, *, application: bool) -> list[tuple[bytes, str]]:
        """Return the two answers to a sound message and their codes; ``(b"", "")`` where none is due."""
        mode = case.mode
        if mode.original:
            codes = ["AA"]
        else:
            codes = ["CA"] if due(mode.accept, positive=True) else []
            codes += ["AA"] if application and due(mode.application, positive=True) else []
        answers = [(self._write(case, code, ()), code) for code in codes]
        return [*answers, (b"", ""), (b"", "")][:2]

    def _negative(self, case: _Case, code: str, errors: Sequence[MessageError]) -> tuple[bytes, str]:
        """Return the negative answer that is due and its code; ``(b"", "")`` where none is."""
        due_code = case.mode.negative(code)
        return (self._write(case, due_code, errors) if due_code else b""), due_code

    def _write(self, case: _Case, code: str, errors: Sequence[MessageError]) -> bytes:
        return acknowledge(
            case.head,
            code,
            errors=errors,
            application=case.feed.application,
            facility=case.feed.facility,
            now=case.now,
            control_id=f"{self._start}{next(self._numbers):X}",
        )


def due(condition: str, *, positive: bool) -> bool:
    """Return whether MSH-15 or MSH-16 asks for this acknowledgment (table 0155). An unknown word asks always.

    >>> due("AL", positive=True), due("ER", positive=True), due("SU", positive=True), due("", positive=True)
    (True, False, True, False)
    """
    if condition in ("", "NE"):
        return False
    return {"ER": not positive, "SU": positive}.get(condition, True)


def _takes_type(feed: Feed, message_type: str) -> bool:
    return not feed.takes or any(taken.partition("^")[0] == message_type for taken in feed.takes)


def _check_bytes(feed: Feed, raw: bytes) -> None:
    """Raise ``Unreadable`` for what an MLLP block cannot carry safely: its end may stand inside a character."""
    if feed.kind != "mllp":
        return
    if wide_codec(raw):
        raise Unreadable("UTF-16 is not taken over MLLP", Place("MSH", 1, 18), "103")
    if b"\x0b" in raw:
        raise Unreadable("a start block stands inside the block")


def _unsound(raw: bytes) -> list[MessageError]:
    try:
        return check(parse(raw), _TOLD)
    except MessageError as error:
        return [error]
