"""One field of a message, cut into components and unescaped only when asked.

Text is what the sender wrote, in Unicode NFC. ``component`` and its kin resolve escapes and drop blanks at both ends
(HL7 v2 chapter 2: blanks around a value carry no meaning); ``verbatim`` keeps them. Empty (``||``) and null
(``|""|``) are different: a null is valued.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from gateway.hl7v2.delimiters import Delimiters
from gateway.hl7v2.escapes import unescaper

NULL = '""'
"""What a sender writes to say that a value is no longer so."""

_BLANKS = " \t"
_MOST_COMPONENTS = 10_000
"""Beyond, where no standard has any, the rest of a field stays one component."""


class Syntax:
    """How the fields of a message are cut and read: its delimiters and the function that resolves its escapes."""

    __slots__ = (
        "_charset",
        "_nested",
        "component",
        "delimiters",
        "escape",
        "nothing",
        "repetition",
        "subcomponent",
        "unescape",
    )

    def __init__(self, delimiters: Delimiters, charset: str, component: str, subcomponent: str) -> None:
        self.delimiters = delimiters
        self.repetition = delimiters.repetition
        self.component = component
        self.subcomponent = subcomponent
        self.escape = delimiters.escape
        self.nothing = _BLANKS + component + subcomponent
        self.unescape: Callable[[str], str] = unescaper(delimiters, charset)
        self._charset = charset
        self._nested: Syntax | None = None

    def text(self, raw: str, component: int, subcomponent: int = 1) -> str:
        """Return the text of a subcomponent of ``raw``, one repetition of a field; ``""`` when absent or null."""
        separator = self.component
        if separator and separator in raw:
            parts = raw.split(separator, component)
            raw = parts[component - 1] if component <= len(parts) else ""
        elif component > 1:
            return ""
        separator = self.subcomponent
        if subcomponent == 1:
            return self.first(raw)
        if not (separator and separator in raw):
            return ""
        parts = raw.split(separator, subcomponent)
        return self._read(parts[subcomponent - 1]) if subcomponent <= len(parts) else ""

    def first(self, part: str) -> str:
        """Return the text of the first subcomponent of ``part``, a component as sent; ``""`` when absent or null."""
        separator = self.subcomponent
        return self._read(part.partition(separator)[0] if separator and separator in part else part)

    def _read(self, raw: str) -> str:
        if raw == NULL:
            return ""
        return (self.unescape(raw) if self.escape and self.escape in raw else raw).strip(_BLANKS)

    def nested(self) -> Syntax:
        """Return the syntax inside a component: its subcomponents read as components."""
        if self._nested is None:
            self._nested = Syntax(self.delimiters, self._charset, self.subcomponent, "")
        return self._nested


@lru_cache(maxsize=256)
def syntax_of(delimiters: Delimiters, charset: str) -> Syntax:
    """Return the (shared) syntax of messages with these delimiters and this Python codec."""
    return Syntax(delimiters, charset, delimiters.component, delimiters.subcomponent)


class Field(Struct, eq=False):
    """One repetition of a field. Immutable; true when valued, and a null (``""``) is valued."""

    raw: str
    _syntax: Syntax
    _parts: list[str] | None = None

    def __bool__(self) -> bool:
        raw = self.raw
        return raw[:1].isalnum() or bool(raw.strip(self._syntax.nothing))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Field) and (self.raw, self._syntax) == (other.raw, other._syntax)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<Field of {len(self.raw)} characters>"

    @property
    def is_null(self) -> bool:
        """Whether the sender says that the value is no longer so (``""``), rather than nothing at all."""
        return self.raw == NULL

    @property
    def text(self) -> str:
        """Component 1, subcomponent 1."""
        return self.component(1)

    def component(self, n: int) -> str:
        """Return the text of component ``n`` (its first subcomponent); ``""`` when absent or null."""
        parts = self._parts
        if parts is None:
            parts = self._split()
        part = parts[n - 1] if n <= len(parts) else ""
        return part if not part or part.isalnum() else self._syntax.first(part)  # no delimiter is a letter or digit

    def subcomponent(self, n: int, m: int) -> str:
        """Return the text of subcomponent ``m`` of component ``n``; ``""`` when absent or null."""
        return self._syntax.text(self.raw, n, m)

    def nested(self, n: int) -> Field:
        """Return component ``n`` seen as a field: its subcomponents become components."""
        return Field(self._part(n), self._syntax.nested())

    def components(self) -> list[str]:
        """Return the texts of all components, without the empty ones at the end."""
        texts = [self.component(n) for n in range(1, len(self._split()) + 1)]
        while texts and not texts[-1]:
            texts.pop()
        return texts

    def whole(self, separator: str = " ") -> str:
        """Return all valued components and subcomponents as one text, joined by ``separator``."""
        parts = [self.nested(n).components() for n in range(1, len(self._split()) + 1)]
        return separator.join(text for texts in parts for text in texts if text)

    @property
    def verbatim(self) -> str:
        """The whole field with escapes resolved and delimiters kept as sent, so that ``10^9/L`` stays one text."""
        return "" if self.raw == NULL else self._syntax.unescape(self.raw)

    def _split(self) -> list[str]:
        if self._parts is None:
            separator = self._syntax.component
            self._parts = self.raw.split(separator, _MOST_COMPONENTS) if separator else [self.raw]
        return self._parts

    def _part(self, n: int) -> str:
        parts = self._split()
        return parts[n - 1] if n <= len(parts) else ""
