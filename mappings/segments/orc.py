"""``ORC`` (common order) to ``DiagnosticReport``: the numbers of the order, where ``OBR`` does not give them."""

from __future__ import annotations

from typing import Final

from mappings.rules import Row, SegmentMap
from mappings.segments.obr import order_number

_ORDER: Final = "of the order: a result makes no ServiceRequest"
_ORDERER: Final = "who ordered: no recipient is entitled to it"

ORC_REPORT: Final = SegmentMap(
    "ORC",
    "DiagnosticReport",
    rows=(
        Row("ORC-2", "identifier", order_number("PLAC"), repeats=True),
        Row("ORC-3", "identifier", order_number("FILL"), repeats=True, note="names the report where OBR-3 is empty"),
    ),
    not_mapped={
        "ORC-1": "order control: a result is what OBR-25 and OBX-11 say",
        **{f"ORC-{number}": _ORDER for number in (4, 5, 6, 7, 8, 9, 15, 16, 20, 25, 26, 27, 29, 30, 31, 32, 33)},
        **{f"ORC-{number}": _ORDERER for number in (10, 11, 12, 13, 14, 17, 18, 19, 21, 22, 23, 24)},
        "ORC-28": "confidentiality: what may leave is decided by the recipient's file",
    },
)
