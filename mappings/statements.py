"""From a finished draft to a statement: checked, encoded, with the columns that search needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir.checks import check
from gateway.fhir.codec import encode
from gateway.fhir.parts import written
from gateway.model.translation import Statement
from mappings.context import Context, Draft
from mappings.datatypes.ts import utc_of

Body = Mapping[str, Any]


def statement(draft: Draft, context: Context) -> Statement:
    """Turn a draft into a statement. Raises ``InvalidResource``, its path beginning with the resource type."""
    if draft.patient:
        return _made(draft, context)
    known = draft.stated.get(context.feed)
    if known is None:
        known = draft.stated[context.feed] = _made(draft, context)
    return known


def _made(draft: Draft, context: Context) -> Statement:
    body = draft.body
    encoded = _sealed(draft) if draft.sealed else _encoded(draft)
    date = date_text(body)
    return Statement(
        type=draft.type,
        id=draft.id,
        body=encoded,
        patient=draft.patient,
        removes=_removes(draft),
        rank=context.site.rank(context.feed, draft.type),
        code=draft.code or preferred_code(body),
        date=_utc(date, context) if date else None,
        status=body.get("status") or "",
        held=draft.held or (context.unnamed if draft.patient else ""),
        tentative=tuple(sorted(draft.tentative)),
    )


def _encoded(draft: Draft) -> bytes:
    try:
        check(draft.body)
        return encode(draft.body)
    except InvalidResource as error:
        if error.path.startswith(draft.type):
            raise
        raise InvalidResource(f"{draft.type}.{error.path}".rstrip("."), error.what) from error


def _sealed(draft: Draft) -> bytes:
    """Return what was checked and written already, with the elements that came after it."""
    later = dict(islice(draft.body.items(), draft.count, None))
    return (draft.sealed + written(draft.type, later))[:-1] + b"}"


def _utc(text: str, context: Context) -> datetime:
    key = ("utc", text)
    known: datetime | None = context.memo.get(key)
    if known is None:
        known = context.memo[key] = utc_of(text, context.zone)
    return known


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


def ousted(body: Body) -> tuple[str, ...]:
    """Return the other forms of each choice the resource makes: what an earlier message said in them is no longer so.

    >>> ousted({"resourceType": "Patient", "deceasedDateTime": "2026-01-02"})
    ('deceasedBoolean',)
    """
    kind = body["resourceType"]
    return _ousted(kind, tuple(body)) if kind in _CHOICES else ()


@lru_cache(maxsize=4096)
def _ousted(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    pairs = [(group, next((name for name in group if name in names), "")) for group in _CHOICES[kind]]
    return tuple(sorted(name for group, one in pairs if one for name in group if name != one))


def _removes(draft: Draft) -> tuple[str, ...]:
    others = ousted(draft.body)
    if not draft.removes:
        return others
    return tuple(sorted(draft.removes.union(others) - draft.body.keys()))


_CODE_ELEMENT: Final = {"Specimen": "type", "Encounter": "class", "Consent": "scope"}


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
    "Encounter": _period_start("period"),
    "ResearchSubject": _period_start("period"),
    "Consent": lambda body: body.get("dateTime"),
    "Provenance": lambda body: body.get("recorded"),
}


def date_text(body: Body) -> str | None:
    """Return the FHIR date or dateTime a resource is placed in time by; None when it says none."""
    find = _DATES.get(body["resourceType"])
    return find(body) if find else None
