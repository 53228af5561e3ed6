"""Parameters of type token (FHIR R4 3.1.1.4.10 "token").

``code``, ``system|code``, ``|code`` (no system) and ``system|`` (any code of it). Codes are compared without regard to
case, as the page asks where a code system does not say; identifiers, ids and versions with it, as two that differ may
be two persons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.fhir.search.grammar import Test, Unfit, split, unescape
from gateway.fhir.search.strings import comparison

SPECIAL: Final = ("http://terminology.hl7.org/CodeSystem/special-values", "http://hl7.org/fhir/special-values")
_TRUTHS: Final = {"true": True, "false": False}
_TEXTS: Final = frozenset({"CodeableConcept", "Coding", "Identifier"})
_IDENTIFIERS: Final = frozenset({"Identifier"})
_LOGICAL: Final = frozenset({"boolean", "deceased"})
_ONLY: Final = {"text": _TEXTS, "of-type": _IDENTIFIERS, "ofType": _IDENTIFIERS}


@dataclass(frozen=True, slots=True)
class Token:
    """What is asked: ``system`` None for any, ``""`` for none; ``code`` ``""`` for any code of the system."""

    system: str | None
    code: str


def read(text: str) -> Token:
    """Read a token.

    >>> read("http://loinc.org|718-7"), read("|718-7"), read("718-7")
    (Token(system='http://loinc.org', code='718-7'), Token(system='', code='718-7'), Token(system=None, code='718-7'))
    """
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) > 2:
        raise Unfit("has more than one |")
    system, code = (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if not (system or code):
        raise Unfit("is empty")
    return Token(system, code)


def fits(text: str, datatypes: frozenset[str], modifier: str) -> None:
    """Raise ``Unfit`` for a token or a modifier that none of the parameter's datatypes could ever answer."""
    if modifier in _ONLY and _ONLY[modifier].isdisjoint(datatypes):
        raise Unfit(f"does not take :{modifier}", "not-supported")
    if datatypes <= _LOGICAL and read(text).code not in _TRUTHS:
        raise Unfit("is neither true nor false")


def token(text: str, datatype: str, modifier: str, systems: tuple[str, ...] = ()) -> Test | None:
    """Return the test for one token in values of a datatype, None where it can never match there."""
    if modifier == "text":
        return _text(text, datatype)
    if modifier in ("of-type", "ofType"):
        return _of_type(text, datatype)
    asked = read(text)
    make = _MAKERS.get(datatype)
    if make is None:
        return _implied(asked, systems) if datatype == "code" else None
    return make(asked)


def identifier(text: str) -> Test:
    """Return the test of an Identifier: system and value as they are written."""
    asked = read(text)
    return _pair(asked, "value", exact=True)


# --- datatypes ------------------------------------------------------------------------------------------------------


def _coding(asked: Token) -> Test:
    return _pair(asked, "code", exact=False)


def _pair(asked: Token, name: str, *, exact: bool) -> Test:
    """Return the test of an object with a system and a code or value."""
    right, system = _same(asked.code, exact=exact), asked.system
    if system is None:
        return lambda value: right(value.get(name))
    if not system:
        return lambda value: "system" not in value and right(value.get(name))
    if not asked.code:
        return lambda value: bool(value.get("system") == system)
    return lambda value: value.get("system") == system and right(value.get(name))


def _same(code: str, *, exact: bool) -> Callable[[Any], bool]:
    if exact or code.lower() == code.upper():
        return lambda value: bool(value == code)
    low = code.lower()
    return lambda value: value is not None and (value == code or value.lower() == low)


def _concept(asked: Token) -> Test:
    right = _coding(asked)

    def test(value: Any) -> bool:
        for coding in value.get("coding", ()):  # noqa: SIM110 - any() with a generator costs twice the time here
            if right(coding):
                return True
        return False

    return test


def _implied(asked: Token, systems: tuple[str, ...]) -> Test | None:
    """Return the test of a ``code``: its system is the one its binding implies, and is not written."""
    if asked.system and asked.system not in systems:
        return None
    if not asked.code:
        return lambda _: True
    return _same(asked.code, exact=False)


def _text_like(asked: Token) -> Test | None:
    """Return the test of a string: it has no system."""
    return None if asked.system else _same(asked.code, exact=True)


def _boolean(asked: Token) -> Test | None:
    wanted = _TRUTHS.get(asked.code)
    if wanted is None or (asked.system and asked.system not in SPECIAL):
        return None
    return lambda value: value is wanted


def _deceased(asked: Token) -> Test | None:
    """Return the test of ``deceased.exists() and deceased != false``: always true or false."""
    right = _boolean(asked)
    if right is None:
        return None
    test = right
    return lambda resource: test("deceasedDateTime" in resource or resource.get("deceasedBoolean") is True)


def _contact(asked: Token) -> Test:
    return _pair(asked, "value", exact=False)


_MAKERS: Final[dict[str, Callable[[Token], Test | None]]] = {
    "CodeableConcept": _concept,
    "Coding": _coding,
    "Identifier": lambda asked: _pair(asked, "value", exact=True),
    "ContactPoint": _contact,
    "boolean": _boolean,
    "deceased": _deceased,
    "string": _text_like,
}


# --- modifiers ------------------------------------------------------------------------------------------------------


def _text(text: str, datatype: str) -> Test | None:
    """Return the test of ``:text``: CodeableConcept.text, Coding.display, Identifier.type.text as a string."""
    if datatype not in _TEXTS:
        return None
    wanted = unescape(text)
    if not wanted:
        raise Unfit("is empty")
    right = comparison(wanted, "")
    if datatype == "Coding":
        return lambda value: "display" in value and right(value["display"])
    if datatype == "Identifier":
        return lambda value: "text" in value.get("type", ()) and right(value["type"]["text"])
    return lambda value: (
        ("text" in value and right(value["text"]))
        or any("display" in coding and right(coding["display"]) for coding in value.get("coding", ()))
    )


def _of_type(text: str, datatype: str) -> Test | None:
    """Return the test of ``:of-type``: ``system|code|value``, the first two those of Identifier.type."""
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) != 3 or not all(parts):
        raise Unfit("with :of-type must be system|code|value")
    if datatype not in _IDENTIFIERS:
        return None
    of_type, wanted = _concept(Token(parts[0], parts[1])), parts[2]
    return lambda value: value.get("value") == wanted and of_type(value.get("type", {}))
