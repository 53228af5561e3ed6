"""Which structure the message of an event has: HL7 table 0354, where the two names differ.

``ORU^R01`` has the structure ``ORU_R01``; ``ADT^A08`` has ``ADT_A01``. Only the events that borrow another's
structure are listed, as HL7 v2.5.1 has them; before 2.5 a few differ (``EARLIER``).
"""

from __future__ import annotations

from typing import Final

_BORROWED: Final = {
    "ADT_A01": "A04 A08 A13",
    "ADT_A05": "A14 A28 A31",
    "ADT_A06": "A07",
    "ADT_A09": "A10 A11",
    "ADT_A21": "A22 A23 A25 A26 A27 A29 A32 A33",
    "ADT_A30": "A34 A35 A36 A46 A47 A48 A49",
    "ADT_A39": "A40 A41 A42",
    "ADT_A43": "A44",
    "ADT_A50": "A51",
    "ADT_A52": "A53",
    "ADT_A54": "A55",
    "ADT_A61": "A62",
    "CRM_C01": "C02 C03 C04 C05 C06 C07 C08",
    "CSU_C09": "C10 C11 C12",
    "MDM_T01": "T03 T05 T07 T09 T11",
    "MDM_T02": "T04 T06 T08 T10",
    "ORU_R30": "R31 R32",
    "PEX_P07": "P08",
    "PGL_PC6": "PC7 PC8",
    "PPG_PCG": "PCH PCJ",
    "PPP_PCB": "PCC PCD",
    "PPR_PC1": "PC2 PC3",
    "RDE_O11": "O25",
    "REF_I12": "I13 I14 I15",
    "RPA_I08": "I09 I10 I11",
    "RPI_I01": "I04",
    "RQA_I08": "I09 I10 I11",
    "RQC_I05": "I06",
    "RQI_I01": "I02 I03",
    "RRI_I12": "I13 I14 I15",
    "SIU_S12": "S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24 S26",
    "SRM_S01": "S02 S03 S04 S05 S06 S07 S08 S09 S10 S11",
    "SRR_S01": "S02 S03 S04 S05 S06 S07 S08 S09 S10 S11",
    "SUR_P09": "P10",
}

STRUCTURES: Final = {
    f"{structure[:3]}_{event}": structure for structure, events in _BORROWED.items() for event in events.split()
}
"""Type and event, ``ADT_A08`` -> structure, ``ADT_A01``."""

EARLIER: Final = {"ADT_A05": "ADT_A01", "ADT_A44": "ADT_A43", "RDE_O11": "RDE_O01", "ADR_A19": "ARD_A19"}
"""Structure -> what stood in its place in the versions that do not have it."""

GROUPS: Final = {
    ("ORU_R01", "RESPONSE"): "PATIENT_RESULT",
    ("CSU_C09", "ORCRXARXR_SUPPGRP"): "STUDY_PHARM",
    ("CSU_C09", "RXARXR_SUPPGRP"): "RX_ADMIN",
    ("CRM_C01", "PATIENT_VISIT"): "VISIT",
    ("ORM_O01", "OBRRQDRQ1RXOODSODT_SUPPGRP"): "ORDER_CHOICE",
    ("OML_O21", "TIIMING"): "TIMING",
    ("ORM_O01", "CHOICE"): "ORDER_CHOICE",
}
"""(structure, group) -> the one name that the group has here, whatever a version of the standard calls it."""
