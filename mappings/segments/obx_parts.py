"""What many results of a site share, converted, checked and written as JSON once.

What was measured (OBX-3, -4, -6, -7, -17, -20) and how the result stands (OBX-8, -10, -11) comes in some hundreds of
combinations. The parts are made by the rows of ``OBX_OBSERVATION`` that read these fields, so that they say what the
segment map says; ``obx_shared`` joins them, ``obx_whole`` puts results together. No value of a patient is kept here.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import itemgetter
from typing import Any, Final

from msgspec import Struct

from gateway.errors import InvalidResource, MappingError
from gateway.fhir.parts import written
from gateway.hl7v2.message import Segment
from gateway.model.translation import Gap
from mappings.context import Context, Draft
from mappings.rules import SegmentMap
from mappings.segments.obx import OBX_OBSERVATION
from mappings.segments.obx_meaning import Meaning
from mappings.segments.obx_value import source
from mappings.statements import preferred_code
from mappings.units import ONE

Elements = dict[str, Any]

KIND: Final = "Observation"
MEASURED: Final = OBX_OBSERVATION.of_fields(3, 4, 6, 7, 17, 20)
STANDING: Final = OBX_OBSERVATION.of_fields(8, 10, 11)

_MEASURED_FIELDS: Final = itemgetter(4, 7, 17, 20)
_STANDING_FIELDS: Final = itemgetter(8, 10, 11)
_PLACE: Final = "place of a value"
_BEFORE_THE_VALUE: Final = ("status", "code")
LONGEST: Final = 2000
"""Characters of fields that are kept: codes, units and ranges are short, and no text shall fill a cache."""


class Part(Struct, frozen=True):
    """Elements of an Observation as JSON: ``first`` stand before its value, ``last`` behind it, extensions at the end.

    Behind each element and each extension stands a comma. ``held`` and ``gaps`` are what was said while it was made,
    ``code`` is ``preferred_code``, ``status`` the Observation's. ``unit_text`` is what stands behind the number of a
    Quantity that needs nothing but to be read (``b""``: it needs more), ``limit_text`` what stands behind its
    comparator, before and behind the text as sent; ``bounded``: it may be implausible.
    """

    first_names: tuple[str, ...]
    first_text: bytes
    last_names: tuple[str, ...]
    last_text: bytes
    extension_text: bytes
    held: str
    gaps: tuple[Gap, ...]
    code: str
    status: str
    unit_text: bytes
    limit_text: tuple[bytes, bytes] | None
    bounded: bool


def measured(obx: Segment, fields: list[str], known: Meaning, dialect: int, context: Context) -> Part | None:
    """Return what an OBX says of what was measured; None: it cannot be shared.

    ``fields`` are those of ``obx``, ``known`` what its code and unit mean.
    """
    said = _MEASURED_FIELDS(fields)
    key = ("measured", id(known), said, dialect) if sum(map(len, said)) <= LONGEST else None
    return _kept(key, MEASURED, obx, known, context)


def standing(obx: Segment, fields: list[str], dialect: int, context: Context) -> Part | None:
    """Return what an OBX says of how the result stands; None: it cannot be shared."""
    said = _STANDING_FIELDS(fields)
    key = ("standing", said, dialect) if sum(map(len, said)) <= LONGEST else None
    return _kept(key, STANDING, obx, None, context)


def _kept(
    key: Hashable | None, segment_map: SegmentMap, obx: Segment, known: Meaning | None, context: Context
) -> Part | None:
    """Return a part from the site's cache, or make it; without a key it is not kept.

    The meaning is kept beside it, so that its id stays its own.
    """
    kept: tuple[Meaning | None, Part | None] | None = context.cache.get(key) if key is not None else None
    if kept is None:
        kept = known, _part(segment_map, obx, known, context)
        if key is not None:
            context.cache[key] = kept
    return kept[1]


def _part(segment_map: SegmentMap, obx: Segment, known: Meaning | None, context: Context) -> Part | None:
    """Make a part; None where a finding was said, which names a place of this message, or it is not valid."""
    draft = Draft(KIND, "", {})
    gaps, findings = context.gaps, context.findings
    context.gaps, context.findings = {}, {}
    try:
        segment_map.apply(obx, context, draft)
        return _written(draft, tuple(context.gaps), known) if not context.findings else None
    except (InvalidResource, MappingError):
        return None
    finally:
        context.gaps, context.findings = gaps, findings


def _written(draft: Draft, gaps: tuple[Gap, ...], known: Meaning | None) -> Part:
    body = draft.body
    first: Elements = {name: body[name] for name in _BEFORE_THE_VALUE if name in body}
    last = {name: item for name, item in body.items() if name not in {*first, "extension"}}
    extension = written(KIND, {"extension": body["extension"]}) if "extension" in body else b""
    entry = known.entry if known is not None else None
    plain = known is not None and _is_plain(known)
    return Part(
        first_names=tuple(first),
        first_text=written(KIND, first),
        last_names=tuple(last),
        last_text=written(KIND, last),
        extension_text=extension[len(b'"extension":[') : -len(b"],")] + b"," if extension else b"",
        held=draft.held,
        gaps=gaps,
        code=preferred_code({"resourceType": KIND, **body}),
        status=body.get("status", ""),
        unit_text=_unit_text(known) if plain and known is not None else b"",
        limit_text=_limit_text(known) if plain and known is not None else None,
        bounded=entry is not None and (entry.low is not None or entry.high is not None),
    )


def _is_plain(known: Meaning) -> bool:
    """Say whether numbers are neither converted nor held for their unit."""
    return known.factor == ONE and known.same_unit and not (known.unit_missing or known.unfit)


def _limit_text(known: Meaning) -> tuple[bytes, bytes]:
    """Return what stands behind a comparator up to the text as sent, and behind that."""
    made = {"value": 0, "comparator": "<", **known.unit_elements(), "extension": [source(_PLACE, known)]}
    text = written(KIND, {"valueQuantity": made}).partition(b'"comparator":"<"')[2]
    before, _, after = text.partition(_PLACE.encode())
    return before, after


def _unit_text(known: Meaning) -> bytes:
    """Return what stands behind a number."""
    return written(KIND, {"valueQuantity": {"value": 0, **known.unit_elements()}}).partition(b":0")[2]
