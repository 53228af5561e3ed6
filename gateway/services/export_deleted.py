"""What a view held of a patient at a moment and sees no more: for the ``deleted`` files of an export with ``_since``.

The view is taken as its recipient's file describes it today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from gateway.model.resource import ResourceVersion
from gateway.release.consent import entitlement
from gateway.services.chart import Chart
from gateway.services.pull import Pull


def gone(now: Chart, past: Pull, wants: Callable[[str], bool]) -> list[str]:
    """Return the references (``Type/id``, the view's own ids) of what a chart's view saw then and does not see now.

    ``past`` looks at the moment in question. What belonged to a patient who was merged into this one is looked at too.
    """
    since, rights = past.now, now.rights
    written = [version for each in (now.patient, *now.standing.merged) for version in _every_version(past, each)]
    held: dict[str, ResourceVersion] = {}
    for version in sorted(written, key=lambda each: each.change):
        if version.stored_at <= since:
            held[version.id] = version
    patients = sorted({version.patient for version in held.values()})
    charts = [Chart(past, rights, each, [one for one in held.values() if one.patient == each]) for each in patients]
    if len(charts) == 1 and _unchanged(charts[0], now, written, since):
        return []
    present = _Present(now, held)
    seen = (one for chart in charts for one in _seen(chart, wants))
    return sorted(reference for reference, id in seen if not present.sees(id))


def _every_version(pull: Pull, patient: str) -> Sequence[ResourceVersion]:
    return pull.tx.resources.of_patient(patient, every_version=True)


def _unchanged(then: Chart, now: Chart, written: Sequence[ResourceVersion], since: datetime) -> bool:
    """Whether nothing was written since, and the view's right to the patient is what it was."""
    if then.patient != now.patient or any(version.stored_at > since for version in written):
        return False
    recipient = now.rights.recipient
    before = entitlement(then.subject, recipient, since)
    stayed = {head.id for type in now.types() for head in now.heads(type)}
    held = {head.id for type in then.types() for head in then.heads(type)}
    return before == entitlement(now.subject, recipient, now.pull.now) and held <= stayed


def _seen(chart: Chart, wants: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield the reference and the internal id of what a chart's view sees."""
    for type in chart.types():
        if wants(type):
            yield from ((seen.reference, seen.stored.id) for seen in chart.of_type(type))


class _Present:
    """Whether a view sees resources now, wherever they belong by now."""

    def __init__(self, now: Chart, ids: Iterable[str]) -> None:
        self._pull = now.pull
        self._rights = now.rights
        self._charts = {now.patient: now}
        self._heads = now.pull.tx.resources.heads(ids)

    def sees(self, id: str) -> bool:
        head = self._heads.get(id)
        if head is None:
            return False
        if head.patient not in self._charts:
            self._charts[head.patient] = Chart(self._pull, self._rights, head.patient)
        return self._charts[head.patient].seen(head) is not None
