"""Which fields of which segments the gateway knows: read by a rule, or left out for a reason."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gateway.hl7v2.message import Message
from mappings.rules import SegmentMap
from mappings.segments.evn import EVN_PROVENANCE
from mappings.segments.mrg import MRG_PATIENT
from mappings.segments.msh import MSH_PROVENANCE
from mappings.segments.nte import NTE_OBSERVATION, NTE_PATIENT, NTE_REPORT
from mappings.segments.obr import OBR_REPORT, OBR_SPECIMEN
from mappings.segments.obx import OBX_OBSERVATION
from mappings.segments.obx_document import OBX_DOCUMENT
from mappings.segments.orc import ORC_REPORT
from mappings.segments.pd1 import PD1_PATIENT
from mappings.segments.pid import PID_PATIENT
from mappings.segments.pv1 import PV1_ENCOUNTER
from mappings.segments.pv2 import PV2_ENCOUNTER
from mappings.segments.spm import SPM_SPECIMEN
from mappings.trials.consent import CSR_CONSENT
from mappings.trials.csr import CSP_SUBJECT, CSR_SUBJECT
from mappings.trials.cti import CTI_RESULT

MAPS: Final[tuple[SegmentMap, ...]] = (
    MSH_PROVENANCE,
    EVN_PROVENANCE,
    PID_PATIENT,
    PD1_PATIENT,
    MRG_PATIENT,
    PV1_ENCOUNTER,
    PV2_ENCOUNTER,
    ORC_REPORT,
    OBR_REPORT,
    OBR_SPECIMEN,
    SPM_SPECIMEN,
    OBX_OBSERVATION,
    OBX_DOCUMENT,
    NTE_OBSERVATION,
    NTE_REPORT,
    NTE_PATIENT,
    CTI_RESULT,
    CSR_SUBJECT,
    CSR_CONSENT,
    CSP_SUBJECT,
)

NOT_MAPPED: Final[dict[str, str]] = {
    "ACC": "accident: no study asks for it",
    "AL1": "allergies: AllergyIntolerance is not among the resources released",
    "ARV": "access restrictions: consent decides what is released",
    "CON": "consent of the hospital's own: consent to a study comes in CSR",
    "DB1": "disability: no study asks for it",
    "DG1": "diagnoses of the visit: Condition is not among the resources released",
    "DRG": "of billing",
    "DSC": "continuation: not used",
    "GT1": "guarantor: of billing",
    "IAM": "allergies: as AL1",
    "IN1": "insurance: of billing",
    "IN2": "insurance: of billing",
    "IN3": "insurance: of billing",
    "NK1": "next of kin: no trial may receive relatives' names",
    "PDA": "death and autopsy: PID-29 says the date",
    "PR1": "procedures of the visit: Procedure is not among the resources released",
    "ROL": "people of the hospital: no recipient is entitled to them",
    "PRT": "people of the hospital: no recipient is entitled to them",
    "CTD": "contacts about an order: no recipient is entitled to them",
    "FT1": "of billing",
    "TQ1": "timing of an order: a result makes no ServiceRequest",
    "SFT": "software of the sender: nobody asks for it",
    "TXA": "document header: documents are taken where they are results (OBX)",
    "UAC": "the sender's user: of its own security",
    "UB1": "of billing",
    "UB2": "of billing",
}
"""Whole segments left out, and why."""

_KEPT: Final = 300
"""Of segments with more fields, which no standard has, it is not kept which are unknown."""

_KNOWN: Final[dict[str, frozenset[int]]] = {
    name: frozenset().union(*(map.known_fields() for map in MAPS if map.segment == name))
    for name in {map.segment for map in MAPS}
}


def not_mapped(message: Message) -> tuple[str, ...]:
    """Return the valued fields that no rule reads and no reason excuses, as ``PID-31``, each once, in order."""
    found: dict[str, None] = {}
    for segment in message.segments:
        length = len(segment.fields())
        unknown = (_unknown_fields if length <= _KEPT else _unknown_fields.__wrapped__)(segment.name, length)
        if unknown:
            valued = set(segment.valued())
            found.update({f"{segment.name}-{number}": None for number in unknown if number in valued})
    return tuple(found)


@lru_cache(maxsize=4096)
def _unknown_fields(name: str, length: int) -> tuple[int, ...]:
    """Return the numbers of the fields of a segment of this length (name included) that nobody knows."""
    if name in NOT_MAPPED:
        return ()
    known = _KNOWN.get(name, frozenset())
    return tuple(number for number in range(1, length) if number not in known)
