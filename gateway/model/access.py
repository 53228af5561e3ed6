"""Who asks: a client of the FHIR API, the views it stands for and what its token lets it do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.model.delivery import View

INTERACTIONS: Final = "cruds"
"""Create, read, update, delete, search: the letters of a SMART v2 scope, in their order."""

_V1: Final = {"read": "rs", "write": "cud", "*": "cruds"}
"""SMART App Launch 2.2, scopes and launch context: what the words of version 1 mean in version 2."""

_SCOPE: Final = re.compile(
    r"system/(?P<type>\*|[A-Z][A-Za-z]{1,60})\.(?:(?P<word>read|write|\*)|(?P<letters>c?r?u?d?s?)(?:\?(?P<query>[!#-\[\]-~]+))?)"
)
_PAIR: Final = re.compile(r"[^=&]+=[^&]*")
MOST_SCOPES: Final = 50
"""Scopes that are registered, or asked for at a time."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One ``system/`` scope (SMART App Launch 2.2, scopes and launch context).

    ``type``: a resource type, or ``*``; ``interactions``: letters of ``cruds``; ``query``: search parameters a resource
    must match as well (``category=laboratory``), ``""`` for none.
    """

    type: str
    interactions: str
    query: str = ""

    def allows(self, type: str, interaction: str) -> bool:
        """Whether it speaks of this type (``*``: of any) and interaction, its query aside."""
        return interaction in self.interactions and self.type in ("*", type)

    def covers(self, other: Scope) -> bool:
        """Whether whatever ``other`` allows is allowed by this one too."""
        narrower = self.type in ("*", other.type) and set(other.interactions) <= set(self.interactions)
        return narrower and self.query in ("", other.query)

    def __str__(self) -> str:
        return f"system/{self.type}.{self.interactions}" + (f"?{self.query}" if self.query else "")


def scope_of(text: str) -> Scope | None:
    """Return the ``system/`` scope that a text of version 2 or 1 is; None when it is none.

    >>> str(scope_of("system/Observation.rs?code=http://loinc.org|718-7"))
    'system/Observation.rs?code=http://loinc.org|718-7'
    >>> [str(scope_of(f"system/*.{word}")) for word in ("read", "write", "*")]
    ['system/*.rs', 'system/*.cud', 'system/*.cruds']
    >>> [scope_of(text) for text in ("system/Patient.sr", "system/Patient.", "patient/Patient.rs", "openid")]
    [None, None, None, None]
    """
    found = _SCOPE.fullmatch(text)
    if found is None:
        return None
    query = found["query"] or ""
    letters = _V1[found["word"]] if found["word"] else found["letters"]
    if not letters or not all(_PAIR.fullmatch(pair) for pair in query.split("&") if query):
        return None
    return Scope(found["type"], letters, query)


def scopes_of(text: str) -> tuple[Scope, ...] | None:
    """Return the scopes of a ``scope`` parameter (RFC 6749, 3.3); None when one of them is none, or they are too many.

    >>> scopes_of(" ") == (), scopes_of("system/Patient.rs launch")
    (True, None)
    """
    words = [word for word in text.split(" ") if word]
    found = [scope for word in words[: MOST_SCOPES + 1] if (scope := scope_of(word))]
    return simplest(found) if len(found) == len(words) <= MOST_SCOPES else None


def granted(asked: Iterable[Scope], registered: Sequence[Scope]) -> tuple[Scope, ...]:
    """Return what is asked for and registered at once: the narrower type, the letters in both, every query.

    >>> def g(asked, registered): return " ".join(map(str, granted(scopes_of(asked), scopes_of(registered))))
    >>> g("system/*.cruds", "system/Observation.rs?category=laboratory system/Patient.r")
    'system/Observation.rs?category=laboratory system/Patient.r'
    >>> g("system/Observation.s?code=a", "system/*.rs system/Observation.rs?status=final")
    'system/Observation.s?code=a'
    >>> g("system/Patient.rs", "system/Observation.rs")
    ''
    """
    return simplest(both for one in asked for other in registered if (both := _both(one, other)))


def simplest(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Return scopes that allow the same with as few as possible, in their order."""
    letters: dict[tuple[str, str], set[str]] = {}
    for scope in scopes:
        letters.setdefault((scope.type, scope.query), set()).update(scope.interactions)
    merged = [Scope(type, _ordered(found), query) for (type, query), found in letters.items()]
    return tuple(one for one in merged if not any(other.covers(one) for other in merged if other is not one))


def _both(one: Scope, other: Scope) -> Scope | None:
    letters = _ordered(set(one.interactions) & set(other.interactions))
    if not letters or not ("*" in (one.type, other.type) or one.type == other.type):
        return None
    queries = dict.fromkeys(pair for scope in (other, one) for pair in scope.query.split("&") if pair)
    type = other.type if one.type == "*" else one.type
    return replace(one, type=type, interactions=letters, query="&".join(queries))


def _ordered(letters: Iterable[str]) -> str:
    return "".join(letter for letter in INTERACTIONS if letter in set(letters))


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that has shown a token. A scope never widens what its views may see.

    ``views``: in the order of its registration; a patient in two of them is two. ``writes``: it may write trials
    (Clinical Trial Office). ``audits``: it may read AuditEvents. ``per_minute``: how many requests it may make, 0: as
    many as the gateway's settings say.
    """

    client: str
    views: tuple[View, ...]
    scopes: tuple[Scope, ...]
    writes: bool = False
    audits: bool = False
    per_minute: int = 0

    def scopes_for(self, type: str, interaction: str) -> tuple[Scope, ...]:
        """Return the scopes that allow an interaction with a type; empty: none does."""
        return tuple(scope for scope in self.scopes if scope.allows(type, interaction))
