"""``XTN`` (and ``TN``): telephone numbers, e-mail and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.hl7v2.message import Field
from mappings.context import Context
from mappings.datatypes.ts import period, ts_datetime
from mappings.rules import optional_code
from mappings.tables import load

_USES: Final = load("hl70201_telecom_use")
_SYSTEMS: Final = load("hl70202_telecom_system")
_ADDRESSED: Final = frozenset({"Internet", "X.400"})
"""Equipment types whose value stands in XTN-4."""


def xtn_contact_point(default_use: str = "") -> Callable[[Field, Context], dict[str, Any] | None]:
    """Return the converter of an ``XTN`` to a FHIR ``ContactPoint``; ``default_use`` where XTN-2 is empty.

    ===============  ====================  ===========================================================
    v2               FHIR                  rule
    ===============  ====================  ===========================================================
    XTN-1            ContactPoint.value    unless the parts or XTN-4 say it better
    XTN-2            ContactPoint.use      table 0201; CP in XTN-3 means ``mobile``
    XTN-3            ContactPoint.system   table 0202; CP is a ``phone``
    XTN-4            ContactPoint.value    for Internet and X.400, or where nothing else is valued
    XTN-5 to XTN-8   ContactPoint.value    ``+country area number Xextension``
    XTN-12           ContactPoint.value    where no other part is valued
    XTN-13, XTN-14   ContactPoint.period
    XTN-18           ContactPoint.rank     where it is a positive number
    ===============  ====================  ===========================================================

    Without XTN-3, a value with ``@`` is an ``email``, another a ``phone``: FHIR requires a system (cpt-2).

    See HL7 v2.5.1 2.A.89 and the v2-to-FHIR map ``XTN[ContactPoint]``; its gaps (XTN-4 without XTN-3, XTN-7 without
    XTN-6, CP) are filled as above.
    """

    def convert(found: Field, context: Context) -> dict[str, Any] | None:
        kind = found.component(3)
        value = _value(found, kind)
        if not value:
            return None
        made: dict[str, Any] = {"system": _system(kind, value, context), "value": value}
        use = "mobile" if kind == "CP" else optional_code(_USES, found.component(2), context)
        if use or (default_use and not found.component(2)):
            made["use"] = use or default_use
        if (rank := found.component(18)).isdecimal() and int(rank) > 0:
            made["rank"] = int(rank)
        if valid := _valid_period(found, context):
            made["period"] = valid
        return made

    convert.__name__ = f"xtn_contact_point({default_use!r})"
    convert.__doc__ = f"use {default_use} where XTN-2 says none" if default_use else None
    return convert


def _value(found: Field, kind: str) -> str:
    if kind in _ADDRESSED:
        return found.component(4) or found.component(1)
    if found.component(7):
        return _number(found)
    return found.component(1) or found.component(12) or found.component(4)


def _number(found: Field) -> str:
    country, extension = found.component(5).lstrip("+"), found.component(8)
    parts = (f"+{country}" if country else "", found.component(6), found.component(7), f"X{extension}")
    return " ".join(part for part in parts if part and part != "X")


def _system(kind: str, value: str, context: Context) -> str:
    if kind == "CP":
        return "phone"
    known = optional_code(_SYSTEMS, kind, context)
    return known or ("email" if "@" in value else "other" if kind else "phone")


def _valid_period(found: Field, context: Context) -> dict[str, Any] | None:
    start = ts_datetime(found.nested(13), context) if found.component(13) else None
    end = ts_datetime(found.nested(14), context) if found.component(14) else None
    return period(start, end, context)
