"""Element allow-lists: dotted paths without indexes, each with its whole subtree; everything else stays inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Tree = Mapping[str, "Tree"]
"""Allowed elements by name; an empty mapping lets the whole subtree out."""

ALWAYS = ("resourceType", "id")


def tree_of(paths: Iterable[str]) -> Tree:
    """Return the tree of dotted paths. A path wins over the longer ones it begins.

    >>> tree_of(["code.coding", "status", "code.text"])
    {'code': {'coding': {}, 'text': {}}, 'status': {}}
    >>> tree_of(["code.coding", "code"])
    {'code': {}}
    """
    root: dict[str, Any] = {}
    for path in sorted(set(paths)):
        node = root
        names = path.split(".")
        for depth, name in enumerate(names):
            known = name in node
            if known and not node[name]:
                break
            node = node.setdefault(name, {})
            if depth == len(names) - 1:
                node.clear()
    return root


def keep(body: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """Return a copy of a resource or element with the allowed elements alone; what becomes empty is left out.

    >>> keep({"status": "final", "code": {"text": "x", "coding": [{"code": "1"}]}}, tree_of(["code.coding"]))
    {'code': {'coding': [{'code': '1'}]}}
    """
    kept: dict[str, Any] = {}
    for name, value in body.items():
        node = tree.get(name.removeprefix("_"))
        if node is None:
            continue
        copied = copy(value) if not node else _keep_value(value, node)
        if not empty(copied):
            kept[name] = copied
    return kept


def _keep_value(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        items = [_keep_value(item, tree) for item in value]
        return [item for item in items if not empty(item)]
    return keep(value, tree) if isinstance(value, dict) else None


def copy(value: Any) -> Any:
    """Return a deep copy of a JSON value: no body shares a list or an object with another."""
    if isinstance(value, dict):
        return {name: copy(item) for name, item in value.items()}
    return [copy(item) for item in value] if isinstance(value, list) else value


def empty(value: Any) -> bool:
    """Whether FHIR would not allow this value to be written: nothing, or an empty list, object or text."""
    return value is None or value in ({}, [], "")


def paths(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path without indexes, value) of every leaf.

    >>> list(paths({"code": {"coding": [{"code": "1"}]}, "status": "final"}))
    [('code.coding.code', '1'), ('status', 'final')]
    """
    if isinstance(value, dict):
        for name, item in value.items():
            yield from paths(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, path)
    else:
        yield path, value
