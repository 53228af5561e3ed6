"""What valid JSON of a type looks like, learned from what was checked: what looks the same need not be checked again.

A resource, or elements of one, that was found valid makes a pattern: its JSON letter by letter, but where the rule of
an element takes any text (any date, number, id, Reference to a type) the pattern takes any plain one. No rule looks at
what may differ, so that whatever fits is valid. What a patient is called or has is never part of a pattern: texts are
left open, and where one is not plain nothing is learned.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from gateway.errors import InvalidResource
from gateway.fhir.checks import check
from gateway.fhir.codec import encode
from gateway.fhir.compiled import resource_shape
from gateway.fhir.piecewise import pass_by_names, stand_together
from gateway.fhir.pointers import is_pointer
from gateway.fhir.primitives import PRIMITIVES, id_
from gateway.fhir.rules import Rule
from gateway.fhir.shapes import Shape

_DAY: Final = rb"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_ZONE: Final = rb"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_MOMENT: Final = rb"%bT(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?%b" % (_DAY, _ZONE)
_ID: Final = rb"[A-Za-z0-9\-.]{1,64}"
_PLAIN: Final[dict[Rule, bytes]] = {
    PRIMITIVES["string"]: rb'"(?:[!#-\[\]-~]|\xc3[\x80-\xbf])[^"\\\x00-\x1f]{0,500}"',  # begins with no blank
    PRIMITIVES["date"]: rb'"%b"' % _DAY,
    PRIMITIVES["dateTime"]: rb'"%b"' % _MOMENT,
    PRIMITIVES["instant"]: rb'"%b"' % _MOMENT,
    PRIMITIVES["decimal"]: rb"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?",
    id_: rb'"%b"' % _ID,
}
"""Rules, and a pattern of JSON that each of them takes, whatever it says."""

_MOST_KINDS: Final = 256
_MOST_PATTERNS: Final = 16
_PRICE: Final = 100
"""How often patterns must have fitted to pay for one more: one that is made costs as much as so many checks saved."""


class _Known(Struct):
    """The patterns for elements of the same names; ``credit`` is what they have saved, but for what they cost."""

    patterns: list[Callable[[bytes], object]]
    credit: int = _MOST_PATTERNS * _PRICE


_KNOWN: Final[dict[tuple[str, tuple[str, ...]], _Known]] = {}


class _NotPlain(Exception):
    """Nothing can be learned from this."""


def checked(resource: dict[str, Any]) -> bytes:
    """Check a resource and return it as JSON. Raises ``InvalidResource`` as ``checks.check`` and ``codec.encode`` do.

    >>> checked({"resourceType": "Patient", "id": "1", "active": True})
    b'{"resourceType":"Patient","id":"1","active":true}'
    """
    try:
        text = encode(resource)
    except InvalidResource:
        check(resource)
        raise
    kind = resource.get("resourceType", "")
    if not looks_valid(kind, resource, text):
        check(resource)
        learn(kind, resource, text)
    return text


def looks_valid(kind: str, elements: dict[str, Any], text: bytes) -> bool:
    """Say whether a pattern fits the JSON of elements of a resource type, which are then valid; False says nothing."""
    known = _KNOWN.get((kind, tuple(elements)))
    if known is None:
        return False
    patterns = known.patterns
    for at, fits in enumerate(patterns):
        if fits(text):
            if at:
                patterns[at - 1], patterns[at] = fits, patterns[at - 1]  # the usual ones come first
            known.credit += 1
            return True
    return False


def learn(kind: str, elements: dict[str, Any], text: bytes) -> None:
    """Learn from elements that were found valid by themselves, or from a whole valid resource."""
    key = (kind, tuple(elements))
    known = _KNOWN.get(key)
    if known is None:
        if len(_KNOWN) >= _MOST_KINDS:
            return
        known = _KNOWN[key] = _Known([])
    if known.credit < _PRICE:
        return
    known.credit = min(known.credit, _MOST_PATTERNS * _PRICE) - _PRICE
    try:
        fits = re.compile(_resource(kind, elements)).fullmatch
    except _NotPlain:
        return
    if fits(text):
        known.patterns[_MOST_PATTERNS - 1 :] = [fits]


def _resource(kind: str, elements: dict[str, Any]) -> bytes:
    shape = resource_shape(kind)
    if "resourceType" in elements and not stand_together(kind, frozenset(elements)):
        raise _NotPlain  # a rule looks at values
    return _members(shape, elements)


def _members(shape: Shape, elements: dict[str, Any]) -> bytes:
    if not shape.rules.keys() >= elements.keys() or "contained" in elements:
        raise _NotPlain  # extensions of a primitive, which go with its value
    return rb"\{%b\}" % b",".join(
        [b"%b:%b" % (_literal(name), _value(shape, name, value)) for name, value in elements.items()]
    )


def _value(shape: Shape, name: str, value: Any) -> bytes:
    """Return the pattern of an element, or of one of its items."""
    if isinstance(value, list):
        return rb"\[%b\]" % b",".join([_value(shape, name, item) for item in value])
    rule = shape.items.get(name)
    if rule is PRIMITIVES["base64Binary"]:
        raise _NotPlain  # a document: it would become part of the pattern
    plain = _PLAIN.get(rule) if rule is not None else None
    if plain is not None:
        if not re.fullmatch(plain, encode(value)):
            raise _NotPlain
        return plain
    if name in shape.pointers:
        return _pointer(value)
    child = getattr(rule, "__self__", None)
    if isinstance(child, Shape) and pass_by_names(child.after, frozenset(value)):
        return _members(child, value)
    return _literal(value)


def _pointer(value: dict[str, Any]) -> bytes:
    literal = value["reference"] if value.keys() == {"reference"} else ""
    kind = literal.partition("/")[0]
    if not is_pointer(literal, frozenset({kind})):
        raise _NotPlain
    return rb'\{"reference":"%b/%b"\}' % (kind.encode(), _ID)


def _literal(value: Any) -> bytes:
    return re.escape(encode(value))
