"""Pseudonymous ids, and what a pseudonymous view never sees.

An id or reference is the internal UUID encrypted as one AES block under the study's key: the same inside the study,
unlinkable between studies, and resolvable by the gateway alone (ARCHITECTURE, decision 8). Of the elements a
recipient's file lets out, those below still stay inside: free text and names unless the file names that very path,
and some always.
"""

from __future__ import annotations

import hmac
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.model.names import CLIENT_ID, GATEWAY, SUBJECT_NUMBER, UCUM
from gateway.model.study import Subject
from gateway.release.documents import ATTACHMENTS, described
from gateway.release.elements import empty

PSEUDED: Final = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "PSEUDED"}

PATIENT_ELEMENTS: Final = frozenset(
    {"identifier", "active", "gender", "birthDate", "deceasedBoolean", "deceasedDateTime"}
)
"""All that a pseudonymous view ever sees of a Patient; ``identifier`` is the subject number, ``birthDate`` a year."""

NEVER: Final = {
    "Practitioner": frozenset({"telecom", "address", "photo", "birthDate", "gender"}),
    "*": frozenset({"text", "contained", "meta", "implicitRules", "language"}),
}
"""Top-level elements that never leave in a pseudonymous view, by type."""

NAMED_ONLY: Final = frozenset(
    {
        "identifier", "groupIdentifier", "accessionIdentifier", "preAdmissionIdentifier", "masterIdentifier",
        "performer", "participant", "asserter", "recorder", "author", "resultsInterpreter", "requester", "collector",
        "entity", "note", "extension", "modifierExtension", "contact", "name", "telecom", "address", "photo",
        "valueAttachment", "sourceAttachment", "presentedForm", "media", "link",
    }
)  # fmt: skip
"""Elements that leave, with their subtree, only where the recipient's file names their very path."""

_NOT_NAMED: Final = frozenset({"member.entity"})
"""Paths that leave without being named, as they are references alone: the members of a Group."""

PLAIN: Final = frozenset(
    {"resourceType", "id", "reference", "type", "system", "code", "version", "comparator", "status", "intent", "use",
     "mode", "relation", "gender"}
)  # fmt: skip
"""Text-valued elements that hold codes, systems and references, never prose."""

_TIME_NAMES: Final = re.compile(r"(Date|Time|DateTime|Instant|Period)$|^(start|end|issued|recorded|date|time|event)$")
_TIME: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T[\d:.]{5,18}(Z|[+-]\d\d:\d\d))?)?)?|\d\d:\d\d(:\d\d(\.\d+)?)?")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/%+^*{}\[\]()#<>=-]{0,63}")
_WRITTEN: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_QUANTITY: Final = ("value", "comparator", "unit", "system", "code")
_PUBLIC: Final = ("http://loinc.org", "http://snomed.info/", "http://terminology.hl7.org/", "http://hl7.org/", UCUM)


# --- ids ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _cipher(root: bytes, study: str) -> Cipher[modes.ECB]:
    key = hmac.digest(root, b"pseudonym\x1f" + study.encode(), "sha256")
    return Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305 - one block of a random-looking UUID, never two


class _Contexts(threading.local):
    """The contexts of each thread by root and study. They go on: in ECB no block depends on those before it."""

    def __init__(self) -> None:
        self.encrypting = lru_cache(1024)(lambda root, study: _cipher(root, study).encryptor())
        self.decrypting = lru_cache(1024)(lambda root, study: _cipher(root, study).decryptor())


_CONTEXTS: Final = _Contexts()


def pseudonym(internal: str, study: str, root: bytes) -> str:
    """Return the id of a resource in a study's pseudonymous views (UUID text). Raises ``ValueError`` for no UUID.

    >>> one = "6f1c2f0e-8a58-4d1c-9a53-0b6f6a0c1d2e"
    >>> resolve(pseudonym(one, "MLD-01", b"k" * 32), "MLD-01", b"k" * 32) == one
    True
    >>> pseudonym(one, "MLD-01", b"k" * 32) == pseudonym(one, "MLD-02", b"k" * 32)
    False
    """
    return _encrypted(UUID(internal).bytes, study, root)[0]


def pseudonyms(internals: Iterable[str], study: str, root: bytes) -> dict[str, str]:
    """Return the ids of many resources at once; what is not written as a UUID is left out.

    >>> one = "6f1c2f0e-8a58-4d1c-9a53-0b6f6a0c1d2e"
    >>> pseudonyms([one, "none"], "MLD-01", b"k" * 32) == {one: pseudonym(one, "MLD-01", b"k" * 32)}
    True
    """
    ids = [internal for internal in internals if _WRITTEN.fullmatch(internal)]
    blocks = bytes.fromhex("".join(ids).replace("-", ""))
    return dict(zip(ids, _encrypted(blocks, study, root), strict=True))


def _encrypted(blocks: bytes, study: str, root: bytes) -> list[str]:
    text = _CONTEXTS.encrypting(root, study).update(blocks).hex()
    return [_uuid(text[start : start + 32]) for start in range(0, len(text), 32)]


def _uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def resolve(public: str, study: str, root: bytes) -> str:
    """Return the internal id behind a pseudonymous one. Raises ``ValueError`` when it is not written as a UUID is."""
    return _uuid(_CONTEXTS.decrypting(root, study).update(bytes.fromhex(written(public).replace("-", ""))).hex())


def written(id: str) -> str:
    """Return an id. Raises ``ValueError`` when it is not a UUID in its one spelling (RFC 9562, 4: small letters)."""
    if _WRITTEN.fullmatch(id) is None:
        raise ValueError("not written as a UUID is")
    return id


# --- elements -------------------------------------------------------------------------------------------------------


def never(resource_type: str, element: str) -> bool:
    """Whether a top-level element of a type never leaves in a pseudonymous view."""
    if resource_type == "Patient":
        return element not in PATIENT_ELEMENTS
    return element in NEVER["*"] or element in NEVER.get(resource_type, ())


def is_reference(element: dict[str, Any]) -> bool:
    """Whether an object of a resource is a FHIR Reference, a logical one or a mere display included."""
    if isinstance(element.get("reference"), str):
        return True
    if not element or not element.keys() <= {"type", "identifier", "display"}:
        return False
    return isinstance(element.get("identifier"), dict) or isinstance(element.get("display"), str)


@dataclass(frozen=True, slots=True)
class Pseudonymiser:
    """Takes out of an allowed body what identifies. ``named``: the very paths the recipient's file names."""

    named: frozenset[str]
    rewrite: Callable[[str], str | None]

    def clean(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of a resource without what identifies; ids stay as they are, references are rewritten."""
        resource_type = body["resourceType"]
        kept = {name: value for name, value in body.items() if not never(resource_type, name)}
        return self._object(kept, "", opened=False)

    def _object(self, element: dict[str, Any], path: str, *, opened: bool) -> dict[str, Any]:
        if is_reference(element):
            return self._reference(element)
        if "value" in element and not isinstance(element["value"], (str, dict, list)):
            return self._quantity(element, path, opened=opened)
        kept = {}
        for name, value in element.items():
            here = f"{path}.{name}" if path else name
            cleaned = self._member(name, value, here, opened=opened)
            if not empty(cleaned):
                kept[name] = cleaned
        return kept

    def _member(self, name: str, value: Any, path: str, *, opened: bool) -> Any:
        opened = opened or (name in NAMED_ONLY and path in self.named)
        if not opened and ((name in NAMED_ONLY and path not in _NOT_NAMED) or name.startswith("_")):
            return None
        if name in ATTACHMENTS:
            return described(value)
        if name == "coding" and isinstance(value, list):
            codings = [self._coding(coding, path, opened=opened) for coding in value]
            return [coding for coding in codings if coding]
        return self._value(name, value, path, opened=opened)

    def _value(self, name: str, value: Any, path: str, *, opened: bool) -> Any:
        if isinstance(value, dict):
            if name == "class":
                return self._coding(value, path, opened=opened)
            return self._object(value, path, opened=opened)
        if isinstance(value, list):
            items = [self._value(name, item, path, opened=opened) for item in value]
            return [item for item in items if not empty(item)]
        if isinstance(value, str) and not (opened or path in self.named or _plain(name, value)):
            return None
        return value

    def _reference(self, element: dict[str, Any]) -> dict[str, Any]:
        if own := _of_the_gateway(element):
            return own
        target = self.rewrite(element.get("reference", ""))
        if target is None:
            return {}
        return {"reference": target} | ({"type": element["type"]} if "type" in element else {})

    def _coding(self, coding: Any, path: str, *, opened: bool) -> dict[str, Any]:
        if not isinstance(coding, dict):
            return {}
        system, code = coding.get("system", ""), coding.get("code", "")
        if not isinstance(system, str) or not isinstance(code, str):
            return {}
        if not opened and not system.startswith(_PUBLIC) and not _CODE.fullmatch(code):
            return {}
        text = opened or f"{path}.display" in self.named
        names = ("system", "version", "code", "userSelected", *(("display",) if text else ()))
        return {name: coding[name] for name in names if name in coding}

    def _quantity(self, quantity: dict[str, Any], path: str, *, opened: bool) -> dict[str, Any]:
        """Keep a quantity whose unit is coded; one with a unit in words alone would leave without its unit."""
        kept = {name: item for name, item in quantity.items() if name in _QUANTITY}
        if "extension" in quantity:
            extension = self._member("extension", quantity["extension"], f"{path}.extension", opened=opened)
            kept |= {"extension": extension} if not empty(extension) else {}
        if "unit" not in quantity or opened or f"{path}.unit" in self.named:
            return kept
        if quantity.get("system") != UCUM or "code" not in quantity:
            return {}
        return kept | {"unit": quantity["code"]}


def _of_the_gateway(reference: dict[str, Any]) -> dict[str, Any]:
    """Return a Reference to the gateway itself, or to a client by the id it has here; ``{}`` for any other."""
    if reference == {"display": GATEWAY}:
        return {"display": GATEWAY}
    identifier = reference.get("identifier")
    if reference.keys() != {"identifier"} or not isinstance(identifier, dict):
        return {}
    if identifier.get("system") != CLIENT_ID or not isinstance(identifier.get("value"), str):
        return {}
    return {"identifier": {"system": CLIENT_ID, "value": identifier["value"]}}


def _plain(name: str, value: str) -> bool:
    if name in PLAIN:
        return True
    return bool(_TIME_NAMES.search(name)) and _TIME.fullmatch(value) is not None


# --- the subject ----------------------------------------------------------------------------------------------------


def subject_numbers(body: dict[str, Any], subject: Subject) -> None:
    """Leave the subject number of this study as the only identifier of a Patient or ResearchSubject."""
    if body.pop("identifier", None) is not None and subject.number:
        body["identifier"] = [{"system": f"{SUBJECT_NUMBER}/{subject.study}", "value": subject.number}]


def without_other_studies(body: dict[str, Any], study: str) -> None:
    """Drop the subject numbers of other studies from a body's identifiers (identified views)."""
    identifiers = body.get("identifier")
    if not isinstance(identifiers, list):
        return
    own = [one for one in identifiers if _own_number(one.get("system", ""), study)]
    if own:
        body["identifier"] = own
    else:
        del body["identifier"]


def _own_number(system: str, study: str) -> bool:
    own = f"{SUBJECT_NUMBER}/{study}"
    return not system.startswith(f"{SUBJECT_NUMBER}/") or system == own or system.startswith(f"{own}/")


def generalise(body: dict[str, Any]) -> None:
    """Leave the year of a Patient's birth date."""
    born = body.get("birthDate")
    if isinstance(born, str):
        body["birthDate"] = born[:4]
