"""A Group for each study: what ``Group/[id]/$export`` exports, and what a view is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gateway.model.identity import resource_id
from gateway.model.names import STUDY_ID
from gateway.release.identity import PSEUDED
from gateway.release.policy import Rights
from gateway.services.pull import Pull

TYPE: Final = "Group"


def group_id(rights: Rights, id_key: bytes) -> str:
    """Return the id under which a view knows the Group of its study."""
    return rights.public_id(resource_id(id_key, TYPE, rights.study.id))


def group_ids(rights: Rights, id_key: bytes) -> tuple[str, str]:
    """Return by which ids a view may name the Group of its study: its own, and that of the ResearchStudy."""
    return group_id(rights, id_key), rights.public_id(rights.study.resource)


def study_groups(pull: Pull, id_key: bytes) -> Iterator[dict[str, Any]]:
    """Yield the Group of each study of a caller whose recipient's file lists Group, newest form of R4 and R5 alike.

    It names no member: who they are, a search for ResearchSubject tells. Views that know it by one id see one Group.
    """
    found = {group_id(rights, id_key): rights for rights in reversed(pull.views) if TYPE in rights.types}
    for id, rights in reversed(found.items()):
        study = pull.tx.resources.versions(rights.study.resource)[:1]
        meta: dict[str, Any] = {"versionId": "1"}
        if study:  # a later version of the study changes nothing here
            meta["lastUpdated"] = study[0].stored_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        if rights.pseudonymous:
            meta["security"] = [dict(PSEUDED)]
        yield {
            "resourceType": TYPE,
            "id": id,
            "meta": meta,
            "identifier": [{"system": STUDY_ID, "value": rights.study.id}],
            "active": True,
            "type": "person",
            **({"actual": True} if pull.release == "R4" else {"membership": "definitional"}),
            "name": f"Subjects of study {rights.study.id}",
        }
