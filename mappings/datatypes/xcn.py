"""``XCN`` and ``XON`` (and ``CN``): people and organisations, each a shared resource of its own."""

from __future__ import annotations

from typing import Any, Final

from gateway.hl7v2.message import Field
from mappings.context import Context, Draft, shared_draft
from mappings.datatypes.cx import Identifier, identifier_type
from mappings.datatypes.hd import hd_system
from mappings.datatypes.xpn import texts_of
from mappings.rules import optional_code
from mappings.tables import load

_USES: Final = load("hl70200_name_use")
_NAME_PARTS: Final = (("given", (3, 4)), ("prefix", (6,)), ("suffix", (5, 21)))


def xcn_practitioner(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert an ``XCN`` to a reference to a shared ``Practitioner``, which this message then states.

    ============  ===========================  =====================================================
    v2            FHIR                         rule
    ============  ===========================  =====================================================
    XCN-1, XCN-9  Practitioner.identifier      system as for ``CX``; XCN-8 where XCN-9 is empty
    XCN-13        Practitioner.identifier      type, table 0203
    XCN-2 to -6   Practitioner.name            family, given, given, suffix, prefix
    XCN-10        Practitioner.name.use        table 0200
    XCN-7         --                           degree: no recipient is entitled to it
    ============  ===========================  =====================================================

    The same number of the same authority is the same person; without a number, the same name at the same site is.
    Returns None when there is neither.

    See HL7 v2.5.1 2.A.86 and the v2-to-FHIR map ``XCN[Practitioner]``.
    """
    return context.share(("xcn", found), lambda: _practitioner(found, context))


def _practitioner(found: Field, context: Context) -> Draft | None:
    identifier, name = _identifier(found, context), _name(found, context)
    if identifier is not None:
        id = identified(context, "Practitioner", identifier)
    elif name.keys() & {"family", "given"}:
        id = context.id("Practitioner", "name", name.get("family", ""), *name.get("given", ()))
    else:
        return None
    draft = shared_draft("Practitioner", id)
    if identifier is not None:
        draft.body["identifier"] = [identifier.body]
    if name:
        draft.body["name"] = [name]
    return draft


def identified(context: Context, resource_type: str, identifier: Identifier) -> str:
    """Return the internal id of a resource that an identifier names: common to all sites where its authority joins."""
    business = (identifier.body["system"], identifier.body["value"])
    if identifier.authority is not None and identifier.authority.joins:
        return context.common_id(resource_type, *business)
    return context.id(resource_type, *business)


def _identifier(found: Field, context: Context) -> Identifier | None:
    value, kind, hd = found.component(1), found.component(13), found.nested(9)
    if not value or kind == "SS":
        return None
    authority = context.site.authority_of(hd.component(1), hd.component(2))
    if authority is not None and authority.never_store:
        context.finding("an identifier that must not be stored was left out")
        return None
    if authority is not None:
        system = authority.system
    elif hd:
        system = hd_system(hd, context)
    else:  # a staff number without an authority is the site's own: nobody writes it out
        system = context.site.scoped("practitioner", found.component(8))
    body: dict[str, Any] = {"type": {"coding": [identifier_type(kind, context)]}} if kind else {}
    return Identifier({**body, "system": system, "value": value}, authority)


def _name(found: Field, context: Context) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if use := optional_code(_USES, found.component(10), context):
        made["use"] = use
    if family := found.component(2):
        made["family"] = family
    made.update({element: texts for element, numbers in _NAME_PARTS if (texts := texts_of(found, numbers))})
    return made if made.keys() - {"use"} else {}


def xon_organization(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert an ``XON`` to a reference to a shared ``Organization``, which this message then states.

    ==============  =========================  ==================================
    v2              FHIR                       rule
    ==============  =========================  ==================================
    XON-1           Organization.name          else the identifier stands alone
    XON-10, XON-3   Organization.identifier    the first that is valued
    XON-6           its system                 as for ``CX``
    ==============  =========================  ==================================

    See HL7 v2.5.1 2.A.87 and the v2-to-FHIR map ``XON[Organization]``.
    """
    return context.share(("xon", found), lambda: _organization(found, context))


def _organization(found: Field, context: Context) -> Draft | None:
    name, value = found.component(1), found.component(10) or found.component(3)
    if not (name or value):
        return None
    identifier = _organization_identifier(found, value, context) if value else None
    if identifier is not None:
        id = identified(context, "Organization", identifier)
    else:
        id = context.id("Organization", "name", name)
    draft = shared_draft("Organization", id)
    if identifier is not None:
        draft.body["identifier"] = [identifier.body]
    if name:
        draft.body["name"] = name
    return draft


def _organization_identifier(found: Field, value: str, context: Context) -> Identifier:
    hd = found.nested(6)
    authority = context.site.authority_of(hd.component(1), hd.component(2))
    if authority is not None:
        system = authority.system
    elif hd:
        system = hd_system(hd, context)
    else:
        system = context.site.scoped("organization", "")
    return Identifier({"system": system, "value": value}, authority)
