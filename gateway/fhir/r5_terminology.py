"""The R5 view of ConceptMap (http://hl7.org/fhir/R5/conceptmap.html, "R4 Conversions"); code systems stay as they are.

======================================  =================================================
R4                                      R5
======================================  =================================================
sourceUri, targetUri                    sourceScopeUri, targetScopeUri
group.element.target.equivalence        group.element.target.relationship, by the table below
a target that is ``unmatched``          group.element.noMap
======================================  =================================================
"""

from __future__ import annotations

from typing import Any, Final

from gateway.fhir.r5_steps import Object, Step, rename

RELATIONSHIPS: Final = {
    "relatedto": "related-to",
    "equivalent": "equivalent",
    "equal": "equivalent",
    "wider": "source-is-narrower-than-target",
    "subsumes": "source-is-narrower-than-target",
    "narrower": "source-is-broader-than-target",
    "specializes": "source-is-broader-than-target",
    "inexact": "related-to",
    "disjoint": "not-related-to",
}
"""ConceptMap.group.element.target.relationship by what R4 calls equivalence."""


def _groups(it: Object) -> None:
    if "group" in it:
        it["group"] = [{**group, "element": [_element(one) for one in group["element"]]} for group in it["group"]]


def _element(element: Object) -> Object:
    targets = element.get("target", [])
    found = [_target(target) for target in targets if target.get("equivalence") != "unmatched"]
    rest = {name: value for name, value in element.items() if name != "target"}
    return rest | ({"target": found} if found else {"noMap": True} if targets else {})


def _target(target: Object) -> dict[str, Any]:
    rest = {name: value for name, value in target.items() if name != "equivalence"}
    return rest | {"relationship": RELATIONSHIPS[target["equivalence"]]}


CONCEPT_MAP: Final[tuple[Step, ...]] = (
    rename("sourceUri", "sourceScopeUri"),
    rename("targetUri", "targetScopeUri"),
    Step(_groups, lambda it: None),
)
