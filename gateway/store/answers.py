"""The answers of the FHIR API, one row each."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any, Final

from sqlalchemy import func, or_, select

from gateway.model.delivery import ChangeKind, ManifestEntry, View
from gateway.ports import Answer, Shown
from gateway.store import manifest
from gateway.store.api_tables import answered, answers
from gateway.store.backend import Unit

REQUEST_PLACE: Final = b"answers.request"
"""The associated data of a request's text; that nobody exchanged two of them, the seals say."""

_RUN: Final = struct.Struct(">HHI")
"""Before what a view let be seen: the lengths of its recipient's name, of its study's, and of the entries."""

_A = answers.c
_INSERT = answers.insert()
_NUMBERED = _INSERT.returning(_A.id, sort_by_parameter_order=True)
_LAST = select(func.coalesce(func.max(_A.id), 0))


class SqlAnswers:
    """The answers of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def add(self, answers: Sequence[Answer]) -> None:
        """Append answers."""
        if not answers:
            return
        numbers = self._insert([self._row(answer) for answer in answers])
        spoken = [
            {"patient": patient, "answer": number}
            for number, answer in zip(numbers, answers, strict=True)
            for patient in dict.fromkeys(shown.patient for shown in answer.shown if shown.patient)
        ]
        if spoken:
            self._unit.connection.execute(answered.insert(), spoken)

    def find(
        self,
        *,
        patients: Collection[str] = (),
        client: str = "",
        concerning: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[Answer]:
        """Return answers, newest first: those that spoke of one of these patients, those of a client, or all.

        ``concerning``: a client; those of others that showed nothing are left out.
        """
        query = select(answers).order_by(_A.id.desc()).limit(limit)
        if patients:
            query = query.where(_A.id.in_(select(answered.c.answer).where(answered.c.patient.in_(patients))))
        if client:
            query = query.where(_A.client == client)
        if concerning:
            query = query.where(or_(_A.client == concerning, _A.manifest != b""))
        if before is not None:
            query = query.where(_A.id < before)
        return [self._answer(row) for row in self._unit.connection.execute(query)]

    def _insert(self, rows: list[dict[str, Any]]) -> Sequence[int]:
        if self._unit.connection.dialect.name == "sqlite":  # one writer, so the numbers are known before
            first = self._unit.connection.execute(_LAST).scalar_one() + 1
            numbers = range(first, first + len(rows))
            numbered = [{"id": number, **row} for number, row in zip(numbers, rows, strict=True)]
            self._unit.connection.execute(_INSERT, numbered)
            return numbers
        return self._unit.connection.execute(_NUMBERED, rows).scalars().all()

    def _row(self, answer: Answer) -> dict[str, Any]:
        return {
            "at": answer.at,
            "client": answer.client,
            "interaction": answer.interaction,
            "type": answer.type,
            "status": answer.status,
            "request": self._unit.cipher.seal(answer.request.encode("utf-8", "replace"), REQUEST_PLACE),
            "manifest": _packed(answer.shown),
        }

    def _answer(self, row: Any) -> Answer:
        return Answer(
            at=row.at,
            client=row.client,
            interaction=row.interaction,
            type=row.type,
            status=row.status,
            request=self._unit.cipher.open(row.request, REQUEST_PLACE).decode(),
            shown=tuple(_unpacked(row.manifest)),
            id=row.id,
        )


# --- what they showed -------------------------------------------------------------------------------------------------


def _packed(shown: Iterable[Shown]) -> bytes:
    """Return what was shown as bytes: the name of each view, then what it let be seen."""
    parts = []
    for view, run in groupby(shown, key=lambda one: one.view):
        entries = manifest.pack(ManifestEntry(one.type, one.resource, one.version, ChangeKind.CREATED) for one in run)
        recipient, study = view.recipient.encode(), view.study.encode()
        parts += [_RUN.pack(len(recipient), len(study), len(entries)), recipient, study, entries]
    return b"".join(parts)


def _unpacked(packed: bytes) -> Iterator[Shown]:
    rest = packed
    while rest:
        *lengths, size = _RUN.unpack_from(rest)
        rest = rest[_RUN.size :]
        ends = zip(lengths, accumulate(lengths), strict=True)
        recipient, study = (rest[end - length : end].decode() for length, end in ends)
        rest = rest[sum(lengths) :]
        view = View(recipient, study)
        yield from (Shown(one.type, one.resource, one.version, "", view) for one in manifest.unpack(rest[:size]))
        rest = rest[size:]
