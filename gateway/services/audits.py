"""Who was shown what, as a caller sees it: under the ids of its own views, and only as far as they see it now.

An access belongs to the study it was made in: a view is told of those of its own study alone, so that nobody learns
from two accesses at one moment that a patient of one study is one of another. What a client did itself it is always
told, with what it asked; what others asked it never is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from gateway.fhir.audit_events import Access
from gateway.model.resource import ResourceVersion
from gateway.ports import Answer, Shown
from gateway.release.policy import Rights
from gateway.services.pull import Pull

AT_ONCE: Final = 50
"""Answers read together."""

_HEADS: Final = 5_000
"""Resources read together."""


class Audits:
    """The accesses a caller may be told of, in one transaction."""

    def __init__(self, pull: Pull) -> None:
        self._pull = pull
        self._caller = pull.caller.client
        self._of_study = _by_study(pull.views)
        self._heads: dict[str, ResourceVersion | None] = {}

    def read(self, number: int) -> Access | None:
        """Return one access by its number."""
        found = self._pull.tx.answers.find(concerning=self._caller, before=number + 1, limit=1)
        return next((access for access in self._told(found) if access.number == number), None)

    def before(
        self, number: int | None, subjects: Collection[str] | None = None
    ) -> Iterator[tuple[int, Access | None]]:
        """Yield the numbers of answers, newest first, each with the access it was, if the caller may be told of it.

        ``subjects``: only those that may speak of these Patients, by ids of the caller's views.
        """
        tx = self._pull.tx
        patients = None if subjects is None else self._known_as(subjects)
        if patients is not None and not patients:
            return
        while answers := tx.answers.find(
            patients=patients or (), concerning=self._caller, before=number, limit=AT_ONCE
        ):
            number = answers[-1].id
            told = {access.number: access for access in self._told(answers)}
            yield from ((answer.id, told.get(answer.id)) for answer in answers)

    def _known_as(self, publics: Collection[str]) -> set[str]:
        """Return every internal id that patients are or were stored under."""
        found = set()
        for rights in self._pull.views:
            for public in publics:
                try:
                    found.update(self._pull.tx.accounts.known_as(rights.internal_id(public)))
                except ValueError:
                    continue
        return found

    # --- one access ---------------------------------------------------------------------------------------------------

    def _told(self, answers: Sequence[Answer]) -> Iterator[Access]:
        shown = {answer.id: [one for one in answer.shown if self._views(answer, one)] for answer in answers}
        self._read_ahead([one.resource for several in shown.values() for one in several])
        for answer in answers:
            patients, own, others = self._named(answer, shown[answer.id])
            if patients or own or answer.client == self._caller:
                yield self._access(answer, [*own, *others], patients)

    def _access(self, answer: Answer, shown: Sequence[str], patients: Sequence[str]) -> Access:
        return Access(
            number=answer.id,
            at=answer.at,
            client=answer.client,
            interaction=answer.interaction,
            status=answer.status,
            request=answer.request if answer.client == self._caller else "",
            shown=shown,
            patients=patients,
        )

    def _named(self, answer: Answer, shown: Sequence[Shown]) -> tuple[list[str], list[str], list[str]]:
        """Return the references of what an answer showed and the caller sees.

        First Patients, then what is theirs, then what is nobody's.
        """
        patients, own, others = dict[str, None](), dict[str, None](), dict[str, None]()
        for one in shown:
            head = self._heads.get(one.resource)
            if head is None:
                continue
            for rights in self._views(answer, one):
                if head.type != "Patient":
                    (own if head.patient else others).update(self._reference(rights, head))
                if head.patient:
                    patients.update(self._reference(rights, self._heads.get(head.patient)))
        return list(patients), list(own), list(others)

    def _views(self, answer: Answer, shown: Shown) -> Sequence[Rights]:
        """Return the caller's views under whose ids something that was shown may be named.

        Where it was shown to the caller itself, that is the very view that saw it.
        """
        views = self._of_study.get(shown.view.study, [])
        if answer.client == self._caller:
            return [rights for rights in views if rights.view == shown.view]
        return [rights for rights in views if rights.same_ids(views[0])]

    def _reference(self, rights: Rights, head: ResourceVersion | None) -> dict[str, None]:
        """Return what a view refers to a resource by, where it sees it."""
        if head is None or not self._pull.chart(rights, head.patient).sees(head):
            return {}
        return {f"{head.type}/{rights.public_id(head.id)}": None}

    def _read_ahead(self, ids: Sequence[str]) -> None:
        self._read(ids)
        self._read([head.patient for id in ids if (head := self._heads.get(id)) is not None and head.patient])

    def _read(self, ids: Sequence[str]) -> None:
        new = list(dict.fromkeys(id for id in ids if id not in self._heads))
        for start in range(0, len(new), _HEADS):
            some = new[start : start + _HEADS]
            found = self._pull.tx.resources.heads(some)
            self._heads.update((id, found.get(id)) for id in some)


def _by_study(views: Sequence[Rights]) -> dict[str, list[Rights]]:
    found: dict[str, list[Rights]] = {}
    for rights in views:
        found.setdefault(rights.study.id, []).append(rights)
    return found
