"""``XAD`` (and ``AD``): addresses."""

from __future__ import annotations

from typing import Any, Final

from gateway.hl7v2.message import Field
from mappings.context import Context
from mappings.datatypes.ts import dr_period, period, ts_datetime
from mappings.rules import optional_code
from mappings.tables import load

_TYPES: Final = load("hl70190_address_type")
_USES: Final = load("hl70190_address_use")


def xad_address(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert an ``XAD`` to a FHIR ``Address``.

    ==================  ===================  ==================================
    v2                  FHIR                 rule
    ==================  ===================  ==================================
    XAD-1.1 to XAD-1.3  Address.line         street address, street, number
    XAD-2, XAD-19       Address.line
    XAD-3, -4, -5, -6   city, state, postalCode, country   copied as text
    XAD-7               Address.type or use  table 0190
    XAD-9               Address.district     county or parish
    XAD-12, -13/-14     Address.period
    XAD-10              --                   census tract: nobody needs it
    ==================  ===================  ==================================

    See HL7 v2.5.1 2.A.84 and the v2-to-FHIR map ``XAD[Address]``.
    """
    made: dict[str, Any] = _kind(found.component(7), context)
    if lines := _lines(found):
        made["line"] = lines
    elements = (("city", 3), ("district", 9), ("state", 4), ("postalCode", 5), ("country", 6))
    made.update({element: text for element, number in elements if (text := found.component(number))})
    if not made.keys() - {"use", "type"}:
        return None
    if valid := _valid_period(found, context):
        made["period"] = valid
    return made


def _kind(kind: str, context: Context) -> dict[str, Any]:
    if not kind:
        return {}
    postal = _TYPES.targets.get(kind)
    if postal is not None:
        return {"type": postal.code}
    use = optional_code(_USES, kind, context)
    return {"use": use} if use else {}


def _lines(found: Field) -> list[str]:
    texts = [found.subcomponent(1, n) for n in (1, 2, 3)]
    return [text for text in (*texts, found.component(2), found.component(19)) if text]


def _valid_period(found: Field, context: Context) -> dict[str, Any] | None:
    if found.component(12) and not (found.component(13) or found.component(14)):
        return dr_period(found.nested(12), context)
    start = ts_datetime(found.nested(13), context) if found.component(13) else None
    end = ts_datetime(found.nested(14), context) if found.component(14) else None
    return period(start, end, context)
