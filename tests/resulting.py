"""Results in a line or two for the tests of ORU mappings: a laboratory with decimal commas, and what its OBX become."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from gateway.model.site import CodeMapEntry, Site
from gateway.model.translation import Statement, Translation
from tests.translating import PID, SITE, bodies, translate

LOINC = "http://loinc.org"
GT = "https://trial-gateway.example/fhir/CodeSystem/observation"
LOCAL = "https://trial-gateway.example/fhir/sid/lakeside/codes/L"
OBR = "OBR|1|A77|L91|CBC^Emocromo^L|||20260312080000||||||||||||||||||F"


def entry(code: str, standard: str, ucum: str = "", system: str = LOINC, **more: Any) -> CodeMapEntry:
    """A row of a code map with one standard coding."""
    return CodeMapEntry(code, ((system, standard, ""),), ucum=ucum, **more)


LAB = replace(
    SITE,
    decimal_comma=True,
    thousands=".",
    codes=(
        entry("HB", "718-7", "g/dL", low=Decimal(1), high=Decimal(25)),
        entry("PLT", "777-3", "10*3/uL", low=Decimal(0), high=Decimal(3000)),
        entry("BILT", "1975-2", "mg/dL"),
        entry("FERR", "2276-4", "ng/mL"),
        entry("ASSUMED", "2276-4", "ng/mL", assumed_unit="ug/L"),
        entry("CD4", "24467-3", "/uL", valid_from=date(2025, 7, 1), unit="cell/mm3"),
        entry("IDUA", "24057-2", "nmol/h/mg{protein}", method_required=True),
        entry("VCN", "GT-VCN-PBMC", "{copies}/{genome}", system=GT, low=Decimal(0), high=Decimal(20)),
        entry("GMFM", "GT-GMFM88", "{score}", system=GT),
        entry("WT", "29463-7", "kg", low=Decimal("0.4"), high=Decimal(250)),
        entry("ADA", "47549-1", "nmol/min/mg{protein}"),
        entry("IGE", "19113-0", "[IU]/L"),
    ),
)


def result(*segments: str, site: Site = LAB, **header: Any) -> Translation:
    """Translate an ORU^R01 of the usual patient and order with these segments after the OBR."""
    return translate(PID, OBR, *segments, site=site, kind="ORU^R01", **header)


def observation(*segments: str, site: Site = LAB, **header: Any) -> dict[str, Any]:
    """The one Observation of such a message."""
    (only,) = bodies(result(*segments, site=site, **header), "Observation")
    return only


def value(
    kind: str, sent: str, unit: str = "", code: str = "X", site: Site = LAB, *, status: str = "F"
) -> dict[str, Any]:
    """What an OBX of this type, value and unit says: ``value[x]``, ``component``, ``dataAbsentReason``."""
    made = observation(f"OBX|1|{kind}|{code}^Test^L||{sent}|{unit}|||||{status}", site=site)
    return {
        name: at for name, at in made.items() if name.startswith("value") or name in {"component", "dataAbsentReason"}
    }


def held(*segments: str, site: Site = LAB, **header: Any) -> str:
    """Why the Observation of such a message waits for a person."""
    made = result(*segments, site=site, **header)
    assert made.failure is None, made.failure
    return statement(made, "Observation").held


def statement(made: Translation, resource_type: str) -> Statement:
    """The one statement of a type."""
    (only,) = (each for each in made.statements if each.type == resource_type)
    return only


def source(quantity: dict[str, Any]) -> dict[str, str]:
    """What the source-value extension of a Quantity keeps."""
    (extension,) = quantity["extension"]
    return {part["url"]: part["valueString"] for part in extension["extension"]}
