"""Which elements of R4 are lists, as the models of fhir.resources have them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from gateway.fhir.compiled import model
from gateway.fhir.rules import Broken


def is_list(kind: str, names: Sequence[str]) -> bool:
    """Whether the element that names lead to, from a resource type on, may be there more than once.

    False for what is no element: checking the resource says so.

    >>> is_list("ResearchSubject", ["identifier"]), is_list("ResearchSubject", ["identifier", "value"])
    (True, False)
    """
    return _is_list(kind, tuple(names))


@lru_cache(maxsize=1024)
def _is_list(kind: str, names: tuple[str, ...]) -> bool:
    try:
        here = model(kind)
    except Broken:
        return False
    listed = False
    for name in names:
        annotation = _annotation(here, name)
        if annotation is None:
            return False
        leaf, listed = _leaf(annotation)
        here = _class(leaf)
    return listed


def _annotation(here: Any, name: str) -> Any:
    fields = getattr(here, "model_fields", {})
    return next((field.annotation for key, field in fields.items() if (field.alias or key) == name), None)


def _leaf(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) is list:
        return _leaf(get_args(annotation)[0])[0], True
    if get_origin(annotation) is Annotated or not get_args(annotation):
        return annotation, False
    return _leaf(next(each for each in get_args(annotation) if each is not NoneType))


def _class(leaf: Any) -> Any:
    path = getattr(leaf, "_model_klass", "")
    if not path:
        return None
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
