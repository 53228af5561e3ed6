"""A message as the gateway keeps it: bytes, where they came from, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

CLIENT_FEED: Final = "fhir:"
"""How the feed of what a client wrote through the FHIR API begins; the client's id follows."""


class MessageState(StrEnum):
    """What became of a received message.

    ``stored`` waits for translation; ``translated``; ``failed`` (a person must look); ``unhandled`` (stored and
    answered, the gateway does not translate this event); ``quarantined`` (not HL7 v2; bytes kept);
    ``refused`` (answered negatively; kept); ``conflict`` (same MSH-10, other content; held).
    """

    STORED = "stored"
    TRANSLATED = "translated"
    FAILED = "failed"
    UNHANDLED = "unhandled"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message about to be stored. ``received_at`` is UTC.

    ``digest`` is SHA-256 over the content without MSH-7 (so that a resend with a new time is a repeat).
    ``acknowledgment`` is what will be answered if the message is new; ``positive`` says whether it is AA/CA.
    ``answer_conflict`` writes what will be answered if MSH-10 was seen with other content.
    ``lane`` is 0 to 63, a stable hash of the patient identifier.
    """

    feed: str
    site: str
    control_id: str
    message_type: str
    lane: int
    received_at: datetime
    raw: bytes
    digest: bytes
    state: MessageState
    acknowledgment: bytes
    positive: bool
    answer_conflict: Callable[[], bytes] = bytes
    repeat_window_days: int = 30
    reason: str = ""


class Intake(StrEnum):
    """What storing a message came to."""

    NEW = "new"
    REPEAT = "repeat"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer of the store to an ``Incoming``: its id (ascending in order of receipt) and the answer to send."""

    id: int
    intake: Intake
    acknowledgment: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message. ``id`` ascends in order of receipt and is the correlation id in logs. Times are UTC."""

    id: int
    feed: str
    site: str
    control_id: str
    message_type: str
    lane: int
    received_at: datetime
    state: MessageState
    raw: bytes
    acknowledgment: bytes = b""
    reason: str = ""
    place: str = ""
    settled_at: datetime | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Became:
    """What became of a stored message: its new state, and for a person the place and the reason.

    ``code`` is of HL7 table 0357 when it failed.
    """

    message: int
    state: MessageState
    place: str = ""
    reason: str = ""
    code: str = ""
