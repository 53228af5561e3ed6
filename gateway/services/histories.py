"""The versions of all resources of a type, newest first, as a caller sees them today: found a page at a time.

What could be told is put in order by what is known without forming it; only what a page needs is formed. So a page
takes no more memory than it holds, however much there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from itertools import islice
from typing import Final, NamedTuple

from gateway.model.resource import ResourceVersion
from gateway.ports import ChangeRange
from gateway.release.policy import SAYS_OF_OTHERS, SHARED, Rights
from gateway.services.chart import Chart
from gateway.services.graves import deleted
from gateway.services.made import Form, Made, version_of
from gateway.services.search import Search
from gateway.services.seen import Seen

COUNTED: Final = 5_000
"""Versions that are looked at to say how many there are."""

_AT_ONCE: Final = 8
"""Patients read together."""

_ALL_ALONG: Final = "1970-01-01T00:00:00.000Z"
"""When what has no time of its own could be had first."""


class Place(NamedTuple):
    """Where a version stands: the greatest is the newest. ``moment``: ``meta.lastUpdated``; ``id``: the view's own.

    ``view``: of the caller's, the last is 0. ``patient`` and ``resource`` are internal, ``""`` of what was made.
    """

    moment: str
    id: str
    version: int
    view: int = 0
    patient: str = ""
    resource: str = ""


class Grave(NamedTuple):
    """That a resource was deleted. ``id``: the view's own; ``at`` UTC."""

    type: str
    id: str
    version: int
    at: datetime


@dataclass(frozen=True, slots=True)
class _Known:
    """A resource some of whose versions are told: its chart, its newest version or what was made."""

    chart: Chart
    head: ResourceVersion
    seen: Seen | None
    """``None``: it was deleted."""


class TypeHistory:
    """The history of one type, for one caller in one transaction."""

    def __init__(self, search: Search, type: str, since: datetime | None = None) -> None:
        self._search = search
        self._pull = search.pull
        self._type = type
        self._since = since
        self._views = [rights for rights in search.pull.views if type in rights.types]
        self._made: dict[str, Made] = {one.id: one for one in search.made(type)}
        self._known: dict[tuple[int, str], _Known | None] = {}

    def behind(self, after: Place | None, most: int) -> list[tuple[Place, Form | Grave]]:
        """Return the next versions, ``most`` at most."""
        found: list[tuple[Place, Form | Grave]] = []
        while len(found) < most:
            places = nlargest(2 * most, (place for place in self._places() if after is None or place < after))
            found += islice(self._told(places), most - len(found))
            if len(places) < 2 * most:
                break
            after = places[-1]
        return found

    def total(self) -> int:
        """Return how many there are."""
        return sum(1 for _ in self._told(list(self._places())))

    def total_of_few(self) -> int | None:
        """Return how many there are, None where that would be too much to look at."""
        places = list(islice(self._places(), COUNTED + 1))
        return sum(1 for _ in self._told(places)) if len(places) <= COUNTED else None

    # --- what could be told -------------------------------------------------------------------------------------------

    def _places(self) -> Iterator[Place]:
        yield from (place for place in self._every_place() if self._since is None or _time(place) >= self._since)

    def _every_place(self) -> Iterator[Place]:
        for made in self._made.values():
            yield Place(str(made.body["meta"].get("lastUpdated", _ALL_ALONG)), made.id, int(version_of(made)))
        for number, rights in enumerate(self._views):
            view = len(self._views) - 1 - number
            for chart, versions in self._versions(rights):
                ids = rights.public_ids({one.id for one in versions})
                for one in versions:
                    moment = chart.last_updated(one)
                    yield Place(moment, ids.get(one.id, one.id), one.version, view, one.patient, one.id)

    def _versions(self, rights: Rights) -> Iterator[tuple[Chart, list[ResourceVersion]]]:
        """Yield the charts of a view, each with every version of the type that is in it."""
        if self._type in SHARED or self._type in SAYS_OF_OTHERS:
            yield self._pull.shared(rights), self._every([""])[0]
        if self._type in SHARED:
            return
        patients = self._pull.patients(rights)
        for start in range(0, len(patients), _AT_ONCE):
            some = patients[start : start + _AT_ONCE]
            yield from zip(self._pull.charts_of_persons(rights, some), self._every(some), strict=True)

    def _every(self, patients: Sequence[str]) -> list[list[ResourceVersion]]:
        """Return every version of the type, by patient."""
        ranges = [ChangeRange(patient, every_version=True, types=(self._type,)) for patient in patients]
        return self._pull.tx.resources.of_patients(ranges)

    # --- what is told -------------------------------------------------------------------------------------------------

    def _told(self, places: Sequence[Place]) -> Iterator[tuple[Place, Form | Grave]]:
        """Yield those of some versions that the caller sees."""
        for start in range(0, len(places), COUNTED):
            some = places[start : start + COUNTED]
            heads = self._pull.tx.resources.heads({place.resource for place in some if place.resource})
            wanted = [(place.resource, place.version) for place in some if place.resource]
            versions = self._pull.tx.resources.numbered(wanted)
            for place in some:
                if not place.resource:
                    yield place, self._made[place.id]
                    continue
                told = self._one(place, heads[place.resource], versions[place.resource, place.version])
                if told is not None:
                    yield place, told

    def _one(self, place: Place, head: ResourceVersion, version: ResourceVersion) -> Form | Grave | None:
        number = len(self._views) - 1 - place.view
        if head.patient != place.patient:
            return None  # it was merged away
        key = number, head.id
        if key not in self._known:
            self._known[key] = self._buried(number, head) if head.gone else self._alive(number, head)
        known = self._known[key]
        if known is None:
            return None
        if version.version == head.version:
            return known.seen or Grave(self._type, place.id, head.version, head.stored_at)
        seen = known.chart.past(version)
        return seen if seen is not None and self._search.within(seen) is not None else None

    def _alive(self, number: int, head: ResourceVersion) -> _Known | None:
        """Return a resource if a view sees it, and none before that, which knows it by the same id."""
        chart, seen = self._seen(self._views[number], head)
        if seen is None or any(self._seen(earlier, head)[1] is not None for earlier in self._before(number)):
            return None
        return _Known(chart, head, seen)

    def _seen(self, rights: Rights, head: ResourceVersion) -> tuple[Chart, Seen | None]:
        chart = self._pull.chart(rights, head.patient)
        seen = chart.seen(head)
        return chart, seen if seen is not None and self._search.within(seen) is not None else None

    def _buried(self, number: int, head: ResourceVersion) -> _Known | None:
        rights = self._views[number]
        grave = deleted(self._pull, self._type, rights.public_id(head.id))
        return _Known(grave[0], head, None) if grave is not None and grave[0].rights is rights else None

    def _before(self, number: int) -> Iterable[Rights]:
        rights = self._views[number]
        return (earlier for earlier in self._views[:number] if rights.same_ids(earlier))


def _time(place: Place) -> datetime:
    return datetime.fromisoformat(place.moment)
