"""A fast look at the header for the listener: bytes only, nothing parsed but MSH and the first PID-3."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from gateway.errors import Place, Unreadable
from gateway.hl7v2.charset import wide_codec
from gateway.hl7v2.delimiters import DEFAULT, LONGEST_HEADER, Delimiters, delimiters_of, read_delimiters

_AROUND = b"\xef\xbb\xbf\x0b\x1c\r\n \t\x00"
_LINE_END = re.compile(rb"[\r\n]")
_PID = re.compile(rb"[\r\n]PID(?=[^A-Za-z0-9\s])")
_FIELDS = 19
_PIECE = 2047  # hashlib holds the interpreter up to here
_SHORT = 32 * 1024


class Peek(NamedTuple):
    """What the listener needs of a header, as sent (escapes kept); ``""`` for what is not there.

    ``patient`` and ``authority`` are CX.1 and CX.4 of the first repetition of the first PID-3 (PID-2 where that is
    empty); ``head`` is the MSH segment; ``codec`` gives back its bytes.
    """

    codec: str = "utf-8"
    delimiters: Delimiters = DEFAULT
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    message_type: str = ""
    trigger_event: str = ""
    structure: str = ""
    processing_id: str = ""
    version: str = ""
    accept_acknowledgment: str = ""
    application_acknowledgment: str = ""
    charset: str = ""
    head: bytes = b""
    sent_at: str = ""
    control_id: str = ""
    patient: str = ""
    authority: str = ""

    @property
    def type_and_event(self) -> str:
        """``ORU^R01``, whatever the delimiters; ``ORU`` where no event is given."""
        return f"{self.message_type}^{self.trigger_event}" if self.trigger_event else self.message_type

    @property
    def patient_key(self) -> str:
        """The lane key: the same for the same identifier of the same authority; ``""`` where none is given."""
        return f"{self.patient}^{self.authority}" if self.patient else ""


def peek(raw: bytes) -> Peek:
    """Return the header of a message.

    Raises ``Unreadable`` naming the place when there is no MSH, no MSH-10, the delimiters are not readable, or the
    header is longer than ``LONGEST_HEADER``; ``acknowledgment.acknowledge`` forms an ``AR`` from ``raw_head`` where
    that is possible.
    """
    data = narrow(raw)
    if not data.startswith(b"MSH"):
        raise Unreadable("the message does not begin with MSH", Place("MSH"))
    head, text, codec = _head(raw, data)
    if len(head) > LONGEST_HEADER:
        raise Unreadable(f"the header is longer than {LONGEST_HEADER} bytes", Place("MSH"))
    seen = _header(head, codec, text, read_delimiters(text), data)
    if not seen.control_id:
        raise Unreadable("no message control id", Place("MSH", 1, 10), "101")
    return seen


def glance(raw: bytes) -> Peek:
    """Return as much of the header as can be read, with the usual delimiters where its own cannot; never raises."""
    data = narrow(raw)[:LONGEST_HEADER]
    if not data.startswith(b"MSH"):
        return Peek()
    head, text, codec = _head(raw, data)
    try:
        delimiters = read_delimiters(text)
    except Unreadable as unreadable:
        if unreadable.place.field == 1:
            return Peek(head=head, codec=codec)
        delimiters = _with_separator(text[3])
    return _header(head, codec, text, delimiters, data)


def content_digest(raw: bytes) -> bytes:
    """Return SHA-256 (32 bytes) of the message with MSH-7 blanked and line ends around it dropped.

    A resend with a new time has the digest of the first; anything else that differs gives another.
    """
    data = narrow(raw)
    separator = data[3:4]
    if not data.startswith(b"MSH") or not separator:
        return hashlib.sha256(data).digest()
    parts = data.split(separator, 7)
    end = _LINE_END.search(data)
    if len(parts) < 8 or (end and end.start() < sum(map(len, parts[:7])) + 6):
        return hashlib.sha256(data).digest()
    parts[6] = b""
    return _sha256(separator.join(parts))


def _sha256(data: bytes) -> bytes:
    """Return SHA-256, of a usual message in pieces so short that no other thread is let in meanwhile.

    The switch to the writer and back takes far longer than the hash.
    """
    if len(data) > _SHORT:
        return hashlib.sha256(data).digest()
    made = hashlib.sha256(data[:_PIECE])
    for start in range(_PIECE, len(data), _PIECE):
        made.update(data[start : start + _PIECE])
    return made.digest()


def narrow(raw: bytes) -> bytes:
    """Return the bytes without framing and blanks around them, UTF-16 and UTF-32 turned into UTF-8."""
    if codec := wide_codec(raw):
        raw = raw.decode(codec, "replace").encode()
    return raw.strip(_AROUND)


def _head(raw: bytes, data: bytes) -> tuple[bytes, str, str]:
    """Return the header segment, its text, and the codec that gives the sender's bytes back."""
    end = _LINE_END.search(data)
    head = data[: end.start()] if end else data
    try:
        return head, head.decode(), wide_codec(raw)[:6] or "utf-8"
    except UnicodeDecodeError:
        return head, head.decode("latin-1"), "latin-1"


def _with_separator(field: str) -> Delimiters:
    """Return the usual delimiters around a field separator that may be one of them."""
    try:
        return delimiters_of(field, DEFAULT.encoding_characters)
    except Unreadable:
        return DEFAULT


def _header(head: bytes, codec: str, text: str, delimiters: Delimiters, data: bytes) -> Peek:
    fields = text.split(delimiters.field, _FIELDS)
    fields += [""] * (_FIELDS - len(fields))
    kind = [*fields[8].split(delimiters.component, 3), "", ""][:3]
    patient, authority = _patient(data, delimiters)
    return Peek(
        head=head,
        codec=codec,
        delimiters=delimiters,
        sending_application=fields[2],
        sending_facility=fields[3],
        receiving_application=fields[4],
        receiving_facility=fields[5],
        sent_at=_first(fields[6], delimiters),
        message_type=kind[0].strip(),
        trigger_event=kind[1].strip(),
        structure=kind[2].strip(),
        control_id=_first(fields[9], delimiters),
        processing_id=_first(fields[10], delimiters),
        version=_first(fields[11], delimiters),
        accept_acknowledgment=fields[14].strip(),
        application_acknowledgment=fields[15].strip(),
        charset=fields[17],
        patient=patient,
        authority=authority,
    )


def _first(field: str, delimiters: Delimiters) -> str:
    return field.partition(delimiters.component)[0].strip()


def _patient(data: bytes, delimiters: Delimiters) -> tuple[str, str]:
    found = _PID.search(data)
    if found is None:
        return "", ""
    end = _LINE_END.search(data, found.end())
    line = _text(data[found.start() + 1 : end.start() if end else len(data)])
    fields = line.split(delimiters.field, 4)
    for n in (3, 2):
        if len(fields) > n and fields[n].strip():
            identifier = fields[n].partition(delimiters.repetition)[0] if delimiters.repetition else fields[n]
            parts = [*identifier.split(delimiters.component, 4), "", "", ""][:4]
            return parts[0].strip(), parts[3].strip()
    return "", ""


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
