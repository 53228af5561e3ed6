"""Messages in a line or two for the tests of the mappings, and what they become."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from gateway.fhir.codec import decode
from gateway.hl7v2.message import Field, parse_text
from gateway.model.site import Authority, Feed, Site
from gateway.model.translation import Translation
from mappings.context import Context
from mappings.translator import SiteTranslator

RECEIVED = datetime(2026, 4, 1, 8, tzinfo=UTC)
MRN = "https://lakeside.example/sid/mrn"
NATIONAL = "urn:oid:2.999.1"
SITE = Site(
    id="lakeside",
    name="Lakeside Hospital",
    zone="Europe/Rome",
    authorities={
        "LAKE": Authority(MRN),
        "2.999.1": Authority(NATIONAL),
        "WARD": Authority("https://lakeside.example/sid/ward", joins=False),
        "AADHAAR": Authority("https://lakeside.example/sid/never", never_store=True),
    },
    primary=("2.999.1", "LAKE"),
)
PID = "PID|1||0042^^^LAKE^MR||Rossi^Ada||20190314|F"


def text(*segments: str, kind: str = "ADT^A01", sent: str = "20260401090000", version: str = "2.5") -> str:
    """A message of these segments after an MSH of Lakeside."""
    return "\r".join((rf"MSH|^~\&|EHR|LAKE|GW|UNIT|{sent}||{kind}|M1|P|{version}", *segments)) + "\r"


def translate(
    *segments: str, site: Site = SITE, trace: bool = False, received_at: datetime = RECEIVED, **header: str
) -> Translation:
    """Translate such a message."""
    translator = SiteTranslator({site.id: site}, {"ehr": Feed(id="ehr", site=site.id)}, b"k" * 32, trace=trace)
    return translator.translate(text(*segments, **header).encode(), "ehr", received_at)


def bodies(translation: Translation, resource_type: str) -> list[dict[str, Any]]:
    """The resources of a type, decoded; the message must have been translated."""
    assert translation.failure is None, translation.failure
    return [decode(each.body) for each in translation.statements if each.type == resource_type]


def body(translation: Translation, resource_type: str) -> dict[str, Any]:
    """The one resource of a type."""
    (only,) = bodies(translation, resource_type)
    return only


def context(site: Site = SITE, **changes: Any) -> Context:
    """A context reading PID-3 of a small message, for converters on their own."""
    site = replace(site, **changes)
    message = parse_text(text(PID))
    made = Context(site, "ehr", message, RECEIVED, b"k" * 32, ZoneInfo(site.zone))
    made.at(message.require("PID"), 3)
    return made


def field(raw: str) -> Field:
    """A field as it stands in a message."""
    return parse_text(text(f"PID|{raw}")).require("PID").field(1)


def findings(made: Context | Translation) -> list[str]:
    """What the findings say."""
    return [finding.what for finding in made.findings]


def gaps(made: Context | Translation) -> list[tuple[str, str, str]]:
    """The gaps as (kind, place, code)."""
    return [(gap.kind, gap.place, gap.code) for gap in made.gaps]
