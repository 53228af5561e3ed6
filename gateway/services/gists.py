"""What is in each patient's record at a glance: the codes there are, and up to when something became new.

Kept in memory and made again where something of the patient has changed, it says which records need not be opened for
a search of whole studies. What it lets through is looked at in full; it never decides what anybody sees.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.fhir import codec
from gateway.fhir.search.query import Query, World
from gateway.model.resource import ResourceVersion
from gateway.services.subjects import consent_of

_CODE: Final = re.compile(rb'"code":"([^"]*)"')
_ESCAPED: Final = b"\\u"


class Gist(Struct, frozen=True):
    """Of one patient, as long as ``newest`` is the newest change.

    ``updated``: no ``meta.lastUpdated`` of any view is later. ``codes``: every code in small letters; None: cannot be
    said.
    """

    newest: int
    updated: datetime
    codes: frozenset[bytes] | None


class Gists:
    """The gists of all patients, by internal id. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Gist] = {}
        self._words: dict[bytes, bytes] = {}

    def worth(self, query: Query, newest: Mapping[str, int], world: World) -> set[str]:
        """Return those of some patients in whose records something may match; ``newest``: their newest changes."""
        found = set()
        times: dict[datetime, bool] = {}
        for patient, change in newest.items():
            gist = self._known.get(patient)
            if gist is None or gist.newest != change:
                found.add(patient)
                continue
            if gist.updated not in times:
                times[gist.updated] = query.may_be_until(gist.updated, world)
            if times[gist.updated] and (gist.codes is None or query.may_hold(gist.codes)):
                found.add(patient)
        return found

    def learn(self, patient: str, newest: int, heads: Sequence[ResourceVersion]) -> None:
        """Keep the gist of a patient; ``heads``: every newest version, ``newest``: the newest change."""
        if not heads:
            return
        bodies = b"\n".join([head.body for head in heads])
        codes = None if _ESCAPED in bodies else self._shared(set(_CODE.findall(bodies.lower())))
        gist = Gist(newest, max(_times(heads)), codes)
        with self._lock:
            self._known[patient] = gist

    def _shared(self, codes: set[bytes]) -> frozenset[bytes]:
        """Return codes of which each is in memory once."""
        with self._lock:
            return frozenset(self._words.setdefault(code, code) for code in codes)


def _times(heads: Iterable[ResourceVersion]) -> Iterable[datetime]:
    for head in heads:
        yield head.stored_at
        if head.type == "Consent":
            given = consent_of(head, codec.decode(head.body)).given_at
            if given is not None:
                yield given
