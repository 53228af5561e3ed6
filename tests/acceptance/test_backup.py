"""A backup taken under load, put back in an empty place: the work goes on, and what was settled stays settled."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.ends import differences

HALF = 30
"""Messages that are done with when the backup is taken; the next ones are on their way meanwhile."""


@pytest.mark.parametrize("embedded_place", [True, False], ids=["sqlite", "postgresql"])
def test_what_a_backup_knows_is_finished_elsewhere_and_not_sent_again(embedded_place, deploy, year, embedded, tmp_path):
    folder = tmp_path / "backup"
    with deploy(embedded=embedded_place) as first, ThreadPoolExecutor(1) as sender:
        first.play(year[:HALF])
        playing = sender.submit(first.play, year[HALF : HALF + 8])
        first.command("backup", str(folder))
        playing.result()
        held = first.trial_systems.received
        first.stop()

    second = deploy(embedded=embedded_place)
    assert "restored" in second.command("restore", str(folder))
    second.trial_systems.hold(held)
    settled = accepted(second)
    assert settled
    with second:
        second.settle()
        again = accepted(second)
        assert [line for line in settled if again[line] != settled[line]] == []
        second.play(year[HALF:])
        inside = second.trial_systems.queues if embedded_place else ()
        received = {id: held for id, held in embedded["received"].items() if id not in inside}
        assert differences(second.end, embedded | {"received": received}) == []
        second.stop()


def accepted(deployment):
    """How often a recipient took which version of which resource, as the database knows."""
    taken = Counter()
    with deployment.store.begin(write=False) as tx:
        for delivery in tx.deliveries.find(limit=10_000):
            for attempt in tx.deliveries.attempts(delivery.id):
                if attempt.outcome == "accepted":
                    taken.update((delivery.view, entry.resource, entry.version) for entry in attempt.manifest)
    return taken
