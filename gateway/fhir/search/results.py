"""What a search asks of its results: order, number, parts, and what comes with them (FHIR R4 3.1.1.5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.fhir.search.grammar import Unfit
from gateway.fhir.search.parameters import LINKED, Parameter, Release, includes, parameters, revincludes, types
from gateway.fhir.search.references import referred
from gateway.fhir.search.sorting import SortKey, sort_key

TOTALS: Final = ("none", "estimate", "accurate")
SUMMARIES: Final = ("true", "text", "data", "count", "false")
ITERATE: Final = ":iterate"

_COUNT: Final = re.compile(r"[0-9]{1,9}")
_ELEMENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:\[x\])?")
_PAGE: Final = re.compile(r"[A-Za-z0-9_.~=-]{1,4096}")


@dataclass(frozen=True, slots=True)
class Include:
    """One ``_include`` or ``_revinclude`` (R4 3.1.1.5.4): resources of ``source`` refer through ``parameter``.

    ``target``: only to that type, ``""`` any. ``iterate``: of what was included as well.
    """

    source: str
    parameter: str
    target: str
    iterate: bool
    definition: Parameter = field(compare=False, repr=False)

    def references(self, resource: dict[str, Any]) -> Iterator[str]:
        """Yield each ``Type/id`` a resource refers to in this way; none for a resource of another type."""
        if resource.get("resourceType") == self.source:
            yield from referred(self.definition, resource, self.target)


@dataclass(slots=True)
class Results:
    """What is asked of the results, filled while the parameters are read."""

    sort: tuple[SortKey, ...] = ()
    count: int | None = None
    total: str | None = None
    summary: str = ""
    elements: tuple[str, ...] = ()
    include: tuple[Include, ...] = ()
    revinclude: tuple[Include, ...] = ()
    page: str = ""
    seen: set[str] = field(default_factory=set)


def take(results: Results, release: Release, type: str, name: str, text: str) -> bool:
    """Take one parameter that speaks of the results; False: it does not. Raises ``Unfit``."""
    head, _, modifier = name.partition(":")
    if head in ("_include", "_revinclude"):
        if modifier not in ("", "iterate"):
            raise Unfit("has a modifier that it does not take", "not-supported")
        found = _included(release, type, text, iterate=bool(modifier), reverse=head == "_revinclude")
        setattr(results, head[1:], getattr(results, head[1:]) + found)
        return True
    read = _SINGLE.get(name)
    if read is None:
        return False
    if name in results.seen:
        raise Unfit("stands more than once")
    results.seen.add(name)
    read(results, release, type, text)
    return True


# --- one of each ----------------------------------------------------------------------------------------------------


def _sort(results: Results, release: Release, type: str, text: str) -> None:
    known = parameters(release, type)
    keys = []
    for each in text.split(","):
        parameter = known.get(each.removeprefix("-"))
        if parameter is None:
            raise Unfit("names what is no search parameter of this type", "not-supported")
        keys.append(sort_key(parameter, descending=each.startswith("-")))
    results.sort = tuple(keys)


def _count(results: Results, _: Release, __: str, text: str) -> None:
    """``_count=0`` is ``_summary=count`` (R4 3.1.1.5.5)."""
    if not _COUNT.fullmatch(text):
        raise Unfit("is not a number of resources")
    results.count = int(text)


def _total(results: Results, _: Release, __: str, text: str) -> None:
    results.total = _of(TOTALS, text)


def _summary(results: Results, _: Release, __: str, text: str) -> None:
    results.summary = _of(SUMMARIES, text)


def _of(known: tuple[str, ...], text: str) -> str:
    if text not in known:
        raise Unfit(f"must be one of {', '.join(known)}")
    return text


def _elements(results: Results, _: Release, type: str, text: str) -> None:
    """Names of elements at the base; ``Type.element`` too, as Bulk Data writes them."""
    names = [each.strip().removeprefix(type + ".") for each in text.split(",")]
    if not all(map(_ELEMENT.fullmatch, names)):
        raise Unfit("must be names of elements at the base of the resource")
    results.elements = tuple(names)


def _page(results: Results, _: Release, __: str, text: str) -> None:
    if not _PAGE.fullmatch(text):
        raise Unfit("is no page of ours")
    results.page = text


_SINGLE: Final[dict[str, Callable[[Results, Release, str, str], None]]] = {
    "_sort": _sort,
    "_count": _count,
    "_total": _total,
    "_summary": _summary,
    "_elements": _elements,
    "_page": _page,
}


# --- includes -------------------------------------------------------------------------------------------------------


def _included(release: Release, type: str, text: str, *, iterate: bool, reverse: bool) -> tuple[Include, ...]:
    """Read ``Observation:subject``, ``Observation:subject:Patient``, ``Observation:*`` or ``*``."""
    here = revincludes(release, type) if reverse else includes(release, type)
    source, *rest = text.split(":")
    if text == "*":
        names: tuple[str, ...] = here
    elif len(rest) not in (1, 2) or source not in types(release):
        raise Unfit("must be Type:parameter or Type:parameter:Type, of a type that is served")
    elif rest == ["*"]:
        names = includes(release, source)
    else:
        names = (f"{source}:{rest[0]}",)
    known = includes(release, source) if iterate and type in LINKED and text != "*" else here
    target = rest[1] if len(rest) == 2 else ""
    found = tuple(_include(release, name, target, iterate=iterate) for name in names if name in known)
    if not found or (reverse and not iterate and target not in ("", type)):
        raise Unfit("names no reference that could lead from or to resources of this type", "not-supported")
    return found


def _include(release: Release, name: str, target: str, *, iterate: bool) -> Include:
    source, _, parameter = name.partition(":")
    definition = parameters(release, source)[parameter]
    if target and not (definition.may_name(target) and target in LINKED):
        raise Unfit("names a type that the parameter never refers to")
    return Include(source, parameter, target, iterate, definition)
