"""From a finished draft to a statement: checked, encoded, with the columns that search needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir.learned import checked
from gateway.fhir.parts import written
from gateway.fhir.piecewise import stand_together
from gateway.model.translation import Statement
from mappings.context import Context, Draft, Sealed
from mappings.datatypes.ts import moment_of

Body = Mapping[str, Any]


def statement(draft: Draft, context: Context) -> Statement:
    """Turn a draft into a statement. Raises ``InvalidResource``, its path beginning with the resource type."""
    stated = draft.stated
    if stated is not None and (known := stated.get(context.feed)):
        return known
    kind, patient = draft.type, draft.patient
    sealed = draft.sealed
    if sealed is None:
        sealed, later = _sealed(draft, context), None
    else:
        later = draft.body
    text, removes = sealed.text, sealed.ousted
    if later:
        text += written(kind, later)
        removes = ousted(kind, (*sealed.names, *later))
    if draft.removes:
        removes = tuple(sorted(draft.removes.union(removes).difference(sealed.names, later or ())))
    made = Statement(
        kind,
        draft.id,
        text[:-1] + b"}",
        patient,
        removes,
        context.rank(kind),
        sealed.code,
        sealed.date,
        sealed.status,
        draft.held or (context.unnamed if patient else ""),
        tuple(sorted(draft.tentative)) if draft.tentative else (),
    )
    if stated is not None:
        stated[context.feed] = made
    return made


def seal(draft: Draft, status: str, code: str, date: datetime | None) -> None:
    """Check and write a whole draft now, with what its body does not say of it: status and ``date`` (UTC).

    Raises ``InvalidResource`` as ``statement`` does.
    """
    names = tuple(name for name in draft.body if name not in {"resourceType", "id"})
    draft.sealed = Sealed(b"%b," % _encoded(draft)[:-1], names, code, date, status, ousted(draft.type, names))
    draft.body = {}


def _sealed(draft: Draft, context: Context) -> Sealed:
    """Check and write a whole draft."""
    names, end = tuple(draft.body), b""
    if draft.last is not None:
        names, end = (*names, draft.last[0]), draft.last[1]
        if not stand_together(draft.type, frozenset(names)):
            draft.unseal()
            end = b""
    body = draft.body
    text = b"%b,%b" % (_encoded(draft)[:-1], end)
    date = date_text(body)
    moment = moment_of(date, context) if date else None
    return Sealed(text, names, preferred_code(body), moment, body.get("status") or "", ousted(draft.type, names))


def _encoded(draft: Draft) -> bytes:
    try:
        return checked(draft.body)
    except InvalidResource as error:
        if error.path.startswith(draft.type):
            raise
        raise InvalidResource(f"{draft.type}.{error.path}".rstrip("."), error.what) from error


_VALUES: Final = (
    *("valueQuantity", "valueCodeableConcept", "valueString", "valueBoolean", "valueInteger", "valueRange"),
    *("valueRatio", "valueSampledData", "valueTime", "valueDateTime", "valuePeriod", "dataAbsentReason"),
)
_EFFECTIVE: Final = ("effectiveDateTime", "effectivePeriod", "effectiveTiming", "effectiveInstant")
_CHOICES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "Patient": (("deceasedBoolean", "deceasedDateTime"), ("multipleBirthBoolean", "multipleBirthInteger")),
    "Observation": (_VALUES, _EFFECTIVE),
    "DiagnosticReport": (_EFFECTIVE,),
}


@lru_cache(maxsize=4096)
def ousted(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the other forms of each choice a resource makes: what an earlier message said in them is no longer so.

    ``names`` are its elements.

    >>> ousted("Patient", ("id", "deceasedDateTime"))
    ('deceasedBoolean',)
    """
    pairs = [(group, next((name for name in group if name in names), "")) for group in _CHOICES.get(kind, ())]
    return tuple(sorted(name for group, one in pairs if one for name in group if name != one))


_CODE_ELEMENT: Final = {"Specimen": "type", "DocumentReference": "type", "Encounter": "class", "Consent": "scope"}


def preferred_code(body: Body) -> str:
    """Return ``system|code`` of the first coding of what says which thing this is; ``""`` when there is none.

    >>> preferred_code({"resourceType": "Specimen", "type": {"coding": [{"system": "http://x.example", "code": "B"}]}})
    'http://x.example|B'
    """
    value = body.get(_CODE_ELEMENT.get(body["resourceType"], "code"))
    if not isinstance(value, dict):
        return ""
    codings = value.get("coding") or [value]
    first = next((coding for coding in codings if coding.get("code")), None)
    return f"{first.get('system', '')}|{first['code']}" if first else ""


def _period_start(element: str) -> Callable[[Body], str | None]:
    return lambda body: (body.get(element) or {}).get("start") or (body.get(element) or {}).get("end")


def _effective(body: Body) -> str | None:
    return body.get("effectiveDateTime") or body.get("effectiveInstant") or _period_start("effectivePeriod")(body)


def _collected(body: Body) -> str | None:
    collection = body.get("collection") or {}
    return collection.get("collectedDateTime") or (collection.get("collectedPeriod") or {}).get("start")


_DATES: Final[Mapping[str, Callable[[Body], str | None]]] = {
    "Observation": _effective,
    "DiagnosticReport": _effective,
    "Specimen": _collected,
    "DocumentReference": lambda body: _period_start("period")(body.get("context") or {}) or body.get("date"),
    "Encounter": _period_start("period"),
    "ResearchSubject": _period_start("period"),
    "Consent": lambda body: body.get("dateTime"),
    "Provenance": lambda body: body.get("recorded"),
}


def effective_date(body: Body, context: Context) -> datetime | None:
    """Return effective[x] of a result in UTC; None: it says none."""
    text = _effective(body)
    return moment_of(text, context) if text else None


def date_text(body: Body) -> str | None:
    """Return the FHIR date or dateTime a resource is placed in time by; None when it says none."""
    find = _DATES.get(body["resourceType"])
    return find(body) if find else None
