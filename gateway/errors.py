"""Every error the gateway raises on purpose.

::

    GatewayError
    |- ConfigurationError     a file of the configuration folder is wrong (file, line, what, how to mend)
    |- KeysMissing            no key file, or a key in it is missing
    |- MessageError           something in an HL7 v2 message is wrong; carries the place and the code of table 0357
    |  |- Unreadable          not HL7 v2, no MSH, no MSH-10, unreadable delimiters or character set
    |  |- NotTaken            MSH-9, MSH-11 or MSH-12 is not what the feed takes
    |  |- StructureError      a segment or field is missing, repeated or out of place
    |  `- MappingError        a value cannot become FHIR
    |     `- UnmappedCode     FHIR requires a code and the table has none for this value
    |- InvalidResource        a resource is not valid R4; carries the element path
    |- RequestRefused         a FHIR request cannot be answered as it was asked; carries HTTP status and issue code
    |- TokenRefused           a client gets no access token; carries the error code of RFC 6749
    |- InvalidAssertion       a signed assertion is not what SMART Backend Services asks for
    |- InvalidKeySet          a client's key set is not one, or cannot be fetched
    |- StoreError
    |  |- StoreUnavailable    the database did not answer or could not commit
    |  |- StaleClaim          the lease was lost to another worker; nothing was written
    |  |- VersionConflict     somebody else wrote that version first; the transaction may be tried again
    |  |- SchemaMismatch      the database is older or newer than the program
    |  `- BackupError         a backup cannot be taken into that folder, or put back from it
    |- NotTold                an alert could not be told
    `- BrokerError
       |- BrokerUnavailable   no connection, or it was lost before the confirm
       |- Unroutable          no queue is bound to the routing key
       `- QueueFull           the queue refused the message (reject-publish)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a message something is: segment, its position among equals, field, repetition, component.

    Counted from 1 as HL7 counts; 0 means "not said".

    >>> str(Place("OBX", 2, 5))
    'OBX[2]-5'
    >>> str(Place("PID", 1, 3, 2, 4))
    'PID-3[2].4'
    """

    segment: str = ""
    sequence: int = 1
    field: int = 0
    repetition: int = 1
    component: int = 0

    def __str__(self) -> str:
        text = self.segment or "message"
        if self.sequence > 1:
            text += f"[{self.sequence}]"
        if self.field:
            text += f"-{self.field}"
            if self.repetition > 1:
                text += f"[{self.repetition}]"
            if self.component:
                text += f".{self.component}"
        return text


class GatewayError(Exception):
    """Whatever the gateway raises on purpose. Its text never holds personal data."""


class ConfigurationError(GatewayError):
    """A file of the configuration folder is wrong; ``str()`` reads ``file:line: what``."""

    def __init__(self, file: str, what: str, line: int = 0) -> None:
        super().__init__(f"{file}:{line}: {what}" if line else f"{file}: {what}")
        self.file = file
        self.line = line
        self.what = what


class KeysMissing(GatewayError):
    """No key file, or a key in it is missing."""


class MessageError(GatewayError):
    """Something in an HL7 v2 message is wrong.

    ``place`` says where, ``code`` is of HL7 table 0357 (message error condition), ``what`` names no value
    that could be personal.
    """

    code = "207"

    def __init__(self, what: str, place: Place | None = None, code: str | None = None) -> None:
        self.place = place or Place()
        self.what = what
        if code is not None:
            self.code = code
        super().__init__(f"{self.place}: {what}")

    def __reduce__(self) -> tuple[type[MessageError], tuple[str, Place, str]]:
        return type(self), (self.what, self.place, self.code)


class Unreadable(MessageError):
    """Not HL7 v2, no MSH, no MSH-10, unreadable delimiters or character set."""

    code = "100"


class NotTaken(MessageError):
    """MSH-9, MSH-11 or MSH-12 is not what the feed takes (codes 200 to 203)."""

    code = "200"


class StructureError(MessageError):
    """A segment or field is missing, repeated or out of place (codes 100 to 103)."""

    code = "100"


class MappingError(MessageError):
    """A value cannot become FHIR."""

    code = "102"


class UnmappedCode(MappingError):
    """FHIR requires a code and the table has none for this value."""

    code = "103"


class InvalidResource(GatewayError):
    """A resource is not valid FHIR R4 4.0.1; ``path`` is the element, ``what`` the rule broken."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what

    def __reduce__(self) -> tuple[type[InvalidResource], tuple[str, str]]:
        return type(self), (self.path, self.what)


class RequestRefused(GatewayError):
    """A FHIR request cannot be answered as it was asked.

    ``status``: of HTTP; ``code``: of http://hl7.org/fhir/issue-type; ``expression``: element paths or parameter names.
    ``retry_after``: seconds after which it may be asked again. ``headers``: further ones of the answer. ``what`` names
    no value that could be personal.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        expression: tuple[str, ...] = (),
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what)
        self.status = status
        self.code = code
        self.what = what
        self.expression = expression
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[type[RequestRefused], tuple[int, str, str, tuple[str, ...]]]:
        return type(self), (self.status, self.code, self.what, self.expression)


class TokenRefused(GatewayError):
    """A client gets no access token, or may not ask about one.

    ``code``: of RFC 6749, 5.2; ``status``: of HTTP; ``what``: the error_description, printable ASCII without quotes,
    which says nothing of what is registered. ``retry_after``: seconds after which it may be asked again.
    """

    def __init__(self, code: str, what: str, status: int = 400, *, retry_after: int | None = None) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.status = status
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[TokenRefused], tuple[str, str, int]]:
        return type(self), (self.code, self.what, self.status)


class InvalidAssertion(GatewayError):
    """A signed assertion is not what SMART Backend Services asks for; ``str()`` says what is wrong with it."""


class InvalidKeySet(GatewayError):
    """A client's key set is not one, or cannot be fetched."""


class StoreError(GatewayError):
    """The database could not do what was asked."""


class StoreUnavailable(StoreError):
    """The database did not answer or could not commit."""


class StaleClaim(StoreError):
    """The lease was lost to another worker; nothing was written."""


class VersionConflict(StoreError):
    """Somebody else wrote that version first; the transaction may be tried again."""


class SchemaMismatch(StoreError):
    """The database is older or newer than the program."""


class BackupError(StoreError):
    """A backup cannot be taken into that folder, or put back from it."""


class NotTold(GatewayError):
    """An alert could not be told: the mail server or webhook did not take it."""


class BrokerError(GatewayError):
    """The broker could not do what was asked."""


class BrokerUnavailable(BrokerError):
    """No connection, or it was lost before the confirm."""


class Unroutable(BrokerError):
    """No queue is bound to the routing key."""


class QueueFull(BrokerError):
    """The queue refused the message (reject-publish)."""
