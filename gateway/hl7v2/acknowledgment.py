"""Writing acknowledgments (HL7 v2 chapter 2, 2.9; MSA and ERR 2.15): in the sender's version, delimiters and charset.

======================  =======================================================================
part                    rule
======================  =======================================================================
MSH-3, MSH-4            the gateway's names, else the receiver the sender named
MSH-5, MSH-6            the sender
MSH-9                   ``ACK`` (2.1), ``ACK^event`` (2.2, 2.3), ``ACK^event^ACK`` (from 2.3.1)
MSH-11, -12, -18        as the sender has them
MSA-1, -2, -3           the code, MSH-10 of the sender, the words
ERR up to 2.4           ERR-1, one repetition for each error: ``segment^sequence^field^code``
ERR from 2.5            a segment for each error: ERR-2 place, -3 code, -4 severity, -8 words
======================  =======================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.errors import MessageError, Place
from gateway.hl7v2.charset import codec_of
from gateway.hl7v2.delimiters import Delimiters
from gateway.hl7v2.escapes import escape
from gateway.hl7v2.message import Message
from gateway.hl7v2.peek import Peek, glance
from gateway.hl7v2.reference import USUAL_VERSION, VERSIONS, nearest_version

CONDITIONS: Final = {
    "0": "Message accepted",
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "104": "Value too long",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
"""HL7 table 0357, message error condition codes."""

_STRUCTURE_NAMED_FROM: Final = VERSIONS.index("2.3.1")
_ERR_SEGMENT_EACH_FROM: Final = VERSIONS.index("2.5")


class _Sender(NamedTuple):
    """What the answer takes from the message, as sent (escapes kept)."""

    delimiters: Delimiters
    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    trigger_event: str
    processing_id: str
    version: str
    charset: str


def acknowledge(
    message: Message | Peek | None,
    code: str,
    *,
    errors: Sequence[MessageError] = (),
    text: str = "",
    application: str = "",
    facility: str = "",
    now: datetime,
    control_id: str,
    raw_head: bytes = b"",
) -> bytes:
    r"""Return the acknowledgment of a message, without MLLP framing, in the character set of the message.

    ``code`` is of table 0008 (AA AE AR CA CE CR), ``control_id`` becomes MSH-10 of the answer, ``now`` MSH-7 with its
    zone. Without a ``message`` the answer is formed from ``raw_head``, the beginning of the bytes received, as far as
    that can be read; MSA-2 stays empty where it cannot. Characters the sender's set does not have become ``?``.

    >>> from datetime import UTC
    >>> seen = glance(b"MSH|^~\\&|LAB|HOSP|||||ORU^R01|77|P|2.3")
    >>> acknowledge(seen, "AA", now=datetime(2026, 3, 1, tzinfo=UTC), control_id="1").split(b"\r")
    [b'MSH|^~\\&|||LAB|HOSP|20260301000000+0000||ACK^R01|1|P|2.3', b'MSA|AA|77', b'']
    """
    sender, codec, acknowledged = _sender_of(message if message is not None else glance(raw_head))
    before, after = _header(sender, application, facility)
    sep = sender.delimiters.field
    sent_at = _time_stamp(now.replace(microsecond=0), sender.version)
    answer = f"{before}{sent_at}{after[0]}{control_id}{after[1]}MSA{sep}{code}{sep}{acknowledged}"
    if text:
        answer += sep + escape(text, sender.delimiters)
    answer += "\r"
    if errors:
        answer += _errors(errors, sender.delimiters, sender.version)
    return answer.encode(codec, "replace")


def _sender_of(message: Message | Peek) -> tuple[_Sender, str, str]:
    """Return what the answer takes from the message, the codec to write it in, and MSH-10."""
    if isinstance(message, Peek):
        sender = _Sender(
            message.delimiters,
            message.sending_application,
            message.sending_facility,
            message.receiving_application,
            message.receiving_facility,
            message.trigger_event,
            message.processing_id,
            message.version,
            message.charset,
        )
        return sender, message.codec, message.control_id
    msh = message.msh
    declared = msh.raw(18)
    sender = _Sender(
        message.delimiters,
        msh.raw(3),
        msh.raw(4),
        msh.raw(5),
        msh.raw(6),
        msh.field(9).component(2),
        msh.raw(11),
        msh.field(12).text,
        declared,
    )
    codec = message.charset if message.charset.startswith("utf-") else codec_of(msh.field(18).text) or message.charset
    return sender, codec, msh.field(10).raw


@lru_cache(maxsize=512)
def _header(sender: _Sender, application: str, facility: str) -> tuple[str, tuple[str, str]]:
    """Return MSH up to the time, from there to MSH-10, and from there to its end."""
    marks = sender.delimiters
    sep = marks.field
    names = (
        escape(application, marks) if application else sender.receiving_application,
        escape(facility, marks) if facility else sender.receiving_facility,
        sender.sending_application,
        sender.sending_facility,
    )
    before = f"MSH{sep}{marks.encoding_characters}{sep}{sep.join(names)}{sep}"
    after = f"{sep}{sep}{_message_type(sender)}{sep}"
    end = [sender.processing_id or "P", sender.version or USUAL_VERSION]
    if sender.charset:
        end += ["", "", "", "", "", sender.charset]
    return before, (after, sep + sep.join(end) + "\r")


def _message_type(sender: _Sender) -> str:
    version = VERSIONS.index(nearest_version(sender.version))
    if not version or not sender.trigger_event:
        return "ACK"
    parts = ["ACK", sender.trigger_event]
    if version >= _STRUCTURE_NAMED_FROM:
        parts.append("ACK")
    return sender.delimiters.component.join(parts)


@lru_cache(maxsize=16)
def _time_stamp(now: datetime, version: str) -> str:
    """Return MSH-7; kept for the messages of the same second."""
    return now.strftime("%Y%m%d%H%M%S" if version == "2.1" else "%Y%m%d%H%M%S%z")


def _errors(errors: Sequence[MessageError], marks: Delimiters, version: str) -> str:
    if VERSIONS.index(nearest_version(version)) < _ERR_SEGMENT_EACH_FROM:
        located = (marks.repetition or marks.component).join(_located(error, marks) for error in errors)
        return f"ERR{marks.field}{located}\r"
    return "".join(_error_segment(error, marks) for error in errors)


def _located(error: MessageError, marks: Delimiters) -> str:
    """Write ERR-1: CM (up to 2.3.1) or ELD (2.4)."""
    place = error.place
    words = escape(CONDITIONS.get(error.code, error.what), marks)
    condition = (marks.subcomponent or " ").join((error.code, words, "HL70357"))
    return marks.component.join((place.segment, _sequence(place), _number(place.field), condition))


def _error_segment(error: MessageError, marks: Delimiters) -> str:
    """Write ERR as from 2.5: ERL, CWE, severity, user message."""
    place = error.place
    parts = [place.segment, _sequence(place), _number(place.field)]
    if place.field:
        parts += [str(place.repetition), _number(place.component)]
    where = marks.component.join(parts).rstrip(marks.component)
    condition = marks.component.join((error.code, escape(CONDITIONS.get(error.code, ""), marks), "HL70357"))
    return marks.field.join(("ERR", "", where, condition, "E", "", "", "", escape(error.what, marks))) + "\r"


def _sequence(place: Place) -> str:
    return str(place.sequence) if place.segment else ""


def _number(count: int) -> str:
    return str(count) if count else ""
