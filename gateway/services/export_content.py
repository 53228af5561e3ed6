"""Which of the resources that a view sees are exported, and in which words."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.search.elements import subset
from gateway.fhir.search.query import Query, parse
from gateway.services.export_order import Order
from gateway.services.limits import NOWHERE, pairs_of
from gateway.services.pull import Pull
from gateway.services.search import Search
from gateway.services.seen import Seen


class Content:
    """Decides which resources are exported, and in which words."""

    def __init__(self, pull: Pull, order: Order) -> None:
        self._order = order
        self._search = Search(pull, order.base)
        self._release = order.release
        self._types = frozenset(order.types)
        self._filters: dict[str, list[Query]] = {}
        for text in order.filters:
            kind, query = filter_of(order, text)
            self._filters.setdefault(kind, []).append(query)
        self._elements = {kind: _elements(order.elements, kind) for kind in order.types}

    def wants(self, type: str) -> bool:
        """Whether resources of a type are exported."""
        return type in self._types and (self._search.may_see(type))

    def line(self, seen: Seen) -> bytes | None:
        """Return a resource as it is exported; None when it is not."""
        filters, elements = self._filters.get(seen.type), self._elements[seen.type]
        limits = self._search.limits(seen.type)
        if filters is None and limits is None and not elements:
            return seen.text
        body = seen.body
        if limits is not None and not limits(body):
            return None
        if filters is not None and not any(query.matches(body, NOWHERE) for query in filters):
            return None
        return codec.encode(subset(self._release, body, elements=elements)) if elements else seen.text


def filter_of(order: Order, text: str) -> tuple[str, Query]:
    """Return the type and the query of a ``_typeFilter``. Raises ``RequestRefused`` (400)."""
    kind, mark, query = text.partition("?")
    if not mark or not kind:
        raise RequestRefused(400, "value", "_typeFilter is Type?search", ("_typeFilter",))
    return kind, parse(order.release, kind, pairs_of(query), base=order.base)


def _elements(named: Sequence[str], kind: str) -> tuple[str, ...]:
    """Return the elements of a type that are named: ``gender`` of every type, ``Patient.gender`` of one."""
    split = (name.rpartition(".") for name in named)
    return tuple(name for of, _, name in split if of in ("", kind))
