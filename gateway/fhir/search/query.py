"""A search as it is asked: parsed once, then asked of many resources (FHIR R4 and R5, 3.1.1 and 3.2.1 "Search")."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.errors import RequestRefused
from gateway.fhir.search.chains import condition
from gateway.fhir.search.filters import Filter, World
from gateway.fhir.search.grammar import Unfit
from gateway.fhir.search.parameters import Release, parameters
from gateway.fhir.search.results import Include, Results, take
from gateway.fhir.search.sorting import SortKey

__all__ = ["Include", "Query", "SortKey", "World", "parse"]

NOT_SEARCHED: Final = frozenset({"_format", "_pretty", "fhirVersion"})
"""Parameters of any request, which say nothing of what is searched."""

MOST: Final = 200
"""Parameters of one search."""

_TOLD: Final = re.compile(r"[A-Za-z0-9_:.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Query:
    """A search of one type.

    ``count`` 0 is like ``_summary=count``. ``ignored`` are the names of unknown parameters (``parameter`` for
    one that is no name), in a lenient search alone.
    ``pairs`` are the parameters that were used, in their order, for the link ``self``: without ``_page``.
    """

    release: Release
    type: str
    filters: tuple[Filter, ...] = ()
    sort: tuple[SortKey, ...] = ()
    count: int | None = None
    total: str | None = None
    summary: str = ""
    elements: tuple[str, ...] = ()
    include: tuple[Include, ...] = ()
    revinclude: tuple[Include, ...] = ()
    page: str = ""
    ignored: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()

    def matches(self, resource: dict[str, Any], world: World) -> bool:
        """Whether a released resource of the type fulfils every condition."""
        for each in self.filters:  # noqa: SIM110 - all() with a generator costs twice the time here
            if not each.holds(resource, world):
                return False
        return True

    def may(self, body: bytes) -> bool:
        """Whether a resource stored as this JSON could fulfil the conditions once it is released.

        False only where a code that is asked for stands nowhere in it: the released form adds no codes.
        """
        return all(_stands(each.must, body) for each in self.filters if each.must)

    @property
    def timed(self) -> bool:
        """Whether ``meta.lastUpdated`` is asked for."""
        return any(each.of_time for each in self.filters)

    def may_be_of(self, last_updated: str, world: World) -> bool:
        """Whether a resource with this ``meta.lastUpdated`` could fulfil the conditions."""
        resource = {"resourceType": self.type, "meta": {"lastUpdated": last_updated}}
        return all(each.holds(resource, world) for each in self.filters if each.of_time)

    def may_be_until(self, last: datetime, world: World) -> bool:
        """Whether resources whose ``meta.lastUpdated`` is none later than this could fulfil the conditions."""
        moment = last.isoformat(timespec="milliseconds")
        resource = {"resourceType": self.type, "meta": {"lastUpdated": moment}}
        return all(each.holds(resource, world) for each in self.filters if each.rising)

    def may_hold(self, codes: Collection[bytes]) -> bool:
        """Whether one of some resources could fulfil the conditions; ``codes``: all that are in them, small letters."""
        return all(any(code.lower() in codes for code in each.must) for each in self.filters if each.must)

    @property
    def narrow(self) -> bool:
        """Whether codes or times are asked for."""
        return any(each.must or each.rising for each in self.filters)

    @property
    def named(self) -> list[frozenset[str]]:
        """Sets of ids: what matches refers to one of each set."""
        return [each.named for each in self.filters if each.named is not None]

    @property
    def beyond(self) -> list[frozenset[str]]:
        """Sets of types: other resources of one of each set decide on what matches."""
        return [each.beyond for each in self.filters if each.beyond]

    def subjects(self) -> frozenset[str] | None:
        """Return the ids of the Patients one of which a match belongs to, None: that is not restricted."""
        said = [each.subjects for each in self.filters if each.subjects is not None]
        return frozenset.intersection(*said) if said else None

    def sort_key(self, resource: dict[str, Any]) -> tuple[Any, ...]:
        """Return what orders a resource among others; equal ones are as good as each other."""
        return tuple(key.of(resource) for key in self.sort)


def _stands(codes: tuple[bytes, ...], body: bytes) -> bool:
    if any(code in body for code in codes) or b"\\u" in body:
        return True
    lettered = [code.lower() for code in codes if code.lower() != code.upper()]
    if not lettered:
        return False
    low = body.lower()
    return any(code in low for code in lettered)


def parse(release: Release, type: str, pairs: Sequence[tuple[str, str]], *, base: str, lenient: bool = False) -> Query:
    """Read a search: ``pairs`` are the names and values of its parameters, decoded, in their order.

    ``base``: the URL of this server and release. ``lenient``: unknown parameters are ignored (``Prefer:
    handling=lenient``); a modifier or a value that cannot be used never is. Raises ``RequestRefused``: 404 for a type
    that is not served, else 400 with the parameter's name in ``expression``.
    """
    parameters(release, type)
    if len(pairs) > MOST:
        raise RequestRefused(400, "too-costly", f"has more than {MOST} parameters")
    results, url = Results(), base.rstrip("/")
    filters: list[Filter] = []
    ignored: list[str] = []
    used: list[tuple[str, str]] = []
    for name, text in pairs:
        if name in NOT_SEARCHED:
            continue
        try:
            taken = take(results, release, type, name, text)
            found = None if taken else condition(release, type, name, text, base=url)
        except Unfit as unfit:
            raise _refused(name, unfit.code, unfit.what) from None
        if not (taken or found or lenient):
            raise _refused(name, "not-supported", "is no search parameter of this type")
        if found:
            filters.append(found)
        elif not taken:
            ignored.append(name if _TOLD.fullmatch(name) else "parameter")
            continue
        used += [] if name == "_page" else [(name, text)]
    return _query((release, type), results, tuple(filters), tuple(ignored), tuple(used))


def _query(
    of: tuple[Release, str],
    results: Results,
    filters: tuple[Filter, ...],
    ignored: tuple[str, ...],
    used: tuple[tuple[str, str], ...],
) -> Query:
    return Query(
        release=of[0],
        type=of[1],
        filters=filters,
        sort=results.sort,
        count=results.count,
        total=results.total,
        summary=results.summary,
        elements=results.elements,
        include=results.include,
        revinclude=results.revinclude,
        page=results.page,
        ignored=ignored,
        pairs=used,
    )


def _refused(name: str, code: str, what: str) -> RequestRefused:
    told = name if _TOLD.fullmatch(name) else ""
    return RequestRefused(400, code, f"{told or 'a parameter'} {what}", (told,) if told else ())
