"""Operations on one subject or study: ``$everything`` (one casebook) and ``$enrollment-summary``."""

from __future__ import annotations

from itertools import islice
from typing import Final

from gateway.api.fhir.bundles import address, searchset
from gateway.api.fhir.exchange import Asked, Rule, Told
from gateway.api.fhir.inputs import Inputs
from gateway.api.fhir.reading import Shelf, not_found
from gateway.api.fhir.searching import MOST, USUAL
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.search.dates import range_of
from gateway.fhir.search.grammar import Unfit
from gateway.fhir.search.parameters import types
from gateway.model.names import BASE
from gateway.services.enrolment_summary import subjects_of_study, summary
from gateway.services.everything import Casebook, Extent
from gateway.services.page_tokens import Page, Position
from gateway.services.pull import Pull
from gateway.services.search import Search

_EVERYTHING: Final = frozenset(("start", "end", "_since", "_type", "_count", "_page"))
_DEFINITIONS: Final = f"{BASE}/OperationDefinition/"


def operation_rules(shelf: Shelf, small_cells: int) -> list[Rule]:
    """Return the routes. ``small_cells``: numbers of subjects below this are not told."""
    operations = _Operations(shelf, small_cells)
    definitions = {
        "Patient": "http://hl7.org/fhir/OperationDefinition/Patient-everything",
        "ResearchSubject": f"{_DEFINITIONS}ResearchSubject-everything",
    }
    rules = []
    for type, definition in definitions.items():
        path = f"{type}/{{id}}/$everything"
        rules.append(Rule("GET", path, "$everything", operations.everything, definition=definition))
        rules.append(Rule("POST", path, "$everything", operations.everything, definition=definition))
    path, definition = "ResearchStudy/{id}/$enrollment-summary", f"{_DEFINITIONS}ResearchStudy-enrollment-summary"
    rules.append(Rule("GET", path, "$enrollment-summary", operations.enrolment, definition=definition))
    rules.append(Rule("POST", path, "$enrollment-summary", operations.enrolment, definition=definition))
    return rules


class _Operations:
    def __init__(self, shelf: Shelf, small_cells: int) -> None:
        self._shelf = shelf
        self._small = small_cells

    # --- $everything --------------------------------------------------------------------------------------------------

    def everything(self, asked: Asked) -> Told:
        """Return a page of one casebook (http://hl7.org/fhir/R4/patient-operation-everything.html)."""
        anchor = asked.path.partition("/")[0]
        asked.scopes(anchor, "r")
        pairs, after = self._begun(asked)
        inputs = Inputs(pairs)
        most = min(_most(inputs), MOST)
        with self._shelf.search(asked) as search:
            found = search.pull.read(anchor, asked.id)
            if found is None or search.within(found[1]) is None:
                raise not_found()
            casebook = Casebook(search, found[0], _extent(asked, inputs))
            page = list(islice(casebook.behind(after), most + 1))
            links = {"self": address(asked.base, asked.path, pairs)}
            if len(page) > most:
                following = Page(asked.release, asked.path, pairs, casebook.position(page[most - 1]))
                links["next"] = self._next(asked, following)
        total = len(page) if after is None and len(page) <= most else None
        entries = [(f"{asked.base}/{seen.reference}", seen.text, "match") for seen in page[:most]]
        return Told(200, searchset(entries, total, links), shown=tuple(seen.shown for seen in page[:most]))

    def _begun(self, asked: Asked) -> tuple[tuple[tuple[str, str], ...], Position | None]:
        """Return the parameters that the casebook was asked for with, and where it goes on."""
        inputs = Inputs.of(asked, _EVERYTHING)
        token = inputs.one("_page")
        if token and len(inputs.names) > 1:
            what = "a page is of the casebook that it was told for: begin another one for other parameters"
            raise RequestRefused(400, "invalid", what, ("_page",))
        if not token:
            return tuple((name, value) for name in sorted(_EVERYTHING) for value in inputs.every(name)), None
        page = self._shelf.tokens.page(asked.caller.client, token)
        if (page.release, page.path) != (asked.release, asked.path):
            raise RequestRefused(400, "value", "this page is of another casebook", ("_page",))
        return page.pairs, page.position

    def _next(self, asked: Asked, page: Page) -> str:
        return address(asked.base, asked.path, [("_page", self._shelf.tokens.token(asked.caller.client, page))])

    # --- $enrollment-summary ------------------------------------------------------------------------------------------

    def enrolment(self, asked: Asked) -> Told:
        """Return how many subjects of a study there are, by status, site and month of enrolment."""
        asked.scopes("ResearchStudy", "r")
        asked.scopes("ResearchSubject", "s")
        Inputs.of(asked, ())
        with self._shelf.store.begin(write=False) as tx:
            search = Search(Pull(tx, self._shelf.sight, asked.caller, asked.now), asked.base)
            found = search.pull.read("ResearchStudy", asked.id)
            if found is None or search.within(found[1]) is None:
                raise not_found()
            chart, study = found
            if study.stored.id != chart.rights.study.resource:
                what = "a sub-study has no subjects: ask for those of the study that it is part of"
                raise RequestRefused(422, "business-rule", what)
            told = summary(study.reference, subjects_of_study(search, chart.rights), self._small)
        return Told(200, codec.encode(told), shown=(study.shown,))


def _most(inputs: Inputs) -> int:
    wanted = inputs.number("_count")
    if wanted == 0:
        raise RequestRefused(400, "value", "_count is the size of a page, 1 or more", ("_count",))
    return wanted or USUAL


def _extent(asked: Asked, inputs: Inputs) -> Extent:
    """Return what of the casebook is asked for. Raises ``RequestRefused`` (400)."""
    named = inputs.listed("_type")
    if set(named) - set(types(asked.release)):
        raise RequestRefused(400, "not-supported", "_type names a type that is not served", ("_type",))
    return Extent(_day(inputs, "start"), _day(inputs, "end"), inputs.instant("_since"), frozenset(named))


def _day(inputs: Inputs, name: str) -> str:
    text = inputs.one(name)
    try:
        if text:
            range_of(text)
    except Unfit:
        raise RequestRefused(400, "invalid", f"{name} is a date: 2026-03-01", (name,)) from None
    return text
