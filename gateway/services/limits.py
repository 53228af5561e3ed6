"""What the queries of a token's scopes let be seen (SMART App Launch 2.2, finer-grained constraints)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

from gateway.fhir.search.query import Query, parse
from gateway.model.access import Scope
from gateway.services.pull import Pull

Limits = Callable[[dict[str, Any]], bool]
"""Whether a token's scopes let a resource be seen."""


def limits_of(scopes: Iterable[Scope], pull: Pull, base: str) -> Limits | None:
    """Return what the queries of scopes let through (SMART 2.2, finer-grained constraints); None: everything.

    Raises ``RequestRefused`` for a query that cannot be read.
    """
    queries = []
    for scope in scopes:
        if not scope.query:
            return None
        queries.append(scope)
    return _Limits(queries, pull, base)


class _Limits:
    def __init__(self, scopes: list[Scope], pull: Pull, base: str) -> None:
        self._scopes = scopes
        self._pull = pull
        self._base = base
        self._queries: dict[str, list[Query]] = {}

    def __call__(self, resource: dict[str, Any]) -> bool:
        kind = resource["resourceType"]
        if kind not in self._queries:
            asked = [pairs_of(scope.query) for scope in self._scopes]
            self._queries[kind] = [parse(self._pull.release, kind, pairs, base=self._base) for pairs in asked]
        return any(query.matches(resource, NOWHERE) for query in self._queries[kind])


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Return the name-value pairs of a query string."""
    return parse_qsl(text, keep_blank_values=True)


class _Nowhere:
    """A world in which no reference leads anywhere: a scope's query looks at the resource alone."""

    def resolve(self, reference: str) -> dict[str, Any] | None:
        return None

    def referring(self, type: str, parameter: str, to: str) -> Iterable[dict[str, Any]]:
        return ()


NOWHERE: Final = _Nowhere()
