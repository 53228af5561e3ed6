"""What was let out before: the form in which a view saw a resource last, while all that is behind it is the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.model.delivery import View
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.release.decision import Let
from gateway.release.links import Asked, Links
from gateway.release.policy import Rights

_REFERENCE: Final = re.compile(rb'"reference":"([A-Z][A-Za-z]*)/([0-9a-f-]{36})"')


@dataclass(frozen=True, slots=True)
class _Known:
    """A form, of which subject it is, and where its references led."""

    let: Let
    subject: Subject | None
    asked: Asked


class Lets:
    """The forms of what other resources refer to: a patient's results all name the same few. Safe from any thread.

    Whether a resource may leave now is asked each time; only its form is remembered.
    """

    def __init__(self, most: int = 4096) -> None:
        """Keep so many forms at most."""
        self._most = most
        self._known: dict[tuple[View, int], _Known] = {}

    def find(self, version: ResourceVersion, rights: Rights, subject: Subject | None, links: Links) -> Let | None:
        """Return the form of a stored version, if it was formed for this subject and its references lead there yet."""
        known = self._known.get((rights.view, version.change))
        if known is None or not (known.subject is subject or known.subject == subject) or not links.still(known.asked):
            return None
        return known.let

    def keep(self, version: ResourceVersion, rights: Rights, subject: Subject | None, links: Links, let: Let) -> None:
        """Remember a form."""
        if len(self._known) >= self._most:
            self._known.clear()
        named = {f"{kind.decode()}/{id.decode()}" for kind, id in _REFERENCE.findall(version.body)}
        asked = tuple((reference, links.target(reference)) for reference in sorted(named))
        self._known[rights.view, version.change] = _Known(let, subject, asked)
