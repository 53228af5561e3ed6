"""What is written in R5, in the form of R4: only where nothing is lost.

Each move of the R5 view (``STEPS``) knows its way back; what the view carried of R4 in extensions comes out of them.
What only R5 says and has no twin in R4 is kept in HL7's cross-version extensions (``FOLDED``). Whether something would
be lost is seen by going there again: the R5 view of what comes out must be what came in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir.across import R4_IN_R5, R5_IN_R4, without_empty_shadows
from gateway.fhir.r5 import STEPS, to_r5
from gateway.fhir.r5_steps import R4_ONLY, Object, walk_back
from gateway.fhir.r5_trial import states
from gateway.fhir.r5_types import recast_back

FOLDED: Final[Mapping[str, tuple[str, ...]]] = {
    "Observation": ("valueAttachment",),
    "ResearchStudy": (
        *("url", "version", "name", "label", "date", "studyDesign", "descriptionSummary", "outcomeMeasure", "result"),
    ),
}
"""Elements that R4 does not have, nor another way to say them, by type."""

_WRONG: Final = (KeyError, TypeError, IndexError, AttributeError, ValueError)
"""What a step raises at what is not the R5 form."""


def states_told(resource: dict[str, Any]) -> list[str]:
    """Return the states of a ResearchSubject (R5, as we tell it), the newest last."""
    return states(resource.get("progress", ()))


def from_r5(resource: dict[str, Any], told: Sequence[str] = ()) -> dict[str, Any]:
    """Return the R4 form of an R5 resource. Raises ``InvalidResource`` for an element R4 has no place for.

    ``told``: the states that the R5 form of a ResearchSubject tells today; R4 holds the last alone. What is written may
    say another in its place, or another behind it. States beside these, and what else is said of them, are kept in an
    extension.
    """
    kind = str(resource.get("resourceType", ""))
    try:
        made = _back(resource)
        again = to_r5(made, told[:-1])
        if again.get("progress") != resource.get("progress"):
            again = to_r5(made, told)
        if kind == "ResearchSubject" and again.get("progress") != resource.get("progress"):
            made = _with_progress(made, resource)
            again = to_r5(made)
    except InvalidResource:
        raise
    except _WRONG:
        raise InvalidResource(kind, "is not the R5 form of this type") from None
    for name in sorted(resource.keys() | again.keys()):
        if name not in ("meta", "id") and resource.get(name) != again.get(name):
            raise InvalidResource(f"{kind}.{name}", _why(resource))
    return made


def _why(resource: Object) -> str:
    if any(each["url"].startswith(R4_ONLY) for each in resource.get("extension", ())):
        return "cannot be kept beside what the extensions for R4 say: leave those out that say otherwise"
    return "cannot be kept as it stands: R4 has no place for it"


def _back(resource: Object) -> Object:
    """Return the R4 form of a resource, whether or not something is lost by it."""
    kind = str(resource.get("resourceType", ""))
    copy = {name: value for name, value in resource.items() if name != "contained"}
    kept: dict[str, Any] = {}
    if any(each["url"].startswith(R4_ONLY) for each in copy.get("extension", ())):
        carried = [each for each in copy["extension"] if each["url"].startswith(R4_ONLY)]
        kept, others = R4_IN_R5.heard(kind, recast_back(carried))
        others += [each for each in copy.pop("extension") if each not in carried]
        copy |= {"extension": others} if others else {}
    folded = [each for name in FOLDED.get(kind, ()) if name in copy for each in recast_back(_folded(copy, name))]
    made = recast_back(walk_back(copy, STEPS.get(kind, ())))
    made = {name: value for name, value in made.items() if name.removeprefix("_") not in kept}
    made |= without_empty_shadows({name: value for name, value in kept.items() if value is not None})
    if folded:
        made["extension"] = [*made.get("extension", ()), *folded]
    if "contained" in resource:
        made["contained"] = [_back(each) for each in resource["contained"]]
    return made


def _folded(copy: Object, name: str) -> list[Object]:
    kind = copy["resourceType"]
    extensions = R5_IN_R4.carried(kind, name, copy)
    copy.pop(name)
    copy.pop("_" + name, None)
    return extensions


def _with_progress(made: Object, resource: Object) -> Object:
    """Return the R4 form of a ResearchSubject with the whole of its progress in an extension."""
    if "progress" not in resource:
        raise InvalidResource("ResearchSubject.progress", "cannot be kept as it stands: its newest state is needed")
    progress = R5_IN_R4.carried("ResearchSubject", "progress", resource)
    return {**made, "extension": [*made.get("extension", ()), *progress]}
