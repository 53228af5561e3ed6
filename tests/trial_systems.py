"""The far ends of a deployment: a stand-in for every recipient of a configuration, in the process of the tests."""

from __future__ import annotations

import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fixtures.standins.fhir import FhirStandIn
from fixtures.standins.queues import QueueStandIn
from fixtures.standins.webhook import WebhookStandIn

SECRET = "a-secret-of-the-tests"


class TrialSystems:
    """Stand-ins by recipient id. ``addresses`` says where those with a URL answer.

    A queue is read between ``read_queues`` and ``close`` or ``stop_reading``; what an earlier reader took stays.
    """

    def __init__(self, config: Path) -> None:
        files = [tomllib.loads(path.read_text()) for path in sorted((config / "recipients").glob("*.toml"))]
        self._kinds = {file["id"]: file["kind"] for file in files}
        self._servers: dict[str, FhirStandIn | WebhookStandIn] = {}
        self._readers: list[tuple[str, QueueStandIn]] = []
        self.reading = False
        self._before: dict[str, dict[str, dict[str, Any]]] = {}
        for file in files:
            if file["kind"] == "fhir_server":
                self._servers[file["id"]] = FhirStandIn(checked=file.get("fhir_version", "R4") == "R4")
            elif file["kind"] == "webhook":
                self._servers[file["id"]] = WebhookStandIn(SECRET)
        self.addresses = {id: server.address for id, server in self._servers.items()}

    @property
    def queues(self):
        """The recipients that read a queue."""
        return [id for id, kind in self._kinds.items() if kind == "amqp"]

    def hold(self, received):
        """Make the servers hold what they, or others in their place, took before: id -> ``Type/id`` -> resource."""
        for id, server in self._servers.items():
            server.resources.update(received[id])
        self._before = {id: received[id] for id in self.queues if id in received}

    def read_queues(self, broker_url):
        self._readers += [(id, QueueStandIn(id, url=broker_url)) for id in self.queues]
        self.reading = True

    def stop_reading(self):
        """Let the queues fill: their readers are away."""
        for _, reader in self._readers:
            reader.close()
        self.reading = False

    def close(self):
        self.stop_reading()
        for server in self._servers.values():
            server.close()

    @contextmanager
    def silent(self):
        """Inside, the servers keep what arrives and do not answer."""
        for server in self._servers.values():
            server.answering.clear()
        try:
            yield
        finally:
            for server in self._servers.values():
                server.answering.set()

    @contextmanager
    def failing(self):
        """Inside, the servers answer 500 and take nothing in."""
        for server in self._servers.values():
            server.fail(500)
        try:
            yield
        finally:
            for server in self._servers.values():
                server.fail(0)

    @property
    def received(self):
        """What each recipient holds: id -> ``Type/id`` -> newest resource."""
        # A copy is made at once; what is looked through may change meanwhile.
        held = {id: {ref: body for ref, body in one.resources.copy().items() if body}
                for id, one in self._servers.items()}  # fmt: skip
        for id, reader in self._readers:
            held.setdefault(id, dict(self._before.get(id, {}))).update(reader.resources)
        return held

    @property
    def taken(self):
        """The ids of the deliveries each recipient took in (not those it dropped as repeats), in order."""
        ids = {id: list(one.deliveries) for id, one in self._servers.items()}
        for id, reader in self._readers:
            ids.setdefault(id, []).extend(reader.messages)
        return ids

    @property
    def told(self):
        """What those that see every version were told, in order: id -> resources."""
        told = {id: [each.get("resource") for bundle in one.bundles for each in bundle.get("entry", [])]
                for id, one in self._servers.items() if isinstance(one, WebhookStandIn)}  # fmt: skip
        for id, reader in self._readers:
            told.setdefault(id, []).extend(reader.bodies)
        return told

    @property
    def repeats(self):
        """The ids that came again, of each recipient."""
        ids = {id: list(one.repeats) for id, one in self._servers.items()}
        for id, reader in self._readers:
            ids.setdefault(id, []).extend(reader.repeats)
        return ids

    @property
    def altered(self):
        """The ids of deliveries that came again with other content."""
        return [id for one in self._servers.values() for id in one.altered]

    @property
    def heads(self):
        """The request line and headers of every request they got."""
        return [head for one in self._servers.values() for head in one.heads]

    @property
    def routing_keys(self):
        return {key for _, reader in self._readers for key in reader.keys}

    @property
    def forged(self):
        return sum(one.forged for one in self._servers.values() if isinstance(one, WebhookStandIn))
