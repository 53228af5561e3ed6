"""Sub-studies: studies that clients write, each part of the one that the configuration makes known.

A registry arm or a follow-up protocol belongs to the study it was written into (``ResearchVersion.study``) and is seen
by that study's views. Nothing follows from it: it has no subjects, and no consent is for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.references import references
from gateway.model.resource import ResourceVersion
from gateway.ports import Transaction
from gateway.release.policy import Rights
from gateway.services.concerns import shared_references, studies

TYPE: Final = "ResearchStudy"
PART_OF: Final = f"{TYPE}.partOf"

APART: Final = (
    "a study of its own is made known by the gateway's configuration; a sub-study names by partOf the study, or the "
    "sub-study of it, that it is part of"
)
"""Why a study is refused that is part of none that its client sees."""

_ROOT: Final = "the study that the gateway's configuration makes known is part of no sub-study"
_NAMED: Final = "a study refers to it: change that study first"
_KEPT: Final = (
    "this study is made known by the gateway's configuration and is not deleted here: its status says that it is over"
)


class Family:
    """A view's study and its sub-studies as they are once the writes of a request are done.

    ``written``: the versions that are to be stored.
    """

    def __init__(self, tx: Transaction, rights: Rights, written: Iterable[ResourceVersion]) -> None:
        self._tx = tx
        self._rights = rights
        self._written = {one.id: one for one in written if one.type == TYPE and rights.is_of_study(one)}

    @cached_property
    def _living(self) -> dict[str, ResourceVersion]:
        found = {one.id: one for one in studies(self._tx, self._rights)} | self._written
        return {id: one for id, one in found.items() if not one.gone}

    def check(self, version: ResourceVersion) -> None:
        """Raise ``RequestRefused`` for one of the written versions that does not go with the rest.

        405 for the study itself when it is deleted, 409 for what is deleted while a study refers to it; 422 for a study
        that is part of no other, or of itself.
        """
        if version.gone:
            self._check_deleted(version)
        elif version.type == TYPE:
            self._check_part(version)

    def _check_deleted(self, version: ResourceVersion) -> None:
        if version.id == self._rights.study.resource:
            raise RequestRefused(405, "not-supported", _KEPT)
        if any(version.id in shared_references(one) for one in self._living.values()):
            raise RequestRefused(409, "conflict", _NAMED)

    def _check_part(self, version: ResourceVersion) -> None:
        if version.id == self._rights.study.resource:
            if self._parts(version):
                raise RequestRefused(422, "business-rule", _ROOT, (PART_OF,))
        elif version.id not in self._placed:
            raise RequestRefused(422, "business-rule", APART, (PART_OF,))

    @cached_property
    def _placed(self) -> set[str]:
        """The studies whose every way up ends at the view's study; one that is part of itself is none."""
        parts = {id: self._parts(one) for id, one in self._living.items()}
        placed = {self._rights.study.resource}
        while new := {id for id, above in parts.items() if above and above <= placed} - placed:
            placed |= new
        return placed

    def _parts(self, version: ResourceVersion) -> set[str]:
        """Return which of these studies one is part of."""
        named: Any = codec.decode(version.body).get("partOf")
        ids = {reference.removeprefix(f"{TYPE}/") for _, reference in references({"partOf": named})}
        return ids & self._living.keys()
