"""``HD``: which identifier system an assigning authority stands for, and the organisation behind it."""

from __future__ import annotations

from typing import Any

from gateway.hl7v2.message import Field
from gateway.model.site import Authority
from mappings.context import Context, Draft, shared_draft


def authority_of(hd: Field, context: Context) -> Authority | None:
    """Return the declared authority of an ``HD`` (by HD-2, else HD-1); None: the site does not declare it."""
    return context.site.authority_of(hd.component(1), hd.component(2))


def hd_system(hd: Field, context: Context, *, unnamed: str = "", kind: str = "identifier") -> str:
    """Return the system URI of the identifiers an ``HD`` assigns.

    =============  =========  ========================================================================
    v2             FHIR       rule
    =============  =========  ========================================================================
    HD-2, HD-1     uri        the system the site declares for it
    (undeclared)   uri        a system scoped to the site, and a gap: a guessed one could join two people
    (empty)        uri        the site's own for ``unnamed`` (what the identifier is), and a gap
    =============  =========  ========================================================================

    See HL7 v2.5.1 2.A.33 and the v2-to-FHIR map ``HD[uri]``.
    """
    declared = authority_of(hd, context)
    if declared is not None:
        return declared.system
    name = hd.component(1) or hd.component(2)
    context.gap("authority", name, text="" if name else "no assigning authority")
    return context.site.scoped(kind, name or f"unnamed-{unnamed}".rstrip("-"))


def hd_organization(hd: Field, context: Context) -> dict[str, Any] | None:
    """Convert an ``HD`` that names a facility (MSH-4) to a reference to a shared ``Organization``.

    =========  =======================  ===================================
    v2         FHIR                     rule
    =========  =======================  ===================================
    HD-1       Organization.name        else HD-2
    HD-2       Organization.identifier  ISO ``urn:oid:``, UUID ``urn:uuid:``
    =========  =======================  ===================================

    See the v2-to-FHIR map ``HD[Organization]``.
    """
    return context.share(("hd organization", hd), lambda: _organization(hd, context))


def _organization(hd: Field, context: Context) -> Draft | None:
    name, universal, kind = hd.component(1), hd.component(2), hd.component(3).upper()
    if not (name or universal):
        return None
    draft = shared_draft("Organization", context.id("Organization", "hd", name, universal))
    draft.body["name"] = name or universal
    prefix = {"ISO": "urn:oid:", "UUID": "urn:uuid:"}.get(kind)
    if universal and prefix:
        draft.body["identifier"] = [{"system": "urn:ietf:rfc:3986", "value": f"{prefix}{universal}"}]
    return draft
