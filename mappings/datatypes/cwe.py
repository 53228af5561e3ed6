"""``CWE``, ``CE``, ``CNE``, ``IS`` and ``ID``: codes, and the URI of the coding system each is from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from gateway.hl7v2.message import Field
from gateway.model.names import V2_TABLE
from mappings.context import Context
from mappings.tables import Table, hl7_codes, load, systems

_HL7_TABLE: Final = re.compile(r"HL7-?(\d{4})", re.IGNORECASE)
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_TRIPLETS: Final = ((1, 2, 3, 7), (4, 5, 6, 8), (10, 11, 12, 13))
"""Where code, text, coding system and version of each of the three codings stand."""


def system_uri(name: str, context: Context) -> str:
    """Return the URI of a coding system as the sender names it (table 0396); ``""`` for an empty name.

    The site's own declarations come first, then the published systems, ``HL7nnnn``, and URIs or OIDs written out. Any
    other name (``L``, ``99zzz``, ...) is a system of this site: a code is never dropped for its system.
    """
    if not name:
        return ""
    key = ("coding system", name)
    known: str | None = context.cache.get(key)
    if known is None:
        known = context.cache[key] = _system_uri(name, context)
    return known


def _system_uri(name: str, context: Context) -> str:
    declared = context.site.coding_systems.get(name) or systems().get(name.upper())
    if declared:
        return declared
    if table := _HL7_TABLE.fullmatch(name):
        return f"{V2_TABLE}{table[1]}"
    if name.startswith(("http://", "https://", "urn:")):
        return name
    if _OID.fullmatch(name):
        return f"urn:oid:{name}"
    return context.site.scoped("codes", name)


def own_system(uri: str, code: str, context: Context) -> str:
    """Return the URI, or the site's own for that HL7 table when the table has no such code, with a gap."""
    codes = hl7_codes().get(uri)
    if codes is None or code in codes:
        return uri
    context.gap("table", code, system=uri)
    return context.site.scoped("table", uri.removeprefix(V2_TABLE))


def cwe_concept(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert a ``CWE``, ``CE`` or ``CNE`` to a FHIR ``CodeableConcept``.

    =====================  =======================================  ======================================
    v2                     FHIR                                     rule
    =====================  =======================================  ======================================
    CWE-1, -4, -10         CodeableConcept.coding.code              as sent
    CWE-2, -5, -11         CodeableConcept.coding.display           as sent; without a code it is the text
    CWE-3, -6, -12         CodeableConcept.coding.system            ``system_uri``
    CWE-7, -8, -13         CodeableConcept.coding.version
    CWE-9                  CodeableConcept.text                     else the first text without a code
    =====================  =======================================  ======================================

    A code that the HL7 table it claims to be of does not have gets a system of the site, and a gap.

    See HL7 v2.5.1 2.A.13 and the v2-to-FHIR maps ``CWE[CodeableConcept]`` and ``CE[CodeableConcept]``.
    """
    codings, text = codings_of(found, context)
    return concept_of(codings, text)


def codings_of(found: Field, context: Context) -> tuple[list[dict[str, str]], str]:
    """Return the codings of a coded field in the sender's order, and its text."""
    codings: list[dict[str, str]] = []
    text = found.component(9)
    for code_at, text_at, system_at, version_at in _TRIPLETS:
        code, display = found.component(code_at), found.component(text_at)
        if code:
            codings.append(_coding(code, display, found.component(system_at), found.component(version_at), context))
        else:
            text = text or display
    return codings, text


def _coding(code: str, display: str, system: str, version: str, context: Context) -> dict[str, str]:
    coding = {"code": code}
    if uri := own_system(system_uri(system, context), code, context):
        coding = {"system": uri, "code": code}
        if version:
            coding["version"] = version
    if display:
        coding["display"] = display
    return coding


def concept_of(codings: list[dict[str, str]], text: str) -> dict[str, Any] | None:
    """Make a ``CodeableConcept``; None when there is neither code nor text."""
    made: dict[str, Any] = {}
    if codings:
        made["coding"] = codings
    if text:
        made["text"] = text
    return made or None


def concept(table_name: str) -> Callable[[Field, Context], dict[str, Any] | None]:
    """Return a converter of a coded field to a ``CodeableConcept`` through a table.

    A code of the table becomes the table's FHIR coding. Any other code travels as it came, with a gap; one sent as a
    code of the table, or without a coding system, gets a system that belongs to this site: it is no code of HL7's.
    """
    table = load(table_name)

    def convert(found: Field, context: Context) -> dict[str, Any] | None:
        code = found.component(1)
        if not code:
            return cwe_concept(found, context)
        codings, text = codings_of(found, context)
        codings[0] = through_table(table, found, context)
        return concept_of(codings, text)

    convert.__name__ = f"concept({table_name!r})"
    convert.__doc__ = f"table {table.number}; other codes travel as they came"
    return convert


def coding(table_name: str) -> Callable[[Field, Context], dict[str, str] | None]:
    """Return a converter of a coded field to a ``Coding`` through a table; as ``concept``."""
    table = load(table_name)

    def convert(found: Field, context: Context) -> dict[str, str] | None:
        return through_table(table, found, context) if found.component(1) else None

    convert.__name__ = f"coding({table_name!r})"
    convert.__doc__ = f"table {table.number}; other codes travel as they came"
    return convert


def through_table(table: Table, found: Field, context: Context) -> dict[str, str]:
    """Return the coding of the first code of a field: the table's, or the sender's with a gap."""
    code, system = found.component(1), found.component(3)
    uri = system_uri(system, context)
    of_table = uri in {"", table.system}
    target = table.targets.get(code) if of_table else None
    if target is not None:
        return target.coding()
    context.gap("table", code, system=uri or table.system, text=found.component(2))
    made = {"system": context.site.scoped("table", table.number) if of_table else uri, "code": code}
    if display := found.component(2):
        made["display"] = display
    return made


def site_concept(number: str) -> Callable[[Field, Context], dict[str, Any] | None]:
    """Return a converter for a user-defined table that HL7 gives no codes for.

    Codes sent without a coding system get one that belongs to this site and the table. They are no gap: there is no
    standard code they could be.
    """

    def convert(found: Field, context: Context) -> dict[str, Any] | None:
        codings, text = codings_of(found, context)
        for made in codings:
            made.setdefault("system", context.site.scoped("table", number))
        return concept_of(codings, text)

    convert.__name__ = f"site_concept({number!r})"
    convert.__doc__ = f"user-defined table {number}; the site's codes travel as they came"
    return convert
