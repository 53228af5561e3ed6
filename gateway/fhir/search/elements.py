"""Parts of resources: ``_elements`` and ``_summary`` (FHIR R4 3.1.1.5.8 "Summary", 3.1.1.5.9 "Elements")."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from gateway.fhir.search.parameters import Release

SUBSETTED: Final = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
"""The tag of a resource that is not whole: it must not be sent back."""

_ALWAYS: Final = frozenset({"resourceType", "id", "meta", "implicitRules", "modifierExtension"})

_CHOICE: Final = "[x]"

Tree = Mapping[str, "Tree"]
"""Elements by name; an empty mapping is an element as a whole."""

_WHOLE: Final[Tree] = {}


@dataclass(frozen=True, slots=True)
class Table:
    """Of one type: the mandatory elements, the summary elements, those with a choice of datatypes."""

    mandatory: tuple[str, ...]
    summary: Tree
    choices: frozenset[str]


def subset(
    release: Release, resource: dict[str, Any], *, elements: Sequence[str] = (), summary: str = ""
) -> dict[str, Any]:
    """Return the part of a resource that is asked for, tagged SUBSETTED; the resource itself where all of it is.

    ``elements``: names at the base, with the mandatory ones. ``summary``: ``true``, ``text`` (the narrative), ``data``
    (all but the narrative); ``""`` and ``false`` ask for everything. A type without a table stays whole.

    >>> patient = {"resourceType": "Patient", "id": "1", "gender": "female", "active": True}
    >>> part = subset("R4", patient, elements=("gender",))
    >>> part["gender"], "active" in part, part["meta"]["tag"][0]["code"]
    ('female', False, 'SUBSETTED')
    """
    keep = _keeper(resource.get("resourceType", ""), tuple(elements), summary, release)
    return resource if keep is None else _tagged(keep(resource))


def _tagged(part: dict[str, Any]) -> dict[str, Any]:
    meta = dict(part.get("meta", {}))
    meta["tag"] = [*meta.get("tag", ()), SUBSETTED]
    head: dict[str, Any] = {name: part[name] for name in ("resourceType", "id") if name in part}
    return {**head, "meta": meta, **{name: value for name, value in part.items() if name not in (*head, "meta")}}


def _keeper(
    type: str, elements: tuple[str, ...], summary: str, release: Release
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    table = _tables(release).get(type)
    if summary == "data":
        return lambda resource: {name: value for name, value in resource.items() if name != "text"}
    if table is None:
        return None
    if elements:
        choices = (name + _CHOICE for name in elements if name in table.choices)
        tree = dict.fromkeys((*elements, *choices, *table.mandatory), _WHOLE)
    elif summary == "text":
        tree = dict.fromkeys(("text", *table.mandatory), _WHOLE)
    elif summary == "true":
        tree = dict(table.summary)
    else:
        return None
    return lambda resource: _kept(resource, tree)


def _kept(resource: dict[str, Any], tree: Tree) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in resource.items():
        node = _WHOLE if name in _ALWAYS else _node(name.removeprefix("_"), tree)
        if node is None:
            continue
        found = _pruned(value, node) if node else value
        if found not in ({}, []):
            kept[name] = found
    return kept


def _pruned(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [found for each in value if (found := _pruned(each, tree)) != {}]
    return _kept(value, tree) if isinstance(value, dict) else value


def _node(name: str, tree: Tree) -> Tree | None:
    """Return what is kept of an element; ``value[x]`` stands for ``valueQuantity`` and all other choices."""
    found = tree.get(name)
    if found is not None:
        return found
    for known, node in tree.items():
        stem = known.removesuffix(_CHOICE)
        if stem != known and name.startswith(stem) and name[len(stem) :][:1].isupper():
            return node
    return None


@cache
def _tables(release: Release) -> Mapping[str, Table]:
    text = files("gateway.fhir.search").joinpath(f"{release.lower()}_summary.csv").read_text(encoding="utf-8")
    return {
        row["type"]: Table(
            tuple(row["mandatory"].split()), _tree(row["summary"].split()), frozenset(row["choices"].split())
        )
        for row in csv.DictReader(text.splitlines())
    }


def _tree(paths: Sequence[str]) -> Tree:
    root: dict[str, Any] = {}
    for path in paths:
        node = root
        for name in path.split("."):
            node = node.setdefault(name, {})
    return root
