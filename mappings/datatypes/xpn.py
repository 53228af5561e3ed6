"""``XPN`` (and ``PN`` before 2.3): names of people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.hl7v2.message import Field
from mappings.context import Context
from mappings.datatypes.ts import period, ts_datetime
from mappings.rules import optional_code
from mappings.tables import load

_USES: Final = load("hl70200_name_use")
_REPRESENTATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_REPRESENTATIONS: Final = {"A": "ABC", "P": "SYL", "I": "IDE"}


def xpn_human_name(found: Field, context: Context) -> list[dict[str, Any]] | None:
    """Convert an ``XPN`` to FHIR ``HumanName``: one, or two where XPN-15 says what the person is called.

    =====================  ==================  ===========================================
    v2                     FHIR                rule
    =====================  ==================  ===========================================
    XPN-1.1                HumanName.family    a single name stands here alone
    XPN-2, XPN-3           HumanName.given     in this order
    XPN-4, XPN-6, XPN-14   HumanName.suffix    XPN-6 (degree) up to 2.6
    XPN-5                  HumanName.prefix
    XPN-7                  HumanName.use       table 0200
    XPN-8                  extension           alphabetic, phonetic or ideographic spelling
    XPN-10, XPN-12/-13     HumanName.period
    XPN-15                 second HumanName    use ``nickname``
    =====================  ==================  ===========================================

    See HL7 v2.5.1 2.A.88 and the v2-to-FHIR map ``XPN[HumanName]``.
    """
    name = _name(found)
    if not name:
        return None
    made: dict[str, Any] = {}
    if spelling := _REPRESENTATIONS.get(found.component(8)):
        made["extension"] = [{"url": _REPRESENTATION, "valueCode": spelling}]
    if use := optional_code(_USES, found.component(7), context):
        made["use"] = use
    made.update(name)
    if valid := _valid_period(found, context):
        made["period"] = valid
    called = found.component(15)
    return [made, {"use": "nickname", "given": [called]}] if called else [made]


def _name(found: Field) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if family := found.component(1):
        made["family"] = family
    for element, components in (("given", (2, 3)), ("prefix", (5,)), ("suffix", (4, 6, 14))):
        if texts := texts_of(found, components):
            made[element] = texts
    return made


def texts_of(found: Field, components: Sequence[int]) -> list[str]:
    """Return the valued texts of some components, in the order given."""
    return [text for text in map(found.component, components) if text]


def _valid_period(found: Field, context: Context) -> dict[str, Any] | None:
    start = ts_datetime(found.nested(12), context) if found.component(12) else None
    end = ts_datetime(found.nested(13), context) if found.component(13) else None
    if start is None and end is None and found.component(10):
        start = ts_datetime(found.nested(10), context)
        ends = found.subcomponent(10, 2)
        end = ts_datetime(found.nested(10).nested(2), context) if ends else None
    return period(start, end, context)
