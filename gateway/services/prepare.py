"""What must be in the database before work begins: the studies of the configuration and the code maps.

Safe to run in every process at every start: nothing is written when nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.fhir import codec
from gateway.fhir.checks import validate
from gateway.fhir.references import rewrite
from gateway.model.identity import resource_id
from gateway.model.resource import Clock, ResourceVersion
from gateway.model.site import CodeMapEntry
from gateway.ports import AuditEvent, Store, Transaction

_CLOCK: Final[Clock] = (1_000_000, "", 0)
"""The configuration's word on a study outranks every message."""


@dataclass(frozen=True, slots=True)
class StudyResources:
    """A study of the configuration: its short id and its FHIR resources, ids as in the files."""

    id: str
    resources: tuple[dict[str, Any], ...]


def prepare(
    store: Store,
    *,
    studies: Sequence[StudyResources],
    codes: Mapping[str, tuple[CodeMapEntry, ...]],
    id_key: bytes,
    now: datetime,
    planner: Callable[[Transaction, Sequence[ResourceVersion]], object],
) -> None:
    """Store studies and import code maps where they differ from what is stored.

    ``codes`` maps site -> rows of its CSV. Raises ``InvalidResource`` for a study that is not valid FHIR R4.
    """
    wanted = [version for study in studies for version in _versions(study, id_key, now)]
    with store.begin() as tx:
        tx.resources.lock_patients(("",))  # of processes that start at once, one writes
        for site, rows in codes.items():
            if tx.codes.import_entries(site, rows, author="configuration", reason=f"codes/{site}.csv", at=now):
                tx.audit.write(
                    [AuditEvent(now, "code-map-imported", "configuration", f"site/{site}", f"{len(rows)} rows")]
                )
        heads = tx.resources.heads([version.id for version in wanted])
        changed = [_next(version, heads.get(version.id)) for version in wanted if _differs(tx, version, heads)]
        for version in changed:
            validate(codec.decode(version.body))
        if changed:
            planner(tx, tx.resources.append(changed))


def study_resource_id(id_key: bytes, study: str) -> str:
    """Return the internal id of a study's ResearchStudy."""
    return resource_id(id_key, "ResearchStudy", study)


def _versions(study: StudyResources, id_key: bytes, now: datetime) -> list[ResourceVersion]:
    ids = {f"{item['resourceType']}/{item['id']}": _id(item, study, id_key) for item in study.resources}
    versions = []
    for item in study.resources:
        own = ids[f"{item['resourceType']}/{item['id']}"]
        body = rewrite({**item, "id": own.partition("/")[2]}, lambda reference: ids.get(reference, reference))
        versions.append(
            ResourceVersion(
                type=body["resourceType"],
                id=body["id"],
                version=1,
                body=codec.encode(body),
                message=0,
                stored_at=now,
                clocks={"": _CLOCK},
                status=body["status"],
            )
        )
    return versions


def _id(item: Mapping[str, Any], study: StudyResources, id_key: bytes) -> str:
    kind = item["resourceType"]
    return f"{kind}/{resource_id(id_key, kind, study.id)}"


def _differs(tx: Transaction, version: ResourceVersion, heads: Mapping[str, ResourceVersion]) -> bool:
    """Whether a file says something else than it did last; what a trial office wrote since then stands."""
    head = heads.get(version.id)
    if head is not None and head.message:
        head = next((one for one in reversed(tx.resources.versions(version.id)) if not one.message), None)
    return head is None or head.body != version.body


def _next(version: ResourceVersion, head: ResourceVersion | None) -> ResourceVersion:
    if head is None:
        return version
    return version.but(version=head.version + 1)
