"""FHIRPath Patch (FHIR R4, 3.1.0.10.3): a ``Parameters`` of operations ``add insert delete replace move``.

A path is a simple one, as the specification asks for: the resource type, then element names, each with an index in
brackets, ``first()``, ``last()`` or ``where(name = 'text')`` behind it.
``ResearchSubject.identifier.where(system = 'urn:x').value``. What stands at it is one element, or for ``delete`` none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import RequestRefused
from gateway.fhir.bounds import MOST as BOUND
from gateway.fhir.bounds import within_bounds
from gateway.fhir.lists import is_list

MOST: Final = 200
"""Operations of one patch at most."""

_STEP: Final = re.compile(
    r"\.?(?:(?P<call>first|last|where)\((?:\s*(?P<name>[A-Za-z][A-Za-z0-9]*)\s*=\s*'(?P<text>[^'\\]*)'\s*)?\)"
    r"|(?P<element>[A-Za-z][A-Za-z0-9]*)|\[(?P<index>[0-9]{1,6})\])"
)
_CHOICES: Final = ("value", "effective", "deceased", "onset", "subject", "timing", "source", "definition", "product")


class _Unfit(Exception):
    """The operation does not fit the resource, or cannot be understood."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path leads: its value is ``holder[key]``."""

    holder: Any
    key: str | int

    @property
    def value(self) -> Any:
        return self.holder[self.key]


def fhirpath_patch(parameters: Any, resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource after a patch; the resource itself stays as it is.

    Raises ``RequestRefused``: 400 for what is no patch, 422 for one that does not fit the resource. The expression is
    the operation's place in the Parameters.
    """
    listed = parameters.get("parameter") if isinstance(parameters, dict) else None
    if not isinstance(listed, list) or not listed or len(listed) > MOST:
        raise RequestRefused(400, "structure", f"a patch is a Parameters of operations, {MOST} at most")
    result: dict[str, Any] = _copy(resource)
    for index, one in enumerate(listed):
        place = (f"Parameters.parameter[{index}]",)
        parts = _parts(one)
        if parts is None:
            raise RequestRefused(400, "structure", "an operation is a parameter named operation with parts", place)
        try:
            _apply(parts, result)
            _check_size(result)
        except _Unfit as error:
            raise RequestRefused(422, "processing", str(error), place) from None
    return result


def _check_size(resource: dict[str, Any]) -> None:
    if not within_bounds(resource, BOUND):
        raise _Unfit("the patch makes the resource too large")


def _parts(one: Any) -> dict[str, Any] | None:
    if not isinstance(one, dict) or one.get("name") != "operation" or not isinstance(one.get("part"), list):
        return None
    if not all(isinstance(part, dict) and isinstance(part.get("name"), str) for part in one["part"]):
        return None
    return {part["name"]: part for part in one["part"]}


def _apply(parts: Mapping[str, Any], resource: dict[str, Any]) -> None:
    kind = parts.get("type", {}).get("valueCode")
    path = parts.get("path", {}).get("valueString")
    if kind not in ("add", "insert", "delete", "replace", "move") or not isinstance(path, str):
        raise _Unfit("an operation has a type (add, insert, delete, replace, move) and a path")
    if kind in ("insert", "move"):
        _within_list(kind, parts, path, resource)
        return
    places = _places(path, resource)
    if len(places) > 1:
        raise _Unfit("the path leads to more than one element")
    if kind == "delete":
        _delete(places)
    elif not places:
        raise _Unfit("the path leads nowhere")
    elif kind == "add":
        _add(parts, places[0].value, resource, _names(path))
    else:
        _replace(parts, places[0], resource, _names(path))


def _delete(places: list[_Place]) -> None:
    for place in places:
        if isinstance(place.holder, _Root):
            raise _Unfit("the whole resource cannot be deleted so")
        del place.holder[place.key]


def _replace(parts: Mapping[str, Any], place: _Place, resource: dict[str, Any], names: list[str]) -> None:
    if isinstance(place.holder, _Root):
        raise _Unfit("the whole resource cannot be replaced")
    place.holder[place.key] = _value(parts, str(resource.get("resourceType")), names)


def _add(parts: Mapping[str, Any], target: Any, resource: dict[str, Any], names: list[str]) -> None:
    name = parts.get("name", {}).get("valueString")
    if not isinstance(name, str) or not isinstance(target, dict):
        raise _Unfit("add needs the name of an element and a path to an object")
    element = _choice(name, parts)
    value = _value(parts, str(resource.get("resourceType")), [*names, element])
    standing = target.get(element)
    if isinstance(standing, list):
        standing.append(value)
    elif standing is not None:
        raise _Unfit("there is one already")
    else:
        target[element] = [value] if is_list(str(resource.get("resourceType")), [*names, element]) else value


def _within_list(kind: str, parts: Mapping[str, Any], path: str, resource: dict[str, Any]) -> None:
    places = _places(path, resource, whole=True)
    listed = places[0].value if len(places) == 1 else None
    if not isinstance(listed, list):
        raise _Unfit("the path does not lead to a list")
    if kind == "insert":
        value = _value(parts, str(resource.get("resourceType")), _names(path))
        listed.insert(_number(parts, "index", len(listed)), value)
        return
    if not listed:
        raise _Unfit("the list is empty")
    source, to = (_number(parts, name, len(listed) - 1) for name in ("source", "destination"))
    listed.insert(to, listed.pop(source))


def _number(parts: Mapping[str, Any], name: str, most: int) -> int:
    number = parts.get(name, {}).get("valueInteger")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= most:
        raise _Unfit(f"{name} is no place in the list")
    return number


def _value(parts: Mapping[str, Any], kind: str, names: list[str]) -> Any:
    """Return the value of an operation, ``value[x]`` or an element made of parts, for an element of a type."""
    part = parts.get("value")
    if not isinstance(part, dict):
        raise _Unfit("a value is missing")
    return _of_part(part, kind, names)


def _of_part(part: Mapping[str, Any], kind: str, names: list[str]) -> Any:
    values = [value for name, value in part.items() if name.startswith("value")]
    if len(values) == 1:
        return _copy(values[0])
    inner = part.get("part")
    if values or not isinstance(inner, list) or not inner or len(names) > 20:
        raise _Unfit("a value is missing")
    made: dict[str, Any] = {}
    for one in inner:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise _Unfit("a part has a name")
        within = [*names, one["name"]]
        value = _of_part(one, kind, within)
        if is_list(kind, within):
            made.setdefault(one["name"], []).append(value)
        else:
            made[one["name"]] = value
    return made


def _names(path: str) -> list[str]:
    """Return the element names of a path, without the resource type."""
    return [step["element"] for step in _STEP.finditer(path) if step["element"]][1:]


def _choice(name: str, parts: Mapping[str, Any]) -> str:
    """Return the name of an element: of a choice with its type, as JSON has it."""
    if name not in _CHOICES:
        return name
    kinds = [key.removeprefix("value") for key in parts.get("value", {}) if key.startswith("value")]
    return name + kinds[0] if kinds and name != "subject" else name


# --- paths ------------------------------------------------------------------------------------------------------------


class _Root(dict[str, Any]):
    """Holds the resource, so that it has a place of its own."""


def _places(path: str, resource: dict[str, Any], *, whole: bool = False) -> list[_Place]:
    """Return where a path leads; a list counts as its items, ``whole``: as itself."""
    kind = str(resource.get("resourceType"))
    text = path.strip()
    if text != kind and not text.startswith((kind + ".", kind + "[")):
        raise _Unfit("the path begins with the resource type")
    found, position = [_Place(_Root(resource=resource), "resource")], len(kind)
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None or len(text) > 1000:
            raise _Unfit("this path cannot be followed: only names, indexes, first(), last() and where(name = 'text')")
        found = _followed(found, step)
        position = step.end()
    return found if whole else _items(found)


def _followed(places: list[_Place], step: re.Match[str]) -> list[_Place]:
    if element := step["element"]:
        return [_Place(item.value, name) for item in _items(places) for name in _named(item.value, element)]
    items = _items(places)
    if step["index"] is not None:
        return items[int(step["index"]) : int(step["index"]) + 1]
    if step["call"] == "first":
        return items[:1]
    if step["call"] == "last":
        return items[-1:]
    name = step["name"]
    if name is None:
        raise _Unfit("where() needs a condition name = 'text'")
    return [item for item in items if isinstance(item.value, dict) and item.value.get(name) == step["text"]]


def _named(value: Any, element: str) -> list[str]:
    """Return the names in JSON of an element: a choice has its type behind it."""
    if not isinstance(value, dict):
        return []
    if element in value:
        return [element]
    if element not in _CHOICES:
        return []
    return [name for name in value if name.startswith(element) and name[len(element) :][:1].isupper()]


def _items(places: list[_Place]) -> list[_Place]:
    found: list[_Place] = []
    for place in places:
        value = place.value
        found += [_Place(value, index) for index in range(len(value))] if isinstance(value, list) else [place]
    return found


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
