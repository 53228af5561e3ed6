"""OBX-5 by OBX-2: every value type to ``value[x]``, and what is said when there is no value.

Nothing is lost in silence: a number that cannot be read is kept as the text it came as, a word that says why there is
no value becomes a ``dataAbsentReason`` that keeps the word, and a type that FHIR has no value for is a gap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from gateway.hl7v2.message import Field, Segment
from gateway.model.names import SOURCE_VALUE
from mappings.context import Context
from mappings.datatypes.cwe import cwe_concept
from mappings.datatypes.ts import dr_period, tm_time, ts_datetime
from mappings.numbers import Number, absent_reason
from mappings.segments.obx_meaning import Meaning
from mappings.segments.obx_media import Document, encapsulated, note, pointer, sampled
from mappings.segments.obx_order import meaning, order_of

Elements = dict[str, Any]
"""Elements of an Observation, or of one of its components."""

ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
TABLE_0125: Final = "http://terminology.hl7.org/CodeSystem/v2-0125"

CODED: Final = frozenset({"CE", "CWE", "CNE", "CF", "IS", "ID"})
_LINES: Final = frozenset({"TX", "FT"})
_DOCUMENTS: Final = frozenset({"ED", "RP"})
_NO_VALUE_DUE: Final = {"N": "not-asked", "I": "temp-unknown", "O": "temp-unknown", "S": "temp-unknown"}
_NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LIKE_A_NUMBER: Final = re.compile(r"[<>=]*\s*[-+]?\d[\d.,' \u00a0]*").fullmatch


def value(obx: Segment, context: Context) -> Elements | None:
    """Convert OBX-5 (type OBX-2, unit OBX-6) to ``value[x]``, ``component`` or ``dataAbsentReason``.

    ====================  ==========================================================================================
    OBX-2                 FHIR
    ====================  ==========================================================================================
    NM                    valueQuantity; words: dataAbsentReason or valueString, never 0
    SN                    valueQuantity, valueRange (``-``), valueRatio (``:``, ``/``) or valueString (``<>``, ``+``)
    ST                    valueQuantity where a unit says it is one and it is a number, else valueString
    TX, FT                valueString; repetitions are lines
    CE CWE CNE CF IS ID   valueCodeableConcept
    DT DTM TS, TM, DR     valueDateTime, valueTime, valuePeriod
    NR, VR                valueRange, valueString ``low-high``
    NA                    valueSampledData
    ED, RP                extension for the value R5 has: valueAttachment; and a DocumentReference
    others                dataAbsentReason ``unsupported``, with a gap of table 0125
    ====================  ==========================================================================================

    Several repetitions make one component each, under the same code. See HL7 v2.5.1 7.4.2.5 and the v2-to-FHIR map
    ``OBX[Observation]``.
    """
    kind = obx.value(2).upper()
    repeats = [found for found in obx.repeats(5) if not found.is_null]
    if not repeats:
        return _nothing(kind, obx.value(11).upper(), context)
    if kind in _LINES:
        context.at(obx, 5)
        return {"valueString": clean("\n".join(found.verbatim for found in repeats))}
    convert = _converter(kind, obx, context)
    if len(repeats) == 1 or kind == "NA":
        context.at(obx, 5)
        return convert(repeats[0], context)
    code = meaning(context).concept
    components = []
    for at, found in enumerate(repeats, start=1):
        context.at(obx, 5, at)
        components.append({"code": code, **convert(found, context)})
    return {"component": components}


def _converter(kind: str, obx: Segment, context: Context) -> Callable[[Field, Context], Elements]:
    convert = _CONVERTERS.get(kind)
    if convert is not None:
        return convert
    context.at(obx, 2)
    if not kind:
        context.finding("the value type is not said: read as text")
        return st
    context.gap("table", kind, system=TABLE_0125)
    context.finding("FHIR has no value of this type: left out")
    return _unsupported


def _unsupported(_found: Field, _context: Context) -> Elements:
    return absent("unsupported")


def absent(reason: str, text: str = "") -> Elements:
    """Return a ``dataAbsentReason`` that keeps the sender's word for it."""
    made: Elements = {"coding": [{"system": ABSENT, "code": reason}]}
    if text:
        made["text"] = text
    return {"dataAbsentReason": made}


def _nothing(kind: str, status: str, context: Context) -> Elements | None:
    """No value: why, as far as OBX-11 tells. A deleted result needs no reason; a document that was sent is no more."""
    if kind in _DOCUMENTS and status in {"D", "W", "X"}:
        note(Document(gone=kind == "ED"), context)
    if status in {"D", "W"}:
        return None
    if status == "X":
        return absent("unknown", "result cannot be obtained")
    return absent(_NO_VALUE_DUE.get(status, "unknown"))


def clean(text: str) -> str:
    """Return a text FHIR takes: no control characters but line ends and tabs, none but blanks is nothing."""
    text = text if text.isprintable() else _NOT_TEXT.sub("", text)
    return text.strip() or "-"


# --- numbers --------------------------------------------------------------------------------------------------------


def quantity(number: Number, sent: str, context: Context) -> Elements:
    """Make a Quantity in the canonical unit, with the value and unit as sent beside it where either was changed.

    Holds the Observation for a person when the value is implausible, or its unit is missing or of another property.
    """
    known = meaning(context)
    if known.unit_missing:
        context.hold("unit missing")
    elif known.unfit:
        context.hold("unit does not fit the code")
    return _quantity(number, sent, context)


def _quantity(number: Number, sent: str, context: Context) -> Elements:
    known = meaning(context)
    converted = known.convert(number.value)
    made: Elements = {"value": converted}
    if number.comparator:
        made["comparator"] = number.comparator
    made |= known.unit_elements()
    if not (number.as_sent and known.same_unit):
        made["extension"] = [source(sent, known)]
    if known.is_implausible(converted):
        context.hold("implausible value")
    return made


def source(sent: str, known: Meaning) -> Elements:
    """Return the extension that keeps a value and its unit as sent."""
    parts = [{"url": "value", "valueString": sent}]
    if known.unit.text:
        parts.append({"url": "unit", "valueString": known.unit.text})
    if known.assumed:
        parts.append({"url": "assumed-unit", "valueString": known.assumed})
    return {"url": SOURCE_VALUE, "extension": parts}


def nm(found: Field, context: Context) -> Elements:
    """Convert an ``NM`` in the site's number format; what is no number is kept as words."""
    text = found.component(1) or found.verbatim
    number = order_of(context).format.read(text)
    return words(text, context) if number is None else _numeric(number, text, context)


def st(found: Field, context: Context) -> Elements:
    """Convert an ``ST``: a number where a unit says so, words otherwise."""
    text = clean(found.verbatim)
    known = meaning(context)
    if not known.is_numeric:
        return {"valueString": text}
    number = order_of(context).format.read(text)
    if number is not None:
        return _numeric(number, text, context)
    made = words(text, context)
    if known.unit.text and "valueString" in made:
        made["extension"] = [source(text, known)]  # a string has no unit: it is kept beside it
    return made


def _numeric(number: Number, text: str, context: Context) -> Elements:
    if number.doubtful:
        context.hold("number with two readings")
        context.finding("a number that can be read in two ways: kept as text")
        return {"valueString": clean(text)}
    return {"valueQuantity": quantity(number, text, context)}


def words(text: str, context: Context) -> Elements:
    """Keep what stands where a number should be: a known word for "none", or the text as it came."""
    text = clean(text)
    if reason := absent_reason(text):
        return absent(reason, text)
    if _LIKE_A_NUMBER(text):
        context.hold("number not written as the site writes them")
    context.finding("not a number: kept as text")
    return {"valueString": text}


FHIR_COMPARATORS: Final = frozenset({"<", "<=", ">", ">="})


def sn(found: Field, context: Context) -> Elements:
    """Convert an ``SN``.

    ==========  ==========  ==============================================================
    SN-1        SN-3        FHIR
    ==========  ==========  ==============================================================
    ``<>``                  valueString
                ``-``       valueRange
                ``:`` ``/``  valueRatio
                ``+`` others valueString
    otherwise               valueQuantity; ``=`` is no comparator
    ==========  ==========  ==============================================================

    A part that is no number makes the whole a valueString. See HL7 v2.5.1 2.A.71 and the v2-to-FHIR maps of ``SN``.
    """
    comparator, first, separator, second = (found.component(n) for n in range(1, 5))
    read = order_of(context).format.read
    one, other = read(first), read(second)
    if comparator == "<>" or one is None or one.doubtful or separator not in {"", "-", ":", "/"}:
        return _sn_text(found, context)
    if not separator:
        return {"valueQuantity": quantity(_with(one, _comparator(comparator, context)), comparator + first, context)}
    if other is None or other.doubtful:
        return _sn_text(found, context)
    if separator == "-":
        return {"valueRange": {"low": quantity(one, first, context), "high": quantity(other, second, context)}}
    one = _with(one, _comparator(comparator, context))
    ratio = {"numerator": _quantity(one, first, context), "denominator": _quantity(other, second, context)}
    return {"valueRatio": ratio}  # a titre has no unit


def _with(number: Number, comparator: str) -> Number:
    return Number(number.value, comparator, number.as_sent and not comparator) if comparator else number


def _comparator(sent: str, context: Context) -> str:
    if sent in FHIR_COMPARATORS:
        return sent
    if sent not in {"", "="}:
        context.finding("a comparator FHIR does not have: left out", 1)
    return ""


def _sn_text(found: Field, context: Context) -> Elements:
    unit = meaning(context).unit.text
    return {"valueString": clean(" ".join(part for part in (*found.components(), unit) if part))}


def nr(found: Field, context: Context) -> Elements:
    """Convert an ``NR`` to a Range."""
    read = order_of(context).format.read
    ends = {"low": read(found.component(1)), "high": read(found.component(2))}
    made = {
        end: quantity(number, found.component(at), context)
        for at, (end, number) in enumerate(ends.items(), start=1)
        if number is not None and not number.doubtful
    }
    sent = sum(1 for n in (1, 2) if found.component(n))
    return {"valueRange": made} if made and len(made) == sent else words(found.verbatim, context)


def vr(found: Field, _context: Context) -> Elements:
    """Convert a ``VR`` to the text ``low-high``."""
    return {"valueString": clean("-".join(part for part in found.components() if part))}


# --- codes, dates, documents ----------------------------------------------------------------------------------------


def coded_value(found: Field, context: Context) -> Elements:
    """Convert a coded value; the sender's codes travel as they came."""
    made = cwe_concept(found, context)
    return {"valueCodeableConcept": made} if made else {"valueString": clean(found.verbatim)}


def _or_text(element: str, convert: Callable[[Field, Context], Any]) -> Callable[[Field, Context], Elements]:
    """Return a converter whose unreadable values (a finding says so) are kept as text."""

    def converted(found: Field, context: Context) -> Elements:
        made = convert(found, context)
        return {element: made} if made is not None else {"valueString": clean(found.verbatim)}

    return converted


_datetime = _or_text("valueDateTime", ts_datetime)

_CONVERTERS: Final[dict[str, Callable[[Field, Context], Elements]]] = {
    "NM": nm,
    "SN": sn,
    "ST": st,
    **dict.fromkeys(CODED, coded_value),
    **dict.fromkeys(("DT", "DTM", "TS"), _datetime),
    "TM": _or_text("valueTime", tm_time),
    "DR": _or_text("valuePeriod", dr_period),
    "NR": nr,
    "VR": vr,
    "NA": sampled,
    "ED": encapsulated,
    "RP": pointer,
}
