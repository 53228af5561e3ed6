"""How many subjects a study has, by status, site and month, without saying anything of the few (small cells).

A number below the threshold could point at somebody. It is pooled with others into ``other``, which names none of
them; what is pooled is chosen so that the total gives none of them away, not even to who knows this rule:

- at least two categories, at least as many subjects as the threshold says, and not each just below it;
- else the next smallest joins, with all that are as small as it;
- fewer subjects in all than the threshold: no number is told at all.

Two summaries of different days can be compared; the threshold must be set with that in mind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.ports import ChangeRange
from gateway.release.policy import Rights
from gateway.services.chart import Chart
from gateway.services.pull import Pull
from gateway.services.search import Search

UNKNOWN: Final = "unknown"
_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A subject as it is counted. ``site`` is the one that told of it; ``month`` is when it began (``2026-03``)."""

    status: str
    site: str
    month: str


def subjects_of_study(search: Search, rights: Rights) -> Iterator[Enrolled]:
    """Yield the subjects of a view's study that a caller sees; ``search`` speaks R4."""
    pull = search.pull
    sites: dict[int, str] = {}
    patients = pull.patients(rights)
    for start in range(0, len(patients), _AT_ONCE):
        some = patients[start : start + _AT_ONCE]
        ranges = [ChangeRange(patient, types=("ResearchSubject",)) for patient in some]
        for patient, heads in zip(some, pull.tx.resources.of_patients(ranges), strict=True):
            chart = Chart(pull, rights, patient)
            for seen in filter(None, map(chart.seen, heads)):
                body = search.within(seen)
                if body is not None:
                    site = _site(pull, sites, seen.stored.message)
                    month = str(body.get("period", {}).get("start", ""))[:7]
                    yield Enrolled(body.get("status", UNKNOWN), site, month if len(month) == 7 else UNKNOWN)


def _site(pull: Pull, known: dict[int, str], message: int) -> str:
    """Return the site whose message told of a subject."""
    if message not in known:
        found = pull.tx.messages.get(message) if message else None
        known[message] = UNKNOWN if found is None else found.site
    return known[message]


def summary(study: str, subjects: Iterable[Enrolled], least: int) -> dict[str, Any]:
    """Return the Parameters that tell of a study's subjects; ``study`` is a reference, ``least`` the threshold."""
    found = list(subjects)
    told: list[dict[str, Any]] = [{"name": "study", "valueReference": {"reference": study}}]
    if not is_told(len(found), least):
        return _parameters([*told, {"name": "suppressed", "valueBoolean": True}])
    told.append({"name": "total", "valueInteger": len(found)})
    for name in ("status", "site", "month"):
        counts = Counter(str(getattr(one, name)) for one in found)
        told.append({"name": name, "part": list(_cells(counts, least))})
    return _parameters(told)


def is_told(total: int, least: int) -> bool:
    """Whether anything is told of so many subjects: of two, each would know the other."""
    return least <= 1 or total >= max(least, 3)


def _parameters(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": listed}


def _cells(counts: Mapping[str, int], least: int) -> Iterator[dict[str, Any]]:
    hidden = pooled(counts, least)
    for value in sorted(counts.keys() - hidden):
        yield {"name": value, "valueInteger": counts[value]}
    if hidden:
        yield {"name": "other", "valueInteger": sum(counts[value] for value in hidden)}


def pooled(counts: Mapping[str, int], least: int) -> frozenset[str]:
    """Return the categories whose numbers are told together only.

    >>> sorted(pooled({"on-study": 20, "withdrawn": 2, "screening": 7}, 5))
    ['screening', 'withdrawn']
    """
    hidden = {value for value, count in counts.items() if count < least}
    while hidden and len(hidden) < len(counts) and not _is_safe([counts[value] for value in hidden], least):
        smallest = min(count for value, count in counts.items() if value not in hidden)
        hidden |= {value for value, count in counts.items() if count == smallest}
    return frozenset(hidden)


def _is_safe(counts: list[int], least: int) -> bool:
    """Whether the sum of these says nothing of each."""
    if len(counts) < 2 or sum(counts) < least:
        return False
    return max(counts) >= least or sum(counts) != len(counts) * (least - 1)
