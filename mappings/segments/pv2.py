"""``PV2`` (patient visit, additional information) to ``Encounter``."""

from __future__ import annotations

from typing import Any, Final

from gateway.hl7v2.message import Field
from gateway.model.names import UCUM
from mappings.context import Context
from mappings.datatypes.cwe import concept, cwe_concept
from mappings.numbers import NumberFormat
from mappings.rules import Row, SegmentMap
from mappings.segments.pv1 import participant


def days(found: Field, context: Context) -> dict[str, Any] | None:
    """PV2-11: the length of the stay in days."""
    number = NumberFormat().read(found.component(1))
    if number is None or number.comparator:
        context.finding("a length of stay that is no number: left out")
        return None
    return {"value": number.value, "unit": "d", "system": UCUM, "code": "d"}


PV2_ENCOUNTER: Final = SegmentMap(
    "PV2",
    "Encounter",
    rows=(
        Row("PV2-3", "reasonCode", cwe_concept, repeats=True),
        Row("PV2-11", "length", days),
        Row("PV2-13", "participant", participant("REF", "referrer"), repeats=True),
        Row("PV2-25", "priority", concept("hl70217_visit_priority")),
    ),
    not_mapped={
        "PV2-1": "wards, rooms and beds: no recipient is entitled to them",
        "PV2-2": "accommodation: of the ward",
        "PV2-4": "transfer reason: wards are not taken",
        "PV2-5": "valuables: no recipient is entitled to it",
        "PV2-6": "valuables: no recipient is entitled to it",
        "PV2-7": "visit user code: the site's own",
        "PV2-8": "expected admission: R4 has no element; what happened is in the period",
        "PV2-9": "expected discharge: as PV2-8",
        "PV2-10": "estimated length of stay: as PV2-8",
        "PV2-12": "visit description: free text",
        **{f"PV2-{number}": "of the hospital's administration" for number in (*range(14, 25), *range(26, 38))},
        "PV2-38": "mode of arrival: no study asks for it",
        **{f"PV2-{number}": "of the hospital's administration" for number in range(39, 51)},
    },
)
