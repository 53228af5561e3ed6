"""``MRG`` (merge patient information) to the ``Patient`` that is given up."""

from __future__ import annotations

from typing import Final

from mappings.datatypes.cx import cx_identifier, cx_identifier_unnamed
from mappings.rules import Row, SegmentMap

MRG_PATIENT: Final = SegmentMap(
    "MRG",
    "Patient",
    rows=(
        Row("MRG-1", "identifier", cx_identifier, repeats=True, note="names the Patient that is given up"),
        Row("MRG-2", "identifier", cx_identifier_unnamed("alternate"), repeats=True),
        Row("MRG-4", "identifier", cx_identifier_unnamed("external"), repeats=True),
    ),
    not_mapped={
        "MRG-3": "prior account: names a bill",
        "MRG-5": "prior visit: visits follow their Patient",
        "MRG-6": "prior alternate visit: as MRG-5",
        "MRG-7": "prior name: PID of the surviving Patient says the name",
    },
)
