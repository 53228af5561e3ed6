"""Bulk Data Access (http://hl7.org/fhir/uv/bulkdata, "Export"): of everything, of patients, of a study's Group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from isal import isal_zlib

from gateway.api.fhir.bundles import address
from gateway.api.fhir.compression import GZIP, takes_gzip
from gateway.api.fhir.exchange import Asked, Rule, Told, http_date, told
from gateway.api.fhir.inputs import Inputs
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.fhir.search.parameters import types
from gateway.ports import Answer, Clock, Export
from gateway.release.policy import SHARED, Policy, Rights
from gateway.services.export import SETTLED, ExportDesk, Fetched, File
from gateway.services.export_content import filter_of
from gateway.services.export_order import Order, order_of
from gateway.services.study_groups import group_ids

NDJSON: Final = "application/fhir+ndjson"
_FORMATS: Final = (NDJSON, "application/ndjson", "ndjson")
_DEFINITION: Final = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
_WAIT_SECONDS: Final = "2"
_FILTERS: Final = re.compile(r",(?=[A-Z][A-Za-z]*\?)")
"""Stands between the filters of one ``_typeFilter``; a comma within a filter is its own."""

_ELEMENT: Final = re.compile(r"(?:[A-Z][A-Za-z]*\.)?[A-Za-z][A-Za-z0-9]*(?:\[x\])?")


@dataclass(frozen=True, slots=True)
class Counter:
    """What the routes of exports need. ``note`` keeps what a piece of a file discloses, before it leaves.

    ``id_key`` makes the ids of Groups.
    """

    desk: ExportDesk
    policy: Policy
    note: Callable[[Answer], None]
    clock: Clock
    id_key: bytes


def bulk_rules(counter: Counter) -> list[Rule]:
    """Return the routes."""
    bulk = _Bulk(counter)
    rules = []
    for path, handler, name in (
        ("$export", bulk.system, "export"),
        ("Patient/$export", bulk.patients, "patient-export"),
        ("Group/{id}/$export", bulk.group, "group-export"),
    ):
        rules.append(Rule("GET", path, "$export", handler, definition=_DEFINITION + name))
        rules.append(Rule("POST", path, "$export", handler, definition=_DEFINITION + name))
    rules.append(Rule("GET", "_export/{id}", "$export-status", bulk.status))
    rules.append(Rule("DELETE", "_export/{id}", "$export-status", bulk.drop))
    rules.append(Rule("GET", "_export/{id}/{number}", "$export-file", bulk.file))
    return rules


class _Bulk:
    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._desk = counter.desk

    # --- ordering -----------------------------------------------------------------------------------------------------

    def system(self, asked: Asked) -> Told:
        """Order everything the client sees."""
        return self._ordered(asked, self._views(asked))

    def patients(self, asked: Asked) -> Told:
        """Order what is of patients."""
        return self._ordered(asked, self._views(asked), shared=False)

    def group(self, asked: Asked) -> Told:
        """Order one study: the Group of its subjects, which the id of the ResearchStudy names as well."""
        views = [rights for rights in self._views(asked) if asked.id in group_ids(rights, self._counter.id_key)]
        if not views and self._desk.sees(f"Group/{asked.id}", asked.caller, asked.release):
            what = (
                "only the Groups of studies are exported: search for the study's identifier, or name the ResearchStudy"
            )
            raise RequestRefused(400, "not-supported", what)
        if not views:
            raise RequestRefused(404, "not-found", "there is no such Group, or it is not for this client")
        return self._ordered(asked, views)

    def _views(self, asked: Asked) -> list[Rights]:
        found = (self._counter.policy.rights(view) for view in asked.caller.views)
        return [rights for rights in found if rights is not None]

    def _ordered(self, asked: Asked, views: Sequence[Rights], *, shared: bool = True) -> Told:
        if "respond-async" not in asked.prefer:
            what = "an export is asked for with the header Prefer: respond-async"
            raise RequestRefused(400, "invalid", what)
        order = _Reader(asked).order(views, shared=shared)
        id = self._desk.begin(order, asked.caller.client)
        issue = Issue("the export has begun; Content-Location says where it is", "informational", "information")
        location = {"Content-Location": f"{asked.base}/_export/{id}"}
        return told(operation_outcome([issue]), 202, **location)

    # --- watching and dropping ----------------------------------------------------------------------------------------

    def status(self, asked: Asked) -> Told:
        """Say how far an export is: 202 while it goes on, then its manifest."""
        export = self._desk.get(asked.id, asked.caller.client)
        if export.state == "begun":
            progress = f"{export.done} of {export.total} patients" if export.total else "waiting"
            return Told(202, b"", {"X-Progress": progress, "Retry-After": _WAIT_SECONDS})
        if export.state == "failed":
            raise RequestRefused(500, "exception", f"the export failed: {export.detail}")
        manifest = _manifest(asked, export, self._desk.files(export, asked.caller))
        headers = {"Expires": http_date(export.expires_at)}
        return Told(200, codec.encode(manifest), headers, media_type="application/json")

    def drop(self, asked: Asked) -> Told:
        """Cancel an export, or forget a finished one."""
        self._desk.drop(asked.id, asked.caller.client)
        issue = Issue("the export and its files are deleted", "informational", "information")
        return told(operation_outcome([issue]), 202)

    # --- files --------------------------------------------------------------------------------------------------------

    def file(self, asked: Asked) -> Told:
        """Return a file, as much of it as may be seen now; what leaves is noted piece by piece before it does."""
        export = self._desk.get(asked.id, asked.caller.client)
        number = asked.names["number"]
        if export.state != "done" or not (number.isdecimal() and len(number) < 7):
            raise RequestRefused(404, "not-found", "the export has no such file")
        type, pieces = self._desk.fetch(export, int(number), asked.caller)
        noted = self._noted(asked, type, pieces)
        headers = {"Expires": http_date(export.expires_at), "Vary": "Accept-Encoding"}
        if takes_gzip(asked.headers.get("accept-encoding", "")):
            return Told(200, _packed(noted), headers | {"Content-Encoding": "gzip"}, media_type=NDJSON)
        return Told(200, noted, headers, media_type=NDJSON)

    def _noted(self, asked: Asked, type: str, pieces: Iterator[Fetched]) -> Iterator[bytes]:
        request = f"{asked.method} {asked.path}"
        for piece in pieces:
            now, client = self._counter.clock(), asked.caller.client
            self._counter.note(Answer(now, client, "$export-file", type, 200, request, piece.shown))
            yield from piece.lines


def _manifest(asked: Asked, export: Export, files: Iterable[File]) -> dict[str, Any]:
    order = order_of(export)
    listed: dict[str, list[dict[str, Any]]] = {"output": [], "deleted": [], "error": []}
    for file in files:
        url = f"{asked.base}/_export/{export.id}/{file.number}"
        listed[file.kind].append({"type": file.type, "url": url, "count": file.count})
    moment = order.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{order.at.microsecond // 1000:03d}Z"
    return {"transactionTime": moment, "request": order.request, "requiresAccessToken": True} | listed


def _packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines as one gzip member: not every client reads a second one."""
    packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, GZIP)
    for some in lines:
        if packed := packer.compress(some):
            yield packed
    yield packer.flush()


# --- what is asked for ------------------------------------------------------------------------------------------------


class _Reader:
    """Reads the parameters of an order, of the URL or of a Parameters resource."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._inputs = Inputs.of(asked, _PARAMETERS)
        self._ignored = list(self._inputs.ignored)

    def order(self, views: Sequence[Rights], *, shared: bool) -> Order:
        """Return the order. Raises ``RequestRefused``: 400 for what cannot be asked for, 403 without a scope for it."""
        asked = self._asked
        if any(one not in _FORMATS for one in self._inputs.every("_outputFormat")):
            raise RequestRefused(400, "not-supported", f"files are {NDJSON}", ("_outputFormat",))
        wanted = self._types(views, shared=shared)
        order = Order(
            request=self._request,
            base=asked.base,
            release=asked.release,
            views=tuple((rights.view.recipient, rights.view.study) for rights in views),
            scopes=tuple(str(scope) for scope in asked.caller.scopes),
            types=wanted,
            at=asked.now - SETTLED,
            shared=shared,
            since=self._inputs.instant("_since"),
            elements=self._elements,
            filters=tuple(one for text in self._inputs.every("_typeFilter") for one in _FILTERS.split(text) if one),
            ignored=tuple(self._ignored),
        )
        for text in order.filters:
            filter_of(order, text)
        return order

    def _types(self, views: Sequence[Rights], *, shared: bool) -> tuple[str, ...]:
        asked = self._asked
        known = types(asked.release)
        named = self._inputs.listed("_type")
        if unknown := [kind for kind in named if kind not in known]:
            if not asked.lenient:
                raise RequestRefused(400, "not-supported", "_type names a type that is not served", ("_type",))
            self._ignored += [f"_type={kind}" for kind in unknown if kind.isalpha()]
        for kind in named:
            asked.scopes(kind, "s")
        listed = {kind for rights in views for kind in rights.types if kind not in SHARED or shared}
        seen = sorted(kind for kind in listed & set(named or listed) if asked.caller.scopes_for(kind, "s"))
        if not seen and not named:
            raise RequestRefused(403, "forbidden", "the token has no scope for anything there is to export")
        return tuple(seen)

    @property
    def _elements(self) -> tuple[str, ...]:
        named = tuple(self._inputs.listed("_elements"))
        if not all(map(_ELEMENT.fullmatch, named)):
            what = "_elements names elements at the base of resources: status or Observation.status"
            raise RequestRefused(400, "value", what, ("_elements",))
        return named

    @property
    def _request(self) -> str:
        """The URL that was asked; of a POST without its parameters, as the specification says."""
        asked = self._asked
        return address(asked.base, asked.path, asked.parameters if asked.method == "GET" else ())


_PARAMETERS: Final = frozenset(("_type", "_since", "_outputFormat", "_elements", "_typeFilter"))
