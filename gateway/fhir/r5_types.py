"""The datatypes whose form differs between R4 and R5, wherever they stand in a resource ("R4 Differences" of each).

====================================  ================================================================
R4                                    R5
====================================  ================================================================
Attachment.size, a number             a string of digits (``integer64``, http://hl7.org/fhir/R5/json.html#primitive)
RelatedArtifact.url                   document.url; in an extension of it when the document has one of its own
SampledData.period                    interval, its unit ``ms``
Dosage.asNeededBoolean, -Concept      asNeeded, asNeededFor[]
Dosage.maxDosePerPeriod               maxDosePerPeriod[]
Extension.valueContributor            its parts, as a cross-version extension spells out a type that is not there
====================================  ================================================================
"""

from __future__ import annotations

from typing import Any, Final

from gateway.fhir.r5_steps import (
    LISTED,
    R4_ONLY,
    Change,
    Object,
    Step,
    alter,
    edited,
    rename,
    tuck,
    with_said,
    without_said,
)

DATATYPE: Final = "http://hl7.org/fhir/StructureDefinition/_datatype"
"""HL7's extension that names the type that parts stand for."""

_CONTRIBUTOR: Final = (("type", "valueCode"), ("name", "valueString"), ("contact", "valueContactDetail"))


def _millis(it: Object) -> None:
    it["intervalUnit"] = "ms"


def _no_unit(it: Object) -> None:
    del it["intervalUnit"]


def _url(it: Object) -> None:
    """Move ``url`` of a RelatedArtifact into its document, unless that has one."""
    found = {name: it[name] for name in ("url", "_url") if name in it}
    document = it.get("document", {})
    if found and "url" not in document and "_url" not in document:
        it["document"] = {**found, **document}
        for name in found:
            del it[name]


def _url_back(it: Object) -> None:
    document = dict(it.get("document", {}))
    found = {name: document.pop(name) for name in ("url", "_url") if name in document}
    if not found or _KEPT_IN_DOCUMENT in document.get("extension", ()):
        return
    it |= found
    if document:
        it["document"] = document
    else:
        del it["document"]


_KEPT_IN_DOCUMENT: Final = {"url": f"{R4_ONLY}RelatedArtifact.document.url", "valueBoolean": True}
"""Marks a document whose url was its own in R4."""


def _own_url(it: Object) -> None:
    document = it.get("document")
    if document is not None and ("url" in document or "_url" in document):
        it["document"] = {**document, "extension": [*document.get("extension", ()), _KEPT_IN_DOCUMENT]}


def _own_url_back(it: Object) -> None:
    document = it.get("document")
    if document is not None and _KEPT_IN_DOCUMENT in document.get("extension", ()):
        rest = [one for one in document["extension"] if one != _KEPT_IN_DOCUMENT]
        it["document"] = {name: value for name, value in document.items() if name != "extension"}
        it["document"] |= {"extension": rest} if rest else {}


ATTACHMENT: Final = edited(alter("size", Change(str, int, primitive=True)))
SAMPLED: Final = edited(rename("period", "interval"), Step(_millis, _no_unit))
ARTIFACT: Final = edited(
    Step(_own_url, _own_url_back), Step(_url, _url_back), tuck("url", "RelatedArtifact.url", "valueUrl")
)
DOSAGE: Final = edited(
    rename("asNeededBoolean", "asNeeded"),
    rename("asNeededCodeableConcept", "asNeededFor", LISTED),
    alter("maxDosePerPeriod", LISTED),
)
_BY_ELEMENT: Final = {
    "attachment": ATTACHMENT,
    "document": ATTACHMENT,
    "documentation": ARTIFACT,
    "dosageInstruction": DOSAGE,
    "photo": ATTACHMENT,
    "presentedForm": ATTACHMENT,
    "relatedArtifact": ARTIFACT,
    "sourceAttachment": ATTACHMENT,
    "valueAttachment": ATTACHMENT,
    "valueDosage": DOSAGE,
    "valueRelatedArtifact": ARTIFACT,
    "valueSampledData": SAMPLED,
}


def recast(value: Any) -> Any:
    """Return a value of R4 with its datatypes as R5 has them; what did not change is shared with it."""
    return _walked(value, back=False)


def recast_back(value: Any) -> Any:
    """Return a value of R5 with its datatypes as R4 has them."""
    return _walked(value, back=True)


def _walked(value: Any, *, back: bool) -> Any:
    if isinstance(value, list):
        items = [_walked(one, back=back) for one in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not isinstance(value, dict):
        return value
    made: Object = {}
    for name, item in value.items():
        new = _walked(item, back=back) if isinstance(item, dict | list) else item
        change = _BY_ELEMENT.get(name)
        made[name] = new if change is None else _changed(new, change, back=back)
    made = _assembled(made) if back else _spelled(made)
    return made if made.keys() != value.keys() or any(made[name] is not value[name] for name in made) else value


def _changed(value: Any, change: Change, *, back: bool) -> Any:
    if isinstance(value, list):
        return [_changed(one, change, back=back) for one in value]
    if not isinstance(value, dict):
        return value
    return change.back(value) if back else change.there(value)


def _spelled(it: Object) -> Object:
    """Return an extension whose value is a Contributor, a type R5 does not have, in its parts."""
    if "valueContributor" not in it or "url" not in it:
        return it
    value = it["valueContributor"]
    parts: list[Object] = [{"url": DATATYPE, "valueString": "Contributor"}]
    for name, key in _CONTRIBUTOR:
        found = value.get(name, [])
        shadow = value.get("_" + name)
        if shadow is not None:
            parts.append(with_said(name, key, found or None, shadow))
        else:
            parts += [{"url": name, key: one} for one in (found if isinstance(found, list) else [found])]
    parts += value.get("extension", [])
    rest = {name: item for name, item in it.items() if name != "valueContributor"}
    return {**rest, "extension": parts}


def _assembled(it: Object) -> Object:
    parts = it.get("extension", ())
    if "url" not in it or not parts or parts[0] != {"url": DATATYPE, "valueString": "Contributor"}:
        return it
    value: Object = {}
    for part in parts:
        key = dict(_CONTRIBUTOR).get(part["url"], "")
        if part["url"] == "contact":
            value.setdefault("contact", []).append(part[key])
        elif key and "extension" in part:
            said, value["_" + part["url"]] = without_said(part, key)
            if said:
                value[part["url"]] = said[0]
        elif key:
            value[part["url"]] = part[key]
    names = {DATATYPE, *(name for name, _ in _CONTRIBUTOR)}
    if own := [part for part in parts if part["url"] not in names]:
        value["extension"] = own
    kept = {name: item for name, item in it.items() if name != "extension"}
    return {**kept, "valueContributor": value}
