"""The resources that many patients share (Organization, Practitioner), written by many processes at once.

Nearly every message names its laboratory, and says of it what the last one said: that moves its clocks only. A lock
held for the length of a batch would make all processes wait for one another, so their one lock is taken last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.errors import VersionConflict
from gateway.model.resource import ResourceVersion
from gateway.ports import Transaction
from gateway.services.merge import newest_of


def hold_still(tx: Transaction, corrected: Sequence[ResourceVersion], read: Mapping[str, ResourceVersion]) -> None:
    """Lock the shared resources before new versions of some are stored; who holds one is owed its correction.

    Under the lock they are numbered in the order of commits, too. ``read``: the newest versions by id as they were when
    the batch was made. Raises ``VersionConflict`` when another process has moved one of them since.
    """
    if not corrected:
        return
    tx.resources.lock_patients(("",))
    ids = {version.id for version in corrected}
    for id, head in tx.resources.heads(ids).items():
        if id not in read or (head.change, head.clocks) != (read[id].change, read[id].clocks):
            raise VersionConflict("another process changed a shared resource meanwhile")


def advance(tx: Transaction, moved: Sequence[ResourceVersion]) -> None:
    """Write the clocks of shared resources that only moved: per element the newer of what is stored and these.

    Raises ``VersionConflict`` when another process has stored a newer version: these statements may change it.
    """
    if not moved:
        return
    tx.resources.lock_patients(("",))
    heads = tx.resources.heads([version.id for version in moved])
    newer = {}
    for version in moved:
        head = heads[version.id]
        if head.change != version.change:
            raise VersionConflict("another process changed a shared resource meanwhile")
        clocks = newest_of(head.clocks, version.clocks)
        if clocks != head.clocks:
            newer[head.change] = clocks
    tx.resources.set_clocks(newer)
