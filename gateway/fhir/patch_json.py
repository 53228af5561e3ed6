"""JSON Patch (RFC 6902) with JSON Pointer (RFC 6901), for ``PATCH`` with ``application/json-patch+json``.

Small enough to be ours: the libraries there are were last kept in 2023, and lose the digits of a decimal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from gateway.errors import RequestRefused
from gateway.fhir.bounds import MOST as BOUND
from gateway.fhir.bounds import within_bounds

MOST: Final = 200
"""Operations of one patch at most."""


def json_patch(operations: Any, document: Any) -> Any:
    """Return a document after a patch; the document itself stays as it is.

    Raises ``RequestRefused``: 400 for what is no patch, 422 for one that does not fit the document (a ``test`` that
    fails, a place that is not there). The expression is the operation's place in the patch.

    >>> json_patch([{"op": "replace", "path": "/status", "value": "off-study"}], {"status": "on-study"})
    {'status': 'off-study'}
    """
    if not isinstance(operations, list) or not operations or len(operations) > MOST:
        raise RequestRefused(400, "structure", f"a JSON Patch is a list of operations, {MOST} at most")
    result = _copy(document)
    for index, operation in enumerate(operations):
        try:
            result = _applied(operation, result)
        except _Malformed as error:
            raise RequestRefused(400, "structure", str(error), (f"[{index}]",)) from None
        except _Unfit as error:
            raise RequestRefused(422, "processing", str(error), (f"[{index}]",)) from None
    return result


class _Malformed(Exception):
    """It is no operation."""


class _Unfit(Exception):
    """The operation does not fit the document."""


def _applied(operation: Any, document: Any) -> Any:
    if not isinstance(operation, dict):
        raise _Malformed("an operation is an object")
    name = operation.get("op")
    known = _OPERATIONS.get(name) if isinstance(name, str) else None
    if known is None:
        raise _Malformed("op is one of add, remove, replace, move, copy and test")
    applied = known(operation, document)
    if not within_bounds(applied, BOUND):
        raise _Unfit("the patch makes the resource too large")
    return applied


def _add(operation: Mapping[str, Any], document: Any) -> Any:
    return _put(document, _pointer(operation, "path"), _value(operation))


def _remove(operation: Mapping[str, Any], document: Any) -> Any:
    return _taken(document, _pointer(operation, "path"))


def _replace(operation: Mapping[str, Any], document: Any) -> Any:
    path, value = _pointer(operation, "path"), _value(operation)
    _at(document, path)
    if not path:
        return value
    parent = _at(document, path[:-1])
    parent[_index(path[-1], len(parent) - 1) if isinstance(parent, list) else path[-1]] = value
    return document


def _move(operation: Mapping[str, Any], document: Any) -> Any:
    source, path = _pointer(operation, "from"), _pointer(operation, "path")
    if len(path) > len(source) and path[: len(source)] == source:
        raise _Unfit("a value cannot be moved into itself")
    value = _at(document, source)
    return _put(_taken(document, source), path, value)


def _duplicate(operation: Mapping[str, Any], document: Any) -> Any:
    return _put(document, _pointer(operation, "path"), _copy(_at(document, _pointer(operation, "from"))))


def _test(operation: Mapping[str, Any], document: Any) -> Any:
    if not _equal(_at(document, _pointer(operation, "path")), _value(operation)):
        raise _Unfit("the test fails")
    return document


_OPERATIONS: Final = MappingProxyType(
    {"add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _duplicate, "test": _test}
)  # fmt: skip
_Operation = Callable[[Mapping[str, Any], Any], Any]


# --- places -----------------------------------------------------------------------------------------------------------


def _pointer(operation: Mapping[str, Any], name: str) -> list[str]:
    """Return the steps of a JSON Pointer (RFC 6901, 4)."""
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _Malformed(f"{name} is a JSON Pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise _Malformed("value is missing")
    return _copy(operation["value"])


def _at(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_index(step, len(document) - 1)]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise _Unfit("there is nothing at this place")
    return document


def _index(step: str, most: int) -> int:
    if not (step.isascii() and step.isdigit()) or (step != "0" and step.startswith("0")) or len(step) > 9:
        raise _Unfit("this is no place in a list")
    if int(step) > most:
        raise _Unfit("there is nothing at this place")
    return int(step)


def _put(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _at(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else _index(path[-1], len(parent)), value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise _Unfit("there is nothing at this place")
    return document


def _taken(document: Any, path: list[str]) -> Any:
    if not path:
        raise _Unfit("the whole resource cannot be removed")
    _at(document, path)
    parent = _at(document, path[:-1])
    if isinstance(parent, list):
        del parent[_index(path[-1], len(parent) - 1)]
    else:
        del parent[path[-1]]
    return document


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal (RFC 6902, 4.6): true is not 1, 1.0 is."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    numbers = (int, Decimal)
    if isinstance(one, numbers) and isinstance(other, numbers):
        return isinstance(one, bool) == isinstance(other, bool) and one == other
    return type(one) is type(other) and bool(one == other)
