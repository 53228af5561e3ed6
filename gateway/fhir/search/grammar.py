"""Signs and escapes in the value of a search parameter (FHIR R4 3.1.1.4.1, "Escaping Search Parameters")."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

Test = Callable[[Any], bool]
"""Says whether one value of an element is what a parameter asks for."""

_ESCAPED: Final = re.compile(r"\\([\\,$|])")
_PREFIXED: Final = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)", re.DOTALL)


class Unfit(Exception):
    """The value or the modifier of a parameter cannot be used. ``what`` never holds the value.

    ``code``: of http://hl7.org/fhir/issue-type.
    """

    def __init__(self, what: str, code: str = "invalid") -> None:
        super().__init__(what)
        self.what = what
        self.code = code


def split(text: str, sign: str) -> list[str]:
    r"""Split at a sign that no backslash stands before; the escapes stay.

    >>> split(r"a,b\,c,d", ",")
    ['a', 'b\\,c', 'd']
    """
    if "\\" not in text:
        return text.split(sign)
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == sign:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def unescape(text: str) -> str:
    r"""Return the value an escaped text stands for; a backslash before any other sign is itself.

    >>> unescape(r"a\,b\$c\|d\\e\f")
    'a,b$c|d\\e\\f'
    """
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def prefixed(text: str) -> tuple[str, str]:
    """Return (prefix, value) of an ordered value; ``eq`` where none is written (R4 3.1.1.4.5, "Prefixes").

    >>> prefixed("ge2024-01"), prefixed("5.4")
    (('ge', '2024-01'), ('eq', '5.4'))
    """
    found = _PREFIXED.fullmatch(text)
    prefix, value = found.groups() if found else (None, text)
    return prefix or "eq", value
