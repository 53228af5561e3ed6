"""The fictional unit, played: stand-in trial systems, a year of messages, and a screen that tells what happened."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from pydantic import SecretStr

from adapters.hospital.client import Target, send
from fixtures.standins.fhir import FhirStandIn
from fixtures.standins.queues import QueueStandIn
from fixtures.standins.webhook import WebhookStandIn
from fixtures.story import Played, decides, story
from gateway.bootstrap.roles import Gateway
from gateway.broker.embedded import EmbeddedBroker
from gateway.cli.base import out, progress
from gateway.errors import GatewayError
from gateway.model.site import Feed
from gateway.ports import MessageFilter
from gateway.settings import Settings

WAIT_SECONDS: Final = 180.0
"""After this long without everything delivered the demo has failed."""

StandIn = FhirStandIn | WebhookStandIn | QueueStandIn


class Demo:
    """A gateway with every role, its recipients played by stand-ins. Use it in a ``with`` block."""

    def __init__(self, settings: Settings) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gateway-demo-")
        self._secret = secrets.token_hex(16)
        self._environment = dict.fromkeys(_secret_names(settings), self._secret)
        os.environ.update(self._environment)
        self._passes = settings.embedded and "GATEWAY_DATA" not in os.environ
        self._standins: dict[str, StandIn] = {}
        self.settings = self._prepared(settings)
        self.gateway = Gateway(self.settings)
        self.played: list[Played] = []

    def __enter__(self) -> Self:
        """Start it. Raises ``GatewayError`` when the database holds messages: the demo is no guest in a real one."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self.gateway.store.upgrade()
        with self.gateway.store.begin(write=False) as tx:
            if tx.messages.find(MessageFilter(limit=1)):
                raise GatewayError("the database holds messages already; the demo plays into an empty one only")
        self.gateway.start()
        for recipient in self.settings.recipients.values():
            if recipient.kind == "amqp":
                self._standins[recipient.id] = self._queue(recipient.id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the gateway and its stand-ins; what those held is gone."""
        self.gateway.stop()
        for standin in self._standins.values():
            standin.close()
        for name in self._environment:
            os.environ.pop(name, None)
        self._folder.cleanup()

    @property
    def received(self) -> dict[str, dict[str, Any]]:
        """What each recipient holds: recipient id -> ``Type/id`` -> resource."""
        return {
            id: {reference: body for reference, body in standin.resources.items() if body}
            for id, standin in self._standins.items()
        }

    def play(self) -> None:
        """Send every message over its own feed, in order, and wait until everything is delivered.

        In the life of a unit days lie between what is said and what takes it back or changes who may see it: around
        each of the latter everything is delivered, so that the end does not depend on how fast the year is played.
        """
        messages = story()
        with progress("playing a year of messages", len(messages)) as advance:
            for message in messages:
                if decides(message):
                    self._until_delivered()
                self.played.append(replace(message, answer=self._send(message)))
                if decides(message):
                    self._until_delivered()
                advance(len(self.played))
        self._until_delivered()

    def write(self) -> None:
        """Print what came in, what it became, who received what and who did not, and why."""
        from gateway.cli.screen import Screen

        Screen(self.gateway, self.played, self.received).write()

    def write_addresses(self) -> None:
        """Print where to look and how to end."""
        out("\nStill running. Try:")
        for name, address in self.gateway.addresses.items():
            what = f"{address}/fhir/r4 (/metadata), {address}/metrics, {address}/readyz" if name == "http" else address
            out(f"  {name:10} {what}")
        out("Ctrl-C ends it; " + ("its data is then gone." if self._passes else "its data stays where it is."))

    def _prepared(self, settings: Settings) -> Settings:
        recipients = {}
        for recipient in settings.recipients.values():
            address = recipient.address
            if recipient.kind == "fhir_server":
                fhir = self._standins[recipient.id] = FhirStandIn(checked=recipient.fhir_version == "R4")
                address = fhir.address
            elif recipient.kind == "webhook":
                webhook = self._standins[recipient.id] = WebhookStandIn(self._secret)
                address = webhook.address
            recipients[recipient.id] = replace(recipient, address=address)
        data = settings.data if "GATEWAY_DATA" in os.environ else Path(self._folder.name)
        http = settings.gateway.http.model_copy(update={"port": 0})
        return replace(
            settings,
            data=data,
            database_url=SecretStr(f"sqlite:///{data}/gateway.db") if settings.embedded else settings.database_url,
            gateway=settings.gateway.model_copy(update={"http": http}),
            recipients=recipients,
            feeds={feed.id: _moved(feed, settings.data, data) for feed in settings.feeds.values()},
        )

    def _queue(self, recipient: str) -> QueueStandIn:
        if isinstance(self.gateway.broker, EmbeddedBroker):
            return QueueStandIn(recipient, broker=self.gateway.broker)
        return QueueStandIn(recipient, url=self.settings.broker_url.get_secret_value())

    def _send(self, message: Played) -> str:
        feed = self.settings.feeds[message.feed]
        if feed.kind == "folder":
            return self._drop(message, Path(feed.path))
        if feed.kind == "http":
            url = f"{self.gateway.addresses['http']}/hl7v2/{feed.id}"
            answer = httpx.post(url, content=message.raw, headers={"Content-Type": "application/hl7-v2"}).content
            return answer.partition(b"\rMSA|")[2][:2].decode()
        port = int(self.gateway.addresses[feed.id].rpartition(":")[2])
        summary = send([message.raw], Target(feed.host, port))
        return next(iter(summary.codes or summary.errors), "no answer")

    def _drop(self, message: Played, folder: Path) -> str:
        part = folder / f"{message.name}.part"
        part.write_bytes(message.raw)
        part.rename(folder / f"{message.name}.hl7")
        return "file"

    def _until_delivered(self) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while self._waiting():
            if time.monotonic() > deadline:
                raise GatewayError(f"not everything was delivered within {WAIT_SECONDS:.0f} s; see the log above")
            time.sleep(0.05)  # it may settle in other processes, so the rows are looked at

    def _waiting(self) -> bool:
        folders = [Path(feed.path) for feed in self.settings.feeds.values() if feed.kind == "folder"]
        if any(any(folder.glob("*.hl7")) for folder in folders):
            return True
        with self.gateway.store.begin(write=False) as tx:
            queues = [*tx.feed_queues(), *tx.recipient_queues()]
        return any(queue.waiting for queue in queues)


def _moved(feed: Feed, before: Path, after: Path) -> Feed:
    """A feed of the demo listens on a free port, or looks often below the demo's own data folder."""
    path = str(after / Path(feed.path).relative_to(before)) if feed.path else ""
    return replace(feed, port=0, path=path, look_seconds=0.1)


def _secret_names(settings: Settings) -> list[str]:
    return [recipient.secret_env for recipient in settings.recipients.values() if recipient.secret_env]
