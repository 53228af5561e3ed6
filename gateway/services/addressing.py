"""What a client that writes may name: what its view sees, and the persons who have a place in the view's study.

A reference comes in under the view's own id and is stored under the internal one. Who names anything else is told
that it is not there, whether it exists or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl

from gateway.errors import RequestRefused
from gateway.fhir.references import references, rewrite, split
from gateway.fhir.search.query import parse
from gateway.model.resource import ResourceVersion
from gateway.model.translation import PatientKey
from gateway.release.policy import Rights
from gateway.services.chart import Chart
from gateway.services.matches import Match
from gateway.services.pull import Pull
from gateway.services.search import Search
from gateway.services.substudies import APART, PART_OF

PERSONS: Final = ("Patient", "ResearchSubject", "Consent")
"""Types that are of one person."""


class Addresses:
    """Finds what a client names, in one transaction. ``made``: full URL of a Bundle's entry -> internal reference."""

    def __init__(self, pull: Pull, search: Search) -> None:
        self.pull = pull
        self.search = search
        self.made: dict[str, str] = {}

    def relative(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Return a copy in which references to this server are relative."""
        start = self.search.base + "/"
        return rewrite(resource, lambda reference: reference.removeprefix(start))

    def internal(self, resource: dict[str, Any], rights: Rights) -> dict[str, Any]:
        """Return a copy under internal references. Raises ``RequestRefused`` (422) for one that leads nowhere."""
        known: dict[str, str] = {}
        for path, reference in references(resource):
            if reference not in known:
                known[reference] = self._one(reference, rights, path)
        return rewrite(resource, known.get)

    def _one(self, reference: str, rights: Rights, path: str) -> str:
        if reference.startswith("#"):
            return reference
        if reference in self.made:
            return self.made[reference]
        if "?" in reference:
            return self._searched(reference, rights, path)
        parts = split(reference.removeprefix(self.search.base + "/"))
        if parts is None or "://" in reference.removeprefix(self.search.base + "/") or "/_history/" in reference:
            raise _lost(path)
        try:
            internal = rights.internal_id(parts[1])
        except ValueError:
            raise _lost(path) from None
        if not self.names(rights, parts[0], internal):
            raise _lost(path)
        return f"{parts[0]}/{internal}"

    def _searched(self, reference: str, rights: Rights, path: str) -> str:
        """Return what a conditional reference finds (FHIR R4, 3.1.0.11.2)."""
        type, _, query = reference.partition("?")
        found = self.found(type, parse_qsl(query, keep_blank_values=True), most=50)
        own = {match.seen.stored.reference for match in found if match.chart.rights.study.id == rights.study.id}
        if len(own) > 1:
            raise RequestRefused(412, "multiple-matches", "a reference finds more than one resource", (path,))
        if not own:
            raise _lost(path)
        return own.pop()

    def found(self, type: str, pairs: list[tuple[str, str]], most: int = 2) -> list[Match]:
        """Return what a conditional search finds of what the client sees, ``most`` at most.

        Raises ``RequestRefused``: 400 for a search that says nothing or cannot be read, 403 where the token has no
        scope for it.
        """
        if not self.search.may_see(type):
            raise RequestRefused(403, "forbidden", f"the token has no scope to search for {type}")
        query = parse(self.search.pull.release, type, pairs, base=self.search.base)
        if not query.filters:
            raise RequestRefused(400, "required", "a conditional request says by what the resource is found")
        return list(islice(self.search.stored(query), most))

    def names(self, rights: Rights, type: str, internal: str) -> bool:
        """Whether a client of a view may name a resource."""
        if type not in rights.types:
            return False
        head = self.head(internal)
        if head is None or head.type != type or head.gone:
            return False
        chart = self.pull.chart(rights, head.patient)
        return chart.seen(head) is not None or (type in PERSONS and _has_place(chart, head))

    def head(self, internal: str) -> ResourceVersion | None:
        """Return the newest version of a resource."""
        return self.pull.tx.resources.heads((internal,)).get(internal)

    def person(self, named: Mapping[str, Any], rights: Rights, path: str) -> str | None:
        """Return the Patient that a Reference names by an identifier alone; None when it names none so.

        Only to a view that knows its patients by their identifiers.
        """
        identifier = named.get("identifier")
        if "reference" in named or not isinstance(identifier, dict):
            return None
        system, value = identifier.get("system"), identifier.get("value")
        if rights.pseudonymous or not isinstance(system, str) or not isinstance(value, str):
            raise RequestRefused(422, "business-rule", "this client names a patient by its id", (path,))
        key = PatientKey("", system, value)
        found = self.pull.tx.resources.patient_of_key([key]).get(key)
        if found is None:
            raise _lost(path)
        return self.pull.tx.resources.canonical([found])[found]


def _has_place(chart: Chart, head: ResourceVersion) -> bool:
    """Whether a resource of a person is the place in the view's study, or what it stands on."""
    subject = chart.subject
    if subject is None:
        return False
    return head.id in {chart.patient, subject.resource, *(consent.resource for consent in subject.consents)}


def _lost(path: str) -> RequestRefused:
    what = "refers to something that is not there, or not for this client"
    if path.startswith(PART_OF):
        what = f"{what}: {APART}"
    return RequestRefused(422, "not-found", what, (path,))
