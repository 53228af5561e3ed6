"""What could reveal an arm. A blinded recipient never sees it, whatever its file says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway.model.names import LOINC, OBSERVATION_CODES, PROTOCOL_VISIT, SITE_SYSTEM, TREATMENT_PHASE
from gateway.release.elements import empty, paths
from gateway.release.identity import PLAIN

ARM_ELEMENTS: Final = {
    "ResearchSubject": ("assignedArm", "actualArm"),
    "ResearchStudy": ("arm",),
    "Group": ("member", "characteristic", "quantity"),
}

ARM_TYPES: Final = frozenset(
    {"Procedure", "MedicationAdministration", "Immunization", "DocumentReference", "Binary", "ServiceRequest", "Task"}
)
"""Types that say what is done to a patient: nobody can tell from their codes whether that reveals an arm."""

ARM_CODES: Final = (
    "GT-VCN", "GT-CHIM", "GT-ISA", "GT-RCL", "GT-RCR", "GT-TE-", "GT-CD34-", "GT-DP-", "GT-HB-VEC", "GT-BU-",
)  # fmt: skip
"""Beginnings of the unit's own codes that reveal an arm: vector copy number, chimerism, integration sites,
replication-competent virus, transduction, CD34 product and dose, drug product, vector haemoglobin, conditioning."""

ARM_LOINC: Final = frozenset({"80698-4", "14136-6", "93476-0", "22666-2", "15363-5"})
"""LOINC codes of the same measurements: CD34 viability and count, busulfan exposure and concentration."""

ARM_EXTENSIONS: Final = frozenset({PROTOCOL_VISIT, TREATMENT_PHASE})

_CODED: Final = ("Observation", "DiagnosticReport")


def reveals(system: str, code: str) -> bool:
    """Whether a code reveals an arm.

    >>> reveals(OBSERVATION_CODES, "GT-VCN-CD3"), reveals(LOINC, "718-7")
    (True, False)
    """
    if system == OBSERVATION_CODES:
        return code.startswith(ARM_CODES)
    return system == LOINC and code in ARM_LOINC


def codings(concept: Any) -> Iterator[tuple[str, str]]:
    """Yield (system, code) of a CodeableConcept's codings; what is none says nothing."""
    listed = concept.get("coding") if isinstance(concept, dict) else None
    for coding in listed if isinstance(listed, list) else ():
        pair = (coding.get("system", ""), coding.get("code", "")) if isinstance(coding, dict) else ()
        if len(pair) == 2 and all(isinstance(text, str) for text in pair):
            yield pair


def code_reveals(body: dict[str, Any]) -> bool:
    """Whether the code of an Observation or DiagnosticReport reveals an arm, or nobody can tell what it means."""
    if body.get("resourceType") not in _CODED:
        return False
    known = [pair for pair in codings(body.get("code")) if not pair[0].startswith(SITE_SYSTEM)]
    return not known or any(reveals(*pair) for pair in known)


def without_arms(body: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a body without arm elements, arm extensions and components that reveal an arm."""
    hidden = ARM_ELEMENTS.get(body.get("resourceType", ""), ())
    kept = {name: value for name, value in body.items() if name not in hidden}
    if "component" in kept:
        kept["component"] = [part for part in kept["component"] if not _part_reveals(part)]
    cleaned: dict[str, Any] = _without_extensions(kept)
    return cleaned


def _part_reveals(part: dict[str, Any]) -> bool:
    pairs = list(codings(part.get("code")))
    return not pairs or any(reveals(*pair) for pair in pairs)


def _without_extensions(value: Any) -> Any:
    if isinstance(value, list):
        items = [_without_extensions(item) for item in value if not _is_arm_extension(item)]
        return [item for item in items if not empty(item)]
    if isinstance(value, dict):
        members = {name: _without_extensions(item) for name, item in value.items()}
        return {name: item for name, item in members.items() if not empty(item)}
    return value


def _is_arm_extension(value: Any) -> bool:
    return isinstance(value, dict) and value.get("url") in ARM_EXTENSIONS


def _coded(path: str) -> bool:
    return path.rpartition(".")[2] in PLAIN


def names_an_arm(body: dict[str, Any], arms: Iterable[str]) -> bool:
    """Whether any text of a body is an arm's name, or holds one of six letters or more; codes are not text."""
    names = [arm.casefold() for arm in arms if arm]
    if not names:
        return False
    texts = [value.casefold() for path, value in paths(body) if isinstance(value, str) and not _coded(path)]
    return any(text == name or (len(name) >= 6 and name in text) for text in texts for name in names)
