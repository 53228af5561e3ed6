"""What the soak came to: messages, far ends, the gateway's own books."""

from __future__ import annotations

import json
from collections import defaultdict

from gateway.model.message import MessageState
from gateway.ports import MessageFilter
from tests.load import ACCEPTED, histories, result, value_of, values
from tests.story import state_of

SHOWN = 10


def differences(deployment, feeding):
    """Return what is not as it must be, a line each."""
    states = states_of(deployment)
    acknowledged = {one: _control_id(one) for one, code in feeding.answers.items() if code in ACCEPTED}
    failed = {one for one, id in acknowledged.items() if states.get(id) == {MessageState.FAILED}}
    accounted = ({MessageState.TRANSLATED}, {MessageState.FAILED})
    expected = defaultdict(list)
    for patient, order, version in sorted(acknowledged.keys() - failed):
        expected[patient, order].append(version)
    return [
        *(f"{id} was acknowledged and is {states.get(id)}" for id in acknowledged.values()
          if states.get(id) not in accounted),
        *_far_ends(deployment, expected, len(feeding.patients)),
        *_books(deployment),
    ]  # fmt: skip


def states_of(deployment):
    """Return the states that messages are stored in, by control id."""
    states = defaultdict(set)
    with deployment.store.begin(write=False) as tx:
        for one in tx.messages.find(MessageFilter(limit=10**6)):
            states[one.control_id].add(one.state)
    return states


def _far_ends(deployment, expected, patients):
    systems = deployment.trial_systems
    told, received = systems.told, systems.received
    newest = {value_of(*one, versions[-1]) for one, versions in expected.items()}
    yield from _compared("the database", set(values(state_of(deployment.store).values())), newest)
    for recipient in ("edc", "registry", "monitor"):
        yield from _compared(recipient, set(values(received[recipient].values())), newest)
    registry = histories(values(told["registry"]))
    # Of what RabbitMQ lost after its confirm, the monitor is told again later: the sequence tells the newer one.
    monitor = {one: sorted(versions) for one, versions in histories(values(told["monitor"])).items()}
    for recipient, found in (("registry", registry), ("monitor", monitor)):
        wrong = [one for one in expected.keys() | found.keys() if found.get(one) != expected.get(one)]
        for one in sorted(wrong)[:SHOWN]:
            yield f"{recipient} was told the versions {found.get(one)} of {one} instead of {expected.get(one)}"
    subjects = [reference for reference in received["ctms"] if reference.startswith("ResearchSubject/")]
    if len(subjects) != patients:
        yield f"ctms holds {len(subjects)} subjects instead of {patients}"
    if systems.altered:
        yield f"came again under the same id with other content: {systems.altered[:SHOWN]}"
    if systems.forged:
        yield f"{systems.forged} requests were not signed"


def _compared(where, found, wanted):
    for value in sorted(wanted - found)[:SHOWN]:
        yield f"{where} lacks {value}; {len(wanted - found)} are missing"
    for value in sorted(found - wanted)[:SHOWN]:
        yield f"{where} holds {value}, which is not the newest; {len(found - wanted)} of them"


def _books(deployment):
    with deployment.store.begin(write=False) as tx:
        yield from (f"deliveries to {line.name} were given up" for line in tx.recipient_queues() if line.dead)
    for words in (("reconcile",), ("audit", "verify")):
        try:
            deployment.command(*words)
        except AssertionError as error:
            yield f"gateway {' '.join(words)}: {error}"


def summary(deployment, feeding, troubles, seconds):
    """Return the run on one screen."""
    systems = deployment.trial_systems
    counts = {kind: _reconciled(deployment, kind) for kind in ("lost", "doubled")}
    lines = {
        "kills": _listed(troubles.kills),
        "ended by themselves": _listed(troubles.alone),
        "troubles": _listed(troubles.others),
        "messages": f"{len(feeding.answers)} acknowledged, {feeding.resent} attempts without an answer",
        "deliveries": _listed({id: len(ids) for id, ids in systems.taken.items()}),
        "repeats": _listed({id: len(ids) for id, ids in systems.repeats.items()}),
        **counts,
        "seconds": f"{seconds:.0f}",
    }
    return "\n".join(f"{name:20} {line}" for name, line in lines.items())


def _reconciled(deployment, kind):
    try:
        lines = [json.loads(line) for line in deployment.command("reconcile", "--json").splitlines()]
    except AssertionError as error:
        return f"gateway reconcile: {error}"
    return next(line["count"] for line in lines if line["kind"] == kind)


def _listed(counts):
    return f"{sum(counts.values())} ({', '.join(f'{name} {count}' for name, count in sorted(counts.items()))})"


def _control_id(one):
    return result(*one).raw.split(b"|")[9].decode()
