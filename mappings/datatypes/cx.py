"""``CX`` and ``EI``: identifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gateway.hl7v2.message import Field
from gateway.model.names import V2_TABLE
from gateway.model.site import Authority
from mappings.context import Context
from mappings.datatypes.hd import authority_of, hd_system
from mappings.datatypes.national import check_national
from mappings.datatypes.ts import period, ts_datetime
from mappings.tables import load

TABLE_0203: Final = f"{V2_TABLE}0203"
_TYPES: Final = load("hl70203_identifier_type")

NEVER_STORED_TYPES: Final = frozenset({"SS"})
"""Types of table 0203 that exist nowhere outside the encrypted raw message, whoever assigned them: US SSN."""

_NEVER_STORED_AUTHORITIES: Final = frozenset({"2.16.840.1.113883.4.1", "USSSA", "SSA"})


class Identifier(NamedTuple):
    """A FHIR Identifier, and the declared authority behind it (None: the site declares none)."""

    body: dict[str, Any]
    authority: Authority | None


def cx(found: Field, context: Context, *, unnamed: str = "") -> Identifier | None:
    """Convert a ``CX`` to an Identifier and its authority; as ``cx_identifier``.

    The identifiers of a person are asked for twice, by what names the Patient and by the Patient's map: once is enough.
    """
    key = (context.segment, context.number, context.repetition, found, unnamed)
    if key not in context.memo:
        context.memo[key] = _cx(found, context, unnamed)
    made: Identifier | None = context.memo[key]
    return made


def _cx(found: Field, context: Context, unnamed: str) -> Identifier | None:
    value = found.component(1)
    if not value:
        return None
    hd, kind = found.nested(4), found.component(5)
    authority = authority_of(hd, context)
    if _never_stored(hd, kind, authority):
        context.finding("an identifier that must not be stored was left out")
        return None
    body: dict[str, Any] = {}
    if kind:
        body["type"] = {"coding": [identifier_type(kind, context)]}
    body["system"] = authority.system if authority else hd_system(hd, context, unnamed=unnamed or kind)
    body["value"] = value
    if check_national(body, context):
        authority = None
    if valid := _valid_period(found, context):
        body["period"] = valid
    if authority is None and (name := hd.component(1)):
        body["assigner"] = {"display": name}
    return Identifier(body, authority)


def cx_identifier(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert a ``CX`` to a FHIR ``Identifier``.

    ===========  =========================  ==================================================
    v2           FHIR                       rule
    ===========  =========================  ==================================================
    CX-1         Identifier.value           copied as text; leading zeros are kept
    CX-2, CX-3   --                         the check digit is part of CX-1 where it is printed
    CX-4         Identifier.system          ``hd_system``: one URI per authority
    CX-4.1       Identifier.assigner        display, where the site does not declare the authority
    CX-5         Identifier.type            code of table 0203
    CX-7, CX-8   Identifier.period          dates
    ===========  =========================  ==================================================

    An identifier that must not be stored (type SS; an authority declared so) is left out with a finding. An authority
    the site does not declare gets a system scoped to the site, and a gap.

    See HL7 v2.5.1 2.A.14 and the v2-to-FHIR map ``CX[Identifier]``.
    """
    made = cx(found, context)
    return made.body if made else None


def cx_identifier_unnamed(unnamed: str) -> Callable[[Field, Context], dict[str, Any] | None]:
    """Return ``cx_identifier`` for a field whose identifiers, without an authority, share a system of that name."""

    def convert(found: Field, context: Context) -> dict[str, Any] | None:
        made = cx(found, context, unnamed=unnamed)
        return made.body if made else None

    convert.__doc__ = cx_identifier.__doc__
    convert.__name__ = "cx_identifier"
    return convert


def ei_identifier(found: Field, context: Context, *, kind: str = "", unnamed: str = "") -> dict[str, Any] | None:
    """Convert an ``EI`` to a FHIR ``Identifier``; ``kind`` is a code of table 0203 to give it.

    ============  ==================  =====================================
    v2            FHIR                rule
    ============  ==================  =====================================
    EI-1          Identifier.value    copied as text
    EI-2 to EI-4  Identifier.system   ``hd_system``
    ============  ==================  =====================================

    See HL7 v2.5.1 2.A.28 and the v2-to-FHIR map ``EI[Identifier-System]``.
    """
    value = found.component(1)
    if not value:
        return None
    body: dict[str, Any] = {}
    if kind:
        body["type"] = {"coding": [identifier_type(kind, context)]}
    body["system"] = ei_system(found, context, unnamed=unnamed or kind)
    body["value"] = value
    return body


def ei_system(found: Field, context: Context, *, unnamed: str = "") -> str:
    """Return the system of an ``EI``.

    An order or specimen number without an authority is a number of the site, which is what everybody means by it: no
    gap. An authority that is named and not declared is one.
    """
    namespace, universal = found.component(2), found.component(3)
    declared = context.site.authority_of(namespace, universal)
    if declared is not None:
        return declared.system
    name = namespace or universal
    if name:
        context.gap("authority", name)
    key = ("identifiers", name or unnamed)
    known: str | None = context.cache.get(key)
    if known is None:
        known = context.cache[key] = context.site.scoped("identifier", name or unnamed or "unnamed")
    return known


def identifier_type(kind: str, context: Context) -> dict[str, str]:
    """Return the Coding of an identifier type (table 0203); one that HL7 does not list stays the site's, with a gap."""
    target = _TYPES.targets.get(kind)
    if target is not None:
        return {"system": TABLE_0203, "code": target.code}
    context.gap("table", kind, system=TABLE_0203)
    return {"system": context.site.scoped("table", "0203"), "code": kind}


def _never_stored(hd: Field, kind: str, authority: Authority | None) -> bool:
    if kind in NEVER_STORED_TYPES or (authority is not None and authority.never_store):
        return True
    return hd.component(1) in _NEVER_STORED_AUTHORITIES or hd.component(2) in _NEVER_STORED_AUTHORITIES


def _valid_period(found: Field, context: Context) -> dict[str, Any] | None:
    if not (found.component(7) or found.component(8)):
        return None
    start = ts_datetime(found.nested(7), context) if found.component(7) else None
    end = ts_datetime(found.nested(8), context) if found.component(8) else None
    return period(start, end, context)
