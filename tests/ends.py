"""What playing messages comes to, in a form that can be compared across deployments."""

from __future__ import annotations

from gateway.ports import MessageFilter
from tests.story import normalised, state_of


def end_of(store, received):
    """What a store and its recipients hold in the end, and what waits for a person; no times of storing."""
    with store.begin(write=False) as tx:
        messages = tx.messages.find(MessageFilter(limit=10_000))
        gaps, holds = tx.worklist.gaps(), tx.worklist.holds()
    return {
        "resources": state_of(store),
        "received": {recipient: normalised(held) for recipient, held in received.items()},
        "messages": sorted((one.feed, one.control_id, str(one.state), one.place) for one in messages),
        "gaps": sorted((line.feed, line.gap.kind, line.gap.code, line.count) for line in gaps),
        "holds": sorted((hold.kind, hold.reason, hold.resource) for hold in holds),
    }


def differences(found, wanted, place=""):
    """Say where two ends differ, a line each; a whole diff of them would take minutes to draw."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = sorted(found.keys() | wanted.keys())
        parts = [differences(found.get(name), wanted.get(name), f"{place}/{name}") for name in names]
        return [line for part in parts for line in part]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [line for number, (one, other) in pairs for line in differences(one, other, f"{place}[{number}]")]
    return [] if found == wanted else [f"{place}: {found!s:.200} instead of {wanted!s:.200}"]
