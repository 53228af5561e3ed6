"""``MSH`` (message header) to ``Provenance``: who said it, in which message."""

from __future__ import annotations

from typing import Any, Final

from gateway.hl7v2.message import Segment
from gateway.model.names import CONTROL_ID
from mappings.context import Context, Draft, shared_draft
from mappings.datatypes.hd import hd_organization
from mappings.rules import Rule, SegmentMap

AGENT_TYPES: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def sender(msh: Segment, context: Context) -> list[dict[str, Any]]:
    """The sending organisation: the site's own where it is declared, else MSH-4, else the site by its name."""
    return [{"type": {"coding": [{"system": AGENT_TYPES, "code": "author"}]}, "who": _organization(msh, context)}]


def _organization(msh: Segment, context: Context) -> dict[str, Any]:
    declared = context.share("site organization", lambda: _site_organization(context))
    return declared or hd_organization(msh.field(4), context) or {"display": context.site.name}


def _site_organization(context: Context) -> Draft | None:
    if context.site.organization is None:
        return None
    system, value = context.site.organization
    draft = shared_draft("Organization", context.common_id("Organization", system, value))
    draft.body["identifier"] = [{"system": system, "value": value}]
    draft.body["name"] = context.site.name
    return draft


def source_message(msh: Segment, context: Context) -> list[dict[str, Any]]:
    """The message this was read from, by its control id within the feed."""
    return [of_message(msh.value(10), context)]


def of_message(control_id: str, context: Context) -> dict[str, Any]:
    """Return a Provenance.entity for the message by that control id."""
    system = f"{CONTROL_ID}/{context.site.id}/{context.feed}"
    kind = "^".join(text for text in (context.message.type, context.message.event) if text)
    what = {"identifier": {"system": system, "value": control_id}, "display": f"HL7 v2 {kind}"}
    return {"role": "source", "what": what}


MSH_PROVENANCE: Final = SegmentMap(
    "MSH",
    "Provenance",
    rows=(
        Rule(("MSH-4",), "agent", sender, repeats=True, note="author"),
        Rule(("MSH-10", "MSH-9"), "entity", source_message, repeats=True),
    ),
    not_mapped={
        "MSH-3": "sending application: the feed says it",
        "MSH-5": "receiving application: the gateway",
        "MSH-6": "receiving facility: the gateway",
        "MSH-8": "security: undefined in the standard",
        "MSH-13": "sequence number protocol: not used",
        "MSH-14": "continuation: not used",
        "MSH-17": "country: the site profile says more",
        "MSH-19": "language of the message: no element is translated",
        "MSH-20": "alternate character set handling: one set per message",
        "MSH-21": "message profile: the structure is checked against the standard",
        "MSH-22": "sending responsible organisation: the site",
        "MSH-23": "receiving responsible organisation: the gateway",
        "MSH-24": "network address: the feed",
        "MSH-25": "network address: the gateway",
    },
    elsewhere={
        "MSH-1": "read with the delimiters",
        "MSH-2": "read with the delimiters",
        "MSH-7": "orders what messages say of the same thing",
        "MSH-11": "decides whether the feed takes the message",
        "MSH-12": "decides whether the feed takes the message, and its structure",
        "MSH-15": "decides which acknowledgment is due",
        "MSH-16": "decides which acknowledgment is due",
        "MSH-18": "read with the characters",
    },
)
