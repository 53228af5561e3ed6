"""Bundles as plain dicts (FHIR R4, Bundle and 3.1.0.11 batch/transaction).

An entry's ``fullUrl`` is ``urn:uuid:<id>``, or ``<base>/<Type>/<id>`` where a base URL is given. Resources are placed
in the Bundle as they are, not copied. Nothing empty is ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from gateway.errors import InvalidResource
from gateway.fhir.references import rewrite, split

Resource = dict[str, Any]
Entry = dict[str, Any]
FindBy = Callable[[str], tuple[str, str] | None]
"""Takes ``Type/id``, returns (system, value) of the identifier a receiver knows it by, or None."""

_STATUS: Final = {"created": "201 Created", "updated": "200 OK", "deleted": "204 No Content"}


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a history: what happened to ``type/id``; ``resource`` is None when it was deleted.

    ``kind``: ``created``, ``updated`` or ``deleted``. ``at`` carries its zone.
    """

    type: str
    id: str
    kind: str
    resource: Resource | None = None
    version: int = 0
    at: datetime | None = None


def full_url(kind: str, id_: str, base: str = "") -> str:
    """Return the ``fullUrl`` of ``kind/id_``.

    An id that is not a UUID gets one derived from type and id, as ``urn:uuid:`` takes nothing else.

    >>> full_url("Patient", "0f0e0d0c-0000-4000-8000-000000000001")
    'urn:uuid:0f0e0d0c-0000-4000-8000-000000000001'
    >>> full_url("Patient", "7", "https://example.org/fhir/r4")
    'https://example.org/fhir/r4/Patient/7'
    """
    if base:
        return f"{base.rstrip('/')}/{kind}/{id_}"
    try:
        return f"urn:uuid:{UUID(id_)}"
    except ValueError:
        return f"urn:uuid:{uuid5(NAMESPACE_URL, f'{kind}/{id_}')}"


def put(resource: Resource, *, base: str = "", if_match: str = "") -> Entry:
    """Return the entry that writes ``resource`` under its own id: ``PUT Type/id``.

    ``if_match`` is a version id of the receiver; it is sent as a weak ETag.
    """
    kind, id_ = resource["resourceType"], resource["id"]
    request = {"method": "PUT", "url": f"{kind}/{id_}"}
    if if_match:
        request["ifMatch"] = f'W/"{if_match}"'
    return {"fullUrl": full_url(kind, id_, base), "resource": resource, "request": request}


def delete(kind: str, id_: str) -> Entry:
    """Return the entry that deletes ``kind/id_``."""
    return {"request": {"method": "DELETE", "url": f"{kind}/{id_}"}}


def conditional_url(kind: str, identifier: tuple[str, str]) -> str:
    """Return the search that finds a resource by an identifier, percent-encoded.

    >>> conditional_url("Patient", ("urn:oid:1.2", "A 1"))
    'Patient?identifier=urn:oid:1.2%7CA%201'
    """
    system, value = identifier
    return f"{kind}?identifier={quote(system, safe=':/.')}%7C{quote(value, safe='')}"


def conditional_puts(resources: Iterable[Resource], find_by: FindBy) -> list[Entry]:
    """Return entries for a receiver that chooses its own ids: ``PUT Type?identifier=system|value``, in order.

    The resource loses its id. A reference to another of ``resources`` becomes its ``urn:uuid``, one to anything else a
    conditional reference. Raises ``InvalidResource`` where ``find_by`` has no identifier for what is written or
    referenced; ``#contained``, ``urn:`` and foreign absolute references stay.
    """
    sent = list(resources)
    inside = {f"{each['resourceType']}/{each['id']}": full_url(each["resourceType"], each["id"]) for each in sent}

    def point(reference: str) -> str:
        if reference in inside:
            return inside[reference]
        target = split(reference)
        if target is None or reference.count("/") != 1:
            return reference
        return conditional_url(target[0], _known_by(reference, find_by))

    entries: list[Entry] = []
    for resource in sent:
        reference = f"{resource['resourceType']}/{resource['id']}"
        copy = rewrite(resource, point)
        del copy["id"]
        request = {"method": "PUT", "url": conditional_url(resource["resourceType"], _known_by(reference, find_by))}
        entries.append({"fullUrl": inside[reference], "resource": copy, "request": request})
    return entries


def _known_by(reference: str, find_by: FindBy) -> tuple[str, str]:
    identifier = find_by(reference)
    if identifier is None:
        kind = reference.partition("/")[0]
        raise InvalidResource(kind, "has no identifier by which the receiver could find it")
    return identifier


def transaction(entries: Iterable[Entry], *, id_: str = "", at: datetime | None = None) -> Resource:
    """Return a transaction of entries made by ``put``, ``delete`` or ``conditional_puts``."""
    return _bundle("transaction", entries, id_, at)


def batch(entries: Iterable[Entry], *, id_: str = "", at: datetime | None = None) -> Resource:
    """Return a batch: each entry stands or falls alone."""
    return _bundle("batch", entries, id_, at)


def collection(resources: Iterable[Resource], *, base: str = "", id_: str = "", at: datetime | None = None) -> Resource:
    """Return a collection: resources without a wish attached."""
    entries = (_listed(resource, base) for resource in resources)
    return _bundle("collection", entries, id_, at)


def searchset(
    matches: Iterable[Resource],
    *,
    base: str,
    included: Iterable[Resource] = (),
    total: int | None = None,
    links: Mapping[str, str] | None = None,
    at: datetime | None = None,
) -> Resource:
    """Return a page of search results; ``links`` maps relation (``self``, ``next``) to URL."""
    entries = [{**_listed(each, base), "search": {"mode": "match"}} for each in matches]
    entries += [{**_listed(each, base), "search": {"mode": "include"}} for each in included]
    bundle = _bundle("searchset", entries, "", at)
    return _with_links(bundle, total, links)


def history(
    changes: Iterable[Change],
    *,
    base: str = "",
    id_: str = "",
    at: datetime | None = None,
    total: int | None = None,
    links: Mapping[str, str] | None = None,
) -> Resource:
    """Return a history: each change with the request that would have made it and how it ended.

    ``created`` and ``updated`` are ``PUT Type/id`` with 201 and 200, ``deleted`` is ``DELETE Type/id`` with 204 and no
    resource. The order is the caller's: a receiver that applies changes wants them oldest first.
    """
    bundle = _bundle("history", (_change(change, base) for change in changes), id_, at)
    return _with_links(bundle, total, links)


def _change(change: Change, base: str) -> Entry:
    response = {"status": _STATUS[change.kind]}
    if change.version:
        response["etag"] = f'W/"{change.version}"'
    if change.at is not None:
        response["lastModified"] = instant(change.at)
    entry: Entry = {"fullUrl": full_url(change.type, change.id, base)}
    if change.resource is not None:
        entry["resource"] = change.resource
    method = "DELETE" if change.kind == "deleted" else "PUT"
    entry["request"] = {"method": method, "url": f"{change.type}/{change.id}"}
    entry["response"] = response
    return entry


def _listed(resource: Resource, base: str) -> Entry:
    if "id" not in resource:
        return {"resource": resource}
    return {"fullUrl": full_url(resource["resourceType"], resource["id"], base), "resource": resource}


def instant(at: datetime) -> str:
    """Return ``at`` as a FHIR instant to the millisecond, UTC as ``Z``. Raises ``ValueError`` without a zone."""
    if at.tzinfo is None:
        raise ValueError("an instant needs a zone")
    text = at.isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _bundle(kind: str, entries: Iterable[Entry], id_: str, at: datetime | None) -> Resource:
    bundle: Resource = {"resourceType": "Bundle"}
    if id_:
        bundle["id"] = id_
    bundle["type"] = kind
    if at is not None:
        bundle["timestamp"] = instant(at)
    if listed := list(entries):
        bundle["entry"] = listed
    return bundle


def _with_links(bundle: Resource, total: int | None, links: Mapping[str, str] | None) -> Resource:
    """Put ``total`` and ``link`` before the entries, where readers expect them."""
    entries = bundle.pop("entry", None)
    if total is not None:
        bundle["total"] = total
    if links:
        bundle["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
    if entries:
        bundle["entry"] = entries
    return bundle
