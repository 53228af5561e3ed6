"""``OBX`` (observation) to ``Observation``."""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import UnmappedCode
from gateway.hl7v2.message import Field, Segment
from gateway.model.names import ANALYSED, NATURE_OF_ABNORMAL, SUB_ID
from mappings.context import Context, Draft, shared_draft
from mappings.datatypes.cwe import codings_of, concept, concept_of, cwe_concept, through_table
from mappings.datatypes.cx import ei_identifier, ei_system
from mappings.datatypes.ts import ts_datetime
from mappings.datatypes.xcn import xcn_practitioner, xon_organization
from mappings.rules import Row, Rule, SegmentMap, code_of
from mappings.segments.obx_meaning import Meaning
from mappings.segments.obx_order import meaning, order_of
from mappings.segments.obx_value import value
from mappings.tables import load
from mappings.units import ONE

_STATUS: Final = load("hl70085_observation_status")
_INTERPRETATION: Final = load("hl70078_interpretation")


def status(obx: Segment, context: Context) -> str:
    """OBX-11 through table 0085; a value the table does not know is ``unknown`` with a gap.

    Raises ``UnmappedCode`` (101) when it is not valued and the site states no default for table 0085.
    """
    context.at(obx, 11)
    if sent := obx.value(11):
        return code_of(_STATUS, sent.upper(), context, unknown="unknown")
    default = context.site.defaults.get(_STATUS.number)
    if not default:
        raise UnmappedCode("not valued, and the site states no default for table 0085", obx.place(11), "101")
    return default


def code(_obx: Segment, context: Context) -> dict[str, Any]:
    """OBX-3 through the site's code map: standard codings first, the sender's own after them."""
    return meaning(context).concept


def effective(obx: Segment, context: Context) -> dict[str, Any] | None:
    """OBX-14, else the times of the order (OBR-7 to OBR-8), else of the specimen (SPM-17)."""
    found = obx.field(14)
    if found and not found.is_null:
        context.at(obx, 14)
        if at := ts_datetime(found, context):
            return {"effectiveDateTime": at}
    return order_of(context).effective or None


def method(obx: Segment, context: Context) -> dict[str, Any] | None:
    """OBX-17. FHIR takes one method; a code map that requires one keeps a result without it for a person."""
    methods = [found for found in obx.repeats(17) if not found.is_null]
    if not methods:
        entry = meaning(context).entry
        if entry is not None and entry.method_required:
            context.hold("method missing")
        return None
    if len(methods) > 1:
        context.at(obx, 17)
        context.finding("more than one method: the first is kept")
    key = ("method", methods[0].raw, order_of(context).dialect)
    if key not in context.cache:
        context.cache[key] = cwe_concept(methods[0], context)
    made: dict[str, Any] | None = context.cache[key]
    return made


def interpretation(found: Field, context: Context) -> dict[str, Any]:
    """One repetition of OBX-8 through table 0078; what it does not know travels as it came, with a gap."""
    target = _INTERPRETATION.targets.get(found.raw)
    if target is not None:
        return {"coding": [target.coding()]}
    code = found.component(1)
    if not code:
        return cwe_concept(found, context) or {"text": found.verbatim}
    codings, text = codings_of(found, context)
    if code in _INTERPRETATION.without:
        codings[0] = {"system": _INTERPRETATION.system, "code": code}
    else:
        codings[0] = through_table(_INTERPRETATION, found, context)
    return concept_of(codings, text) or {"text": code}


def reference_range(found: Field, context: Context) -> dict[str, Any]:
    """OBX-7: always as text; as low and high in the unit of the value where it can be read in the site's numbers.

    Where the value was converted, the text says the unit that was sent.
    """
    known = meaning(context)
    order = order_of(context)
    key = ("range", found.raw, id(known), order.dialect)
    made: tuple[Meaning, dict[str, Any]] | None = context.cache.get(key)
    if made is None:
        # The meaning is kept with the range, so that its id stays its own.
        made = context.cache[key] = (known, _range(found.verbatim.strip(), known, context))
    return made[1]


def _range(text: str, known: Meaning, context: Context) -> dict[str, Any]:
    ends = order_of(context).format.read_range(text)
    made: dict[str, Any] = {}
    if ends is not None:
        unit = known.unit_elements()
        for name, end in zip(("low", "high"), ends, strict=True):
            if end is not None:
                made[name] = {"value": known.convert(end), **unit}
        if known.factor != ONE:
            text = f"{text} {known.unit.text}"  # as sent it would be read in the unit of the converted value
    made["text"] = text
    return made


def performers(obx: Segment, context: Context) -> list[dict[str, Any]]:
    """OBX-16 (who answers for it), then OBX-23, or else OBX-15 (the laboratory)."""
    made = []
    for at, found in enumerate(obx.repeats(16), start=1):
        context.at(obx, 16, at)
        made.append(None if found.is_null else xcn_practitioner(found, context))
    for number, convert in ((23, xon_organization), (15, cwe_organization)):
        found = obx.field(number)
        if found and not found.is_null:
            context.at(obx, number)
            made.append(convert(found, context))
            break
    return [reference for reference in made if reference is not None]


def cwe_organization(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert OBX-15, a laboratory written as a code, to a reference to a shared ``Organization``.

    ==========  =========================  =====================================================
    v2          FHIR                       rule
    ==========  =========================  =====================================================
    CWE-1       Organization.identifier    system of CWE-3 (an authority, else the site's own)
    CWE-2       Organization.name          else the code
    ==========  =========================  =====================================================

    See the v2-to-FHIR map ``CWE[Organization]``.
    """
    key = ("laboratory", found.raw, order_of(context).dialect)
    return context.share(key, lambda: _organization(found, context))


def _organization(found: Field, context: Context) -> Draft | None:
    number, name, system = found.component(1), found.component(2), found.component(3)
    if not (number or name):
        return None
    authority = context.site.authority_of(system) if system else None
    uri = authority.system if authority else context.site.scoped("organization", system)
    if number and authority is not None and authority.joins:
        id = context.common_id("Organization", uri, number)
    else:
        id = context.id("Organization", uri, number) if number else context.id("Organization", "name", name)
    draft = shared_draft("Organization", id)
    if number:
        draft.body["identifier"] = [{"system": uri, "value": number}]
    draft.body["name"] = name or number
    return draft


def identifiers(obx: Segment, context: Context) -> list[dict[str, Any]]:
    """OBX-21, the sender's own identifier of the result (type FILL)."""
    context.at(obx, 21)
    found = obx.field(21)
    made = ei_identifier(found, context, kind="FILL") if found and not found.is_null else None
    return [made] if made else []


def sub_id(found: Field, _context: Context) -> dict[str, Any] | None:
    """OBX-4 as sent: tells apart results of one code (cell lineages), and groups those of one panel."""
    text = found.verbatim.strip()
    return {"url": SUB_ID, "valueString": text} if text else None


_NATURE: Final = concept("hl70080_nature_of_abnormal")


def nature_of_abnormal(found: Field, context: Context) -> dict[str, Any] | None:
    """OBX-10 through table 0080."""
    made = _NATURE(found, context)
    return {"url": NATURE_OF_ABNORMAL, "valueCodeableConcept": made} if made else None


def analysed(found: Field, context: Context) -> dict[str, Any] | None:
    """OBX-19, when the analyser measured."""
    at = ts_datetime(found, context)
    return {"url": ANALYSED, "valueDateTime": at} if at else None


_EQUIPMENT: Final = "equipment of the laboratory: no recipient asks for it"

OBX_OBSERVATION: Final = SegmentMap(
    "OBX",
    "Observation",
    rows=(
        Rule(("OBX-21",), "identifier", identifiers, repeats=True, note="type FILL; names the Observation"),
        Rule(("OBX-11",), "status", status),
        Rule(("OBX-3", "OBX-6"), "code", code, note="standard codings of the code map, then the sender's"),
        Rule(("OBX-14",), "effective[x]", effective, note="else OBR-7 and OBR-8, else SPM-17"),
        Rule(("OBX-16", "OBX-15", "OBX-23"), "performer", performers, repeats=True),
        Rule(
            ("OBX-5", "OBX-2", "OBX-6", "OBX-11"),
            "value[x]",
            value,
            note="or component, dataAbsentReason, the extension for R5's Attachment",
        ),
        Row("OBX-8", "interpretation", interpretation, repeats=True),
        Rule(("OBX-17",), "method", method),
        Row("OBX-20", "bodySite", cwe_concept),
        Row("OBX-7", "referenceRange", reference_range, repeats=True),
        Row("OBX-4", "extension", sub_id, repeats=True, note="observation-sub-id"),
        Row("OBX-10", "extension", nature_of_abnormal, repeats=True, note="observation-nature-of-abnormal-test"),
        Row("OBX-19", "extension", analysed, repeats=True, note="observation-analysis-date-time"),
    ),
    not_mapped={
        "OBX-1": "set id: a number of the message, not of the result",
        "OBX-9": "probability: no FHIR element, not sent by the feeds we take",
        "OBX-12": "date of the reference range: the range travels with each result",
        "OBX-13": "user defined access checks: of the sending system",
        "OBX-18": _EQUIPMENT,
        "OBX-22": "mood: results are of what was observed",
        "OBX-24": "address of the laboratory: OBX-15 or OBX-23 names it",
        "OBX-25": "medical director of the laboratory: no recipient is entitled to it",
        "OBX-26": "patient results release category: what may leave is decided by the recipient's file",
        "OBX-27": "root cause of a change: no FHIR element",
        "OBX-28": "local process control: of the sending system",
        "OBX-29": "observation type: every OBX of a result is an Observation",
        "OBX-30": "observation sub-type: as OBX-29",
        "OBX-31": "action code: OBX-11 says what becomes of the result",
        "OBX-32": "reason of the observation value: no FHIR element",
        "OBX-33": "specimen identifier: the order names its specimen",
    },
)


def identity(obx: Segment, context: Context) -> tuple[str, ...]:
    """Return the business identifiers of a result within its order (ARCHITECTURE, decision 5).

    OBX-21, else the sender's OBX-3, its coding system, OBX-4 and the ordinal among equals of the message; never OBX-1,
    the value, or a mapped code.
    """
    if len(obx.fields()) > 21 and (value := obx.value(21)):
        context.at(obx, 21)
        return ("OBX-21", ei_system(obx.field(21), context, unnamed="FILL"), value)
    order = order_of(context)
    of_result = named(obx, order.dialect, context)
    return (*of_result, order.ordinal(of_result))


def named(obx: Segment, dialect: int, context: Context) -> tuple[str, str, str]:
    """Return the sender's code, its coding system, and OBX-4; ``dialect`` stands for the message's delimiters."""
    key = ("named", obx.raw(3), obx.raw(4), dialect)
    known: tuple[str, str, str] | None = context.cache.get(key)
    if known is None:
        observed = obx.field(3)
        at = 1 if observed.component(1) else 4
        code = observed.component(at)
        system = observed.component(at + 2) if code else ""
        known = context.cache[key] = (code or observed.verbatim, system, obx.field(4).verbatim.strip())
    return known
