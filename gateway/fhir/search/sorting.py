"""The order of results (FHIR R4 3.1.1.5.3 "Sorting").

Ascending goes by the least of an element's values, descending by the greatest; what has none comes last either way.
Strings go without case and accents, dates by their start, quantities of one dimension by their size, codes by code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from gateway.fhir.search.dates import reader
from gateway.fhir.search.grammar import Unfit
from gateway.fhir.search.parameters import Parameter
from gateway.fhir.search.paths import Path
from gateway.fhir.search.quantities import fraction
from gateway.fhir.search.strings import fold
from gateway.fhir.ucum import term, units
from gateway.model.names import UCUM

_MISSING: Final = (1, 0)
_SORTABLE: Final = frozenset({"string", "date", "token", "number", "quantity", "uri"})
_NAMED: Final = ("family", "given", "text", "city", "line", "country")


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order. ``get`` yields what a resource is ordered by in it."""

    parameter: str
    descending: bool
    get: Callable[[dict[str, Any]], Iterable[Any]]

    def of(self, resource: dict[str, Any]) -> tuple[int, Any]:
        """Return what compares with the same key of other resources."""
        values = [value for value in self.get(resource) if value is not None]
        if not values:
            return _MISSING
        return (0, Descending(max(values))) if self.descending else (0, min(values))


class Descending:
    """A value that comes before the lesser ones."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and bool(self.value == other.value)

    def __lt__(self, other: Descending) -> bool:
        return bool(other.value < self.value)

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"-{self.value!r}"


def sort_key(parameter: Parameter, *, descending: bool) -> SortKey:
    """Return the key of a parameter. Raises ``Unfit`` for one that has no order (a reference, a composite)."""
    if parameter.type not in _SORTABLE:
        raise Unfit("cannot be sorted by", "not-supported")
    readers = [(path, _reader(parameter.type, path)) for path in parameter.paths]

    def get(resource: dict[str, Any]) -> Iterator[Any]:
        for path, read in readers:
            if read is not None:
                yield from (read(value) for value in path.get(resource))

    return SortKey(parameter.name, descending, get)


def _reader(type: str, path: Path) -> Callable[[Any], Any] | None:
    if type == "date":
        read = reader(path.datatype)
        return _start(read) if read else None
    if type == "quantity":
        return _size if path.datatype in ("Quantity", "Age", "Duration") else None
    return _READERS[type]


def _start(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def start(value: Any) -> Any:
        found = read(value)
        return None if found is None else found[0]

    return start


def _size(value: dict[str, Any]) -> tuple[str, Fraction] | None:
    """Return (dimension, size in its base unit): what has no known unit is a dimension of its own."""
    number = fraction(value.get("value"))
    if number is None:
        return None
    code = value.get("code", value.get("unit", ""))
    unit = (units().get(code) or term(code)) if value.get("system") == UCUM else None
    return (unit.dimension, number * unit.factor) if unit else (f"~{code}", number)


def _string(value: Any) -> str:
    if isinstance(value, str):
        return fold(value)
    parts = [value[name] for name in _NAMED if name in value]
    return fold(" ".join(" ".join(part) if isinstance(part, list) else part for part in parts))


def _token(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, dict):
        return str(value)
    if "coding" in value:
        return min((str(coding["code"]).lower() for coding in value["coding"] if "code" in coding), default=None)
    found = value.get("code", value.get("value", value.get("text")))
    return None if found is None else str(found).lower()


_READERS: Final[dict[str, Callable[[Any], Any]]] = {"number": fraction, "token": _token, "string": _string, "uri": str}
