"""``PD1`` (additional demographics) to ``Patient``."""

from __future__ import annotations

from typing import Final

from mappings.datatypes.xcn import xcn_practitioner, xon_organization
from mappings.rules import Row, SegmentMap

_LEFT: Final = "no trial here asks for it"

PD1_PATIENT: Final = SegmentMap(
    "PD1",
    "Patient",
    rows=(
        Row("PD1-3", "generalPractitioner", xon_organization, repeats=True),
        Row("PD1-4", "generalPractitioner", xcn_practitioner, repeats=True),
    ),
    not_mapped={
        "PD1-1": f"living dependency: {_LEFT}",
        "PD1-2": f"living arrangement: {_LEFT}",
        "PD1-5": f"student: {_LEFT}",
        "PD1-6": f"disability: {_LEFT}; what a study needs is an Observation",
        "PD1-7": f"living will: {_LEFT}",
        "PD1-8": f"organ donor: {_LEFT}",
        "PD1-9": "separate bill: of billing",
        "PD1-10": "duplicate patient: A40 merges",
        "PD1-11": "publicity code: consent decides what is released",
        "PD1-12": "protection indicator: consent decides what is released",
        "PD1-13": "protection indicator date: as PD1-12",
        "PD1-14": f"place of worship: {_LEFT}",
        "PD1-15": f"advance directive: {_LEFT}",
        "PD1-16": "immunization registry status: of another system",
        "PD1-17": "immunization registry date: as PD1-16",
        "PD1-18": "publicity date: as PD1-11",
        "PD1-19": f"military branch: {_LEFT}",
        "PD1-20": f"military rank: {_LEFT}",
        "PD1-21": f"military status: {_LEFT}",
    },
)
