"""What deciding on a resource comes to: it is let out, or a named rule withholds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from gateway.fhir import codec


class Let(Struct, frozen=True, gc=False):
    """The resource may leave, as the JSON ``text``, under ``id``: both are the view's own."""

    text: bytes
    id: str

    @property
    def body(self) -> dict[str, Any]:
        """What ``text`` says, built anew: nobody else has it."""
        built: dict[str, Any] = codec.decode(self.text)
        return built


@dataclass(frozen=True, slots=True)
class Withheld:
    """A rule withholds the resource. ``rule`` is a stable word of ``RULES``; ``detail`` holds no personal data."""

    rule: str
    detail: str = ""


RULES: dict[str, str] = {
    "deleted": "the resource was deleted by a client that may (FHIR API)",
    "type": "the recipient's file does not list the resource type",
    "study": "the recipient's file does not list the study, or the resource is of another study",
    "not-a-subject": "the patient is not a subject of the study",
    "status": "the subject's status is not one the recipient may see",
    "consent": "no active consent",
    "purpose": "an active consent exists, but not for the recipient's purpose",
    "no-date": "the data say nothing of their time, so that it cannot be compared with the consent",
    "before-consent": "the data are older than the consent (less the recipient's look-back)",
    "after-end": "the data are younger than the end of the subject's participation or of the consent",
    "merged": "the Patient was merged into another",
    "taken-back": "the result that brought the document was deleted, or is an error",
    "document": "no document the view sees refers to it, or the view is pseudonymous",
    "held": "a person must look at the resource first",
    "code": "the recipient's file does not list the code",
    "blinded": "the resource could reveal an arm to a blinded recipient",
    "entered-in-error": "the resource is an error the view never held",
    "value": "the recipient's file or its identity does not let the value out in this form",
    "required": "an element FHIR requires may not leave",
    "invalid": "what may leave is not valid FHIR R4",
}
"""Every rule that can withhold a resource, with its meaning."""
