"""``make soak``: everything that can go wrong, at random and under load, for a quarter of an hour.

``python -m tests.soak [--minutes N] [--kills N] [--rate N] [--seed N]``. Processes of all roles run on a PostgreSQL
and a RabbitMQ of their own. Ends with status 1 when something was lost, doubled or is not what it must be; the same
seed makes the same choices, though not at the same moments.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from tests.acceptance.test_database_faults import Server
from tests.acceptance.test_rabbitmq_faults import Node
from tests.deployment import Deployment, Limits
from tests.load import MONITOR
from tests.servers.proxy import Proxy
from tests.soak.feeding import Feeding
from tests.soak.troubles import Troubles
from tests.soak.verdict import differences, summary

LAYOUT = {
    "relay": ("relay",),
    "api": ("api",),
    **{f"{role}-{number}": (role,) for role in ("listen", "translate", "deliver") for number in (1, 2)},
}
SETTLE_SECONDS = 180
RETRY = "[retry]\nfirst_seconds = 0.2\nlongest_seconds = 4.0\ngive_up_days = 7.0\n"


def soak(folder, wanted):
    """Run it; return what is not as it must be, a line each."""
    began = time.monotonic()
    with ExitStack() as stack:
        server = stack.enter_context(closing(Server()))
        node = stack.enter_context(closing(Node(made(folder / "rabbitmq"))))
        deployment = Deployment(
            made(folder / "unit"),
            database_url=server.url,
            broker_url=node.url,
            layout=LAYOUT,
            recipients={"monitor": MONITOR},
            limits=Limits(lease_seconds=9.0, deadline_seconds=4.0, translate="workers = 1"),
        )
        proxies = [stack.enter_context(closing(proxy)) for proxy in put_before(deployment)]
        stack.enter_context(deployment)
        feeding = Feeding(deployment, wanted.rate)
        feeding.enrol()
        deployment.settle(SETTLE_SECONDS)
        troubles = Troubles(deployment, server, node, proxies, random.Random(wanted.seed))
        feeding.start()
        try:
            troubles.go_on(time.monotonic() + wanted.minutes * 60, wanted.kills)
        finally:
            troubles.end()
            feeding.stop()
        settled = settle(deployment)
        found = [*settled, *feeding.troubles, *differences(deployment, feeding)]
        say(summary(deployment, feeding, troubles, time.monotonic() - began))
        return found


def put_before(deployment):
    """Let the gateway reach each recipient through a proxy, and try again soon; return the proxies."""
    proxies = []
    for id, address in deployment.trial_systems.addresses.items():
        port = int(address.split(":")[2].split("/")[0])
        proxies.append(Proxy(port))
        path = deployment.config / "recipients" / f"{id}.toml"
        path.write_text(path.read_text().replace(f":{port}/", f":{proxies[-1].port}/"))
    for path in (deployment.config / "recipients").glob("*.toml"):
        head, _, rest = path.read_text().partition("[retry]")
        path.write_text(f"{head}{RETRY}{rest[rest.find(chr(10) + '[') :] if rest else ''}")
    return proxies


def settle(deployment):
    """Wait until nothing waits; return what still does."""
    until = time.monotonic() + SETTLE_SECONDS
    while not deployment.is_settled():
        if time.monotonic() > until:
            with deployment.store.begin(write=False) as tx:
                lines = [line for line in (*tx.feed_queues(), *tx.recipient_queues()) if line.waiting]
            return [f"not settled after {SETTLE_SECONDS} s: {line}" for line in lines or ["receipts are missing"]]
        time.sleep(0.5)
    return []


def made(folder):
    """Make a folder that a server's own user may enter."""
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def say(line):
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    """Read the arguments, run, print what was found and end with it."""
    words = argparse.ArgumentParser("make soak", description=__doc__)
    words.add_argument("--minutes", type=float, default=15.0, help="how long there is trouble at most")
    words.add_argument("--kills", type=int, default=200, help="how many processes are killed at most")
    words.add_argument("--rate", type=float, default=20.0, help="messages a second")
    words.add_argument("--seed", type=int, default=random.randrange(10**6), help="of every random choice")
    wanted = words.parse_args()
    say(f"seed {wanted.seed}: at most {wanted.kills} kills and {wanted.minutes:g} minutes")
    folder = Path(tempfile.mkdtemp(prefix="gateway-soak-"))
    folder.chmod(0o755)
    found = soak(folder, wanted)
    for line in found:
        say(f"WRONG: {line}")
    if found:
        sys.exit(f"{len(found)} differences with seed {wanted.seed}; configuration and logs are kept in {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
