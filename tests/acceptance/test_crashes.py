"""Crashes in the middle of the year: nothing acknowledged is lost, nothing is received twice, the end is the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fixtures.story import decides
from gateway.services.reconcile import Unit, reconcile
from tests.contracts.waiting import wait_for
from tests.deployment import ROLES
from tests.ends import differences


def test_every_role_may_be_killed_in_the_middle(deploy, year, embedded):
    points = dict(zip(calm_points(year, len(ROLES)), ROLES, strict=True))
    with deploy(processes=5) as deployment:
        play_with_kills(deployment, year, points)
        assert_same_end(deployment, embedded)
        deployment.stop()


def test_the_whole_embedded_gateway_may_be_killed_while_recipients_have_not_answered(deploy, year, embedded):
    points = [number for number, message in enumerate(year) if message.feed == "research" and not decides(message)]
    unanswered = []
    with deploy(embedded=True) as deployment:
        start = 0
        for point in points[2::3]:
            deployment.play(year[start:point])
            unanswered.append(crash_unanswered(deployment, year[point]))
            start = point + 1
        deployment.play(year[start:])
        assert any(unanswered), "no recipient was left unanswered: the test would prove nothing"
        inside = dict.fromkeys(deployment.trial_systems.queues)  # nobody outside the process reads these
        seen = {id: held for id, held in embedded["received"].items() if id not in inside}
        assert_same_end(deployment, embedded | {"received": seen})
        deployment.stop()


def test_rabbitmq_may_lose_everything_in_the_middle(deploy, year, embedded):
    registrations = [number for number, message in enumerate(year) if message.feed == "trials"]
    middle = registrations[len(registrations) // 2]
    with deploy() as deployment:
        deployment.play(year[:middle])
        deployment.trial_systems.stop_reading()
        deployment.play(year[middle : middle + 3])
        assert unread(deployment), "nothing waited in the recipient's queue: the test would prove nothing"
        deployment.virtual_host.wipe()
        deployment.trial_systems.read_queues(deployment.broker_url)
        deployment.play(year[middle + 3 :])
        assert_same_end(deployment, embedded)
        deployment.stop()


def play_with_kills(deployment, year, points):
    """Play the year; at each point kill a process while a message is on its way, and start it again."""
    start = 0
    with ThreadPoolExecutor(1) as sender:
        for point, victim in points.items():
            deployment.play(year[start:point], settled=False)
            sent = sender.submit(deployment.send, year[point])
            deployment.kill(victim)
            deployment.restart(victim)
            sent.result()
            start = point + 1
        deployment.play(year[start:])


def crash_unanswered(deployment, message):
    """Kill the gateway when a recipient has taken in what a message became and has not answered; say whether one had.

    A message that becomes nothing for anybody is waited for too. The gateway leaves no process behind.
    """
    before = deployment.trial_systems.taken
    with deployment.trial_systems.silent():
        deployment.send(message)
        wait_for(lambda: deployment.trial_systems.taken != before or deployment.is_settled(), what="a delivery")
        session = deployment.members["gateway"].running.pid
        assert len(processes_of(session)) > 1
        deployment.kill("gateway")
        wait_for(lambda: not processes_of(session), what="the end of the translating processes")
    deployment.restart("gateway")
    return deployment.trial_systems.taken != before


def calm_points(year, count):
    """Places spread over the year where data comes in: messages of the MLLP and HTTP feeds that decide nothing."""
    fit = [number for number, one in enumerate(year) if one.feed != "ankara" and not decides(one)]
    return [fit[(place + 1) * len(fit) // (count + 1)] for place in range(count)]


def assert_same_end(deployment, embedded):
    end = deployment.end
    assert {line[:2] for line in embedded["messages"]} - {line[:2] for line in end["messages"]} == set()
    assert [line for line in end["messages"] if line[2] == "stored"] == []
    assert differences(end, embedded) == []
    with deployment.store.begin(write=False) as tx:
        assert [line.name for line in tx.recipient_queues() if line.dead] == []
    amqp = frozenset(id for id, recipient in deployment.settings.recipients.items() if recipient.kind == "amqp")
    found = reconcile(deployment.store, Unit({}, amqp))
    assert (found.lost, found.doubled) == ([], [])


def unread(deployment):
    later = datetime.now(UTC) + timedelta(days=1)
    with deployment.store.begin(write=False) as tx:
        return [one for id in deployment.trial_systems.queues for one in tx.outbox.unreceipted(id, later, 10)]


def processes_of(session):
    """The living processes of a session, as the kernel lists them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == session and words[0] != "Z":
            found.append(int(path.parent.name))
    return found
