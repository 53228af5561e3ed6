"""The parameters of an operation: of the URL, or of a Parameters resource (FHIR R4, 3.2.0 "Operations")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.api.fhir.exchange import Asked
from gateway.errors import RequestRefused


class Inputs:
    """What an operation is asked with. ``ignored``: the names of parameters that were left out."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        self._values: dict[str, list[Any]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)
        self.ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: Asked, known: Collection[str]) -> Inputs:
        """Read a request. ``known``: the parameters that the operation takes.

        Raises ``RequestRefused`` (400) for another one, unless ``handling=lenient``.
        """
        self = cls([*asked.parameters, *(_of_body(asked.resource) if asked.body else ())])
        self.ignored = tuple(sorted(self._values.keys() - set(known)))
        if self.ignored and not asked.lenient:
            what = "this operation takes no such parameter"
            raise RequestRefused(400, "not-supported", what, tuple(filter(str.isascii, self.ignored)))
        return self

    @property
    def names(self) -> Collection[str]:
        """The names of the parameters that stand."""
        return self._values.keys()

    def every(self, name: str) -> list[str]:
        """Return each value of a parameter."""
        found = self._values.get(name, [])
        if not all(isinstance(value, str) for value in found):
            raise RequestRefused(400, "value", f"{name} is a simple value", (name,))
        return found

    def listed(self, name: str) -> list[str]:
        """Return the values of a parameter, each of which may hold several behind commas."""
        return [one for text in self.every(name) for one in text.split(",") if one]

    def one(self, name: str) -> str:
        """Return the value of a parameter that stands once at most, ``""`` when it does not stand."""
        found = self.every(name)
        if len(found) > 1:
            raise RequestRefused(400, "value", f"{name} stands more than once", (name,))
        return found[0] if found else ""

    def structure(self, name: str) -> dict[str, Any]:
        """Return the value of a parameter that is a Coding, a CodeableConcept or the like; empty: there is none."""
        found = self._values.get(name, [])
        if not found:
            return {}
        if len(found) > 1 or not isinstance(found[0], dict):
            raise RequestRefused(400, "value", f"{name} is one structure, in a Parameters resource", (name,))
        return dict(found[0])

    def instant(self, name: str) -> datetime | None:
        """Return the moment (UTC) that a parameter names; None when it does not stand."""
        text = self.one(name)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # refused as what has no zone is
        raise RequestRefused(400, "value", f"{name} is an instant with its zone: 2026-03-01T00:00:00Z", (name,))

    def number(self, name: str) -> int | None:
        """Return the whole number that a parameter names; None when it does not stand."""
        text = self.one(name)
        if not text:
            return None
        if not (text.isdecimal() and len(text) < 10):
            raise RequestRefused(400, "value", f"{name} is a whole number", (name,))
        return int(text)


def _of_body(resource: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of a Parameters resource. Raises ``RequestRefused`` (400) for another."""
    listed = resource.get("parameter", [])
    if resource.get("resourceType") != "Parameters" or not isinstance(listed, list):
        raise RequestRefused(400, "structure", "the body is not a Parameters resource")
    for one in listed:
        found = [value for name, value in one.items() if name.startswith("value")] if isinstance(one, dict) else []
        if len(found) != 1 or not isinstance(one.get("name"), str):
            raise RequestRefused(400, "value", "each parameter has a name and one value", ("parameter",))
        yield one["name"], _text(found[0])


def _text(value: Any) -> Any:
    """Return a simple value as it would stand in a URL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, (str, dict)) else str(value)
