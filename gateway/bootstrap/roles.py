"""The roles of ``gateway serve``, built and run: any of them alone in a process, or all together."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

import structlog

from gateway import ports
from gateway.bootstrap.loop import Loop
from gateway.bootstrap.parts import handles, keys_of, open_broker, open_store, policy_of, translator_factory, utc_now
from gateway.errors import BrokerUnavailable, GatewayError
from gateway.model.message import Became
from gateway.ports import Broker, Store
from gateway.services.metrics import Metrics
from gateway.services.receive import Intake
from gateway.settings import Settings

if TYPE_CHECKING:
    from fastapi import APIRouter

    from gateway.release.policy import Policy
    from gateway.services.plan import Planner

log = structlog.get_logger()

BROKER_SECONDS = 5.0
"""How long draining waits for a broker that does not confirm: what it has not confirmed is published again."""


class Role(StrEnum):
    """What a process can do. Any of them scales by running more processes."""

    LISTEN = "listen"
    TRANSLATE = "translate"
    RELAY = "relay"
    DELIVER = "deliver"
    API = "api"


class Part(Protocol):
    """Something that runs until it is stopped."""

    def stop(self) -> None:
        """Finish what is begun and end."""


class Closing:
    """Calls a function when it is stopped."""

    def __init__(self, close: Callable[[], None]) -> None:
        self.stop = close


def _owner(settings: Settings) -> str:
    """Return the name of this process in leases: where it stays the same, a restart takes back what it had."""
    alone = "embedded" if settings.embedded else f"{socket.gethostname()}-{os.getpid()}"
    return os.environ.get("GATEWAY_INSTANCE") or alone


class Gateway:
    """The roles of one process, from settings. ``start`` returns when everything runs; ``stop`` drains.

    Senders are listened to as soon as what they send can be stored; ``/readyz`` answers once everything runs.

    ``start`` raises ``SchemaMismatch``, ``StoreUnavailable`` or ``ConfigurationError``; making one ``KeysMissing``.
    """

    def __init__(self, settings: Settings, roles: Collection[Role] = tuple(Role)) -> None:
        self.settings = settings
        self.roles = frozenset(roles)
        self.keys = keys_of(settings)
        self.store: Store = open_store(settings)
        self.broker: Broker = open_broker(settings)
        self.metrics = Metrics()
        self.addresses: dict[str, str] = {}
        self.owner = _owner(settings)
        self._ways_in: list[Part] = []
        self._parts: list[Part] = []

    def start(self) -> None:
        """Take messages in, prepare the database for what comes after, and start every role of this process."""
        from gateway.services.heartbeat import Heartbeat

        if self.settings.embedded:
            self.store.upgrade()
        self.store.check_schema()
        self._declare_queues()
        if Role.LISTEN in self.roles:
            self._start_listen()
        self._prepare()
        for role, start in self._starters.items():
            if role in self.roles:
                start()
        if Role.API not in self.roles and self.settings.gateway.probes.port is not None:
            self._serve_http(self.settings.gateway.probes.host, self.settings.gateway.probes.port, None)
        if self.settings.embedded:
            from gateway.bootstrap.clients import changes_taken_in

            self._parts.append(Loop("clients", changes_taken_in(self.settings, self.store)))
        heartbeat = Heartbeat(self.store, self.owner, sorted(self.roles), utc_now)
        self._parts.append(Loop("heartbeat", heartbeat.run))
        self._parts.append(Closing(heartbeat.end))
        gc.freeze()  # what was loaded stays: looking through it again and again would delay answers
        log.info("the gateway is running", roles=sorted(self.roles), **self.addresses)

    def stop(self) -> None:
        """Drain: stop taking in, finish what is begun, let go of the broker and the database."""
        for part in self._parts:
            if isinstance(part, Loop):
                part.ask()
        impatience = threading.Timer(BROKER_SECONDS, self.broker.close)
        impatience.start()
        for part in (*reversed(self._ways_in), *reversed(self._parts)):
            part.stop()
        impatience.cancel()
        self._ways_in.clear()
        self._parts.clear()
        self.broker.close()
        self.store.close()
        log.info("the gateway has stopped")

    @property
    def _starters(self) -> dict[Role, Callable[[], None]]:
        """Started in this order, once messages are taken in, and stopped in the other, once none comes in any more."""
        return {
            Role.RELAY: self._start_relay,
            Role.DELIVER: self._start_deliver,
            Role.TRANSLATE: self._start_translate,
            Role.API: self._start_api,
        }

    @cached_property
    def intake(self) -> Intake:
        """The one way in, shared by every feed of this process."""
        intake = Intake(
            self.store,
            utc_now,
            handles=handles,
            on_stored=lambda: self.broker.nudge("translate"),
            metrics=self.metrics,
        )
        intake.start()
        self._ways_in.append(intake)
        return intake

    @cached_property
    def policy(self) -> Policy:
        """Who may receive what."""
        return policy_of(self.settings, self.keys)

    @cached_property
    def planner(self) -> Planner:
        """Notes which views a change concerns."""
        from gateway.services.plan import Planner

        return Planner(self.policy, utc_now)

    def _prepare(self) -> None:
        """Bring studies, code maps and recipients' files into the database."""
        from gateway.services.plan import replan
        from gateway.services.prepare import StudyResources, prepare
        from gateway.services.write import again

        studies = [
            StudyResources(study.id, tuple(item for item in (study.research_study, study.plan) if item))
            for study in self.settings.studies.values()
        ]
        codes = {site.id: site.codes for site in self.settings.sites.values()}
        for attempt in again():
            with attempt:
                prepare(
                    self.store,
                    studies=studies,
                    codes=codes,
                    id_key=self.keys.identity,
                    now=utc_now(),
                    planner=self.planner,
                )
                with self.store.begin() as tx:
                    replan(tx, self.policy, utc_now())

    def _declare_queues(self) -> None:
        """Declare the queues; a broker that is away declares them when it is back."""
        limit = self.settings.gateway.broker.recipient_queue_bytes
        amqp = {id: limit for id, recipient in self.settings.recipients.items() if recipient.kind == "amqp"}
        try:
            self.broker.declare(list(self.settings.receivers), amqp)
        except BrokerUnavailable:
            log.warning("the broker does not answer; messages are taken in and work goes on when it is back")

    def _start_listen(self) -> None:
        from adapters.hospital.folder import FolderWatcher
        from adapters.hospital.mllp import MllpListener

        listener = MllpListener(self.settings.feeds.values(), self.intake, self.metrics)
        listener.start()
        self._ways_in.append(listener)
        folders = FolderWatcher(self.settings.feeds.values(), self.intake, utc_now)
        folders.start()
        self._ways_in.append(folders)
        for feed, port in listener.ports.items():
            self.addresses[feed] = f"mllp://{self.settings.feeds[feed].host}:{port}"

    def _start_api(self) -> None:
        from gateway.bootstrap.exporting import exporter_of

        http = self.settings.gateway.http
        self.addresses["http"] = self._serve_http(http.host, http.port, self.intake, self._fhir_api())
        self._parts.append(Loop("exports", exporter_of(self.store, self.policy, self.owner).run))

    def _fhir_api(self) -> tuple[APIRouter, ...]:
        """The routes where a client gets a token, then those that it asks with one, which take whatever is left."""
        from gateway.bootstrap.clients import auth_api, authorizer_of
        from gateway.bootstrap.pulling import fhir_api

        authorizer = authorizer_of(self.settings, self.store, self.policy, self.keys)
        tokens = auth_api(self.settings, self.store, self.keys, authorizer, lambda: self.addresses.get("http", ""))
        return tokens, fhir_api(self.settings, self.store, self.policy, self.keys, authorizer)

    def _serve_http(self, host: str, port: int, intake: Intake | None, more: Iterable[APIRouter] = ()) -> str:
        from gateway.api.app import create_app
        from gateway.api.server import HttpServer
        from gateway.services.metrics import QueueCollector

        self.metrics.registry.register(QueueCollector(self.store, utc_now))
        http = self.settings.gateway.http
        app = create_app(intake, self.settings.feeds, self._readiness, self.metrics.registry, more)
        server = HttpServer(
            app, host=host, port=port, certificate=http.certificate, key=http.key, client_ca=http.client_ca
        )
        self._ways_in.append(server)
        return server.address

    def _readiness(self) -> dict[str, str]:
        """Which part does not answer, and why; empty: all do."""
        missing = {}
        for name, ping in (("store", self.store.ping), ("broker", self.broker.ping)):
            try:
                ping()
            except GatewayError as error:
                missing[name] = type(error).__name__
        return missing

    def _start_translate(self) -> None:
        from gateway.services.pool import InlineTranslator, ProcessTranslators
        from gateway.services.translate import Limits, Translate

        wanted = self.settings.gateway.translate
        factory = translator_factory(self.settings, self.keys)
        workers = max(1, (os.cpu_count() or 1) - 1) if wanted.workers is None else wanted.workers
        pool = ProcessTranslators(factory, workers) if workers else InlineTranslator(factory)
        translate = Translate(
            self.store,
            pool,
            self.planner,
            sites=list(self.settings.sites),
            clock=utc_now,
            owner=self.owner,
            limits=Limits(wanted.batch, wanted.lanes, timedelta(seconds=wanted.lease_seconds), self._write_aim),
            on_settled=self._settled,
        )
        self._parts.append(Closing(pool.close))

        def work(stop: Callable[[], bool]) -> None:
            self.broker.consume("translate", lambda body: translate.wake(body, stop), stop)

        self._parts.append(Loop("translate", work))

    @property
    def _write_aim(self) -> timedelta:
        """How long writing a batch is to take: embedded, a message that comes in waits for it."""
        return timedelta(seconds=0.02 if self.settings.embedded else 0.5)

    def _settled(self, settled: Sequence[tuple[str, Became]]) -> None:
        """After a commit: deliveries may be due, and a sender may wait for its application acknowledgment."""
        self.broker.nudge("relay")
        for feed, became in settled:
            self.metrics.translated.labels(feed, str(became.state)).inc()
            if "intake" in self.__dict__:
                self.intake.settled(became.message)

    def _start_relay(self) -> None:
        from gateway.bootstrap.alerting import alerter_of
        from gateway.bootstrap.inspection import sealer_of
        from gateway.services.receipts import record_receipts
        from gateway.services.relay import Relay, RelaySettings
        from gateway.services.still import may_still_leave

        wanted = self.settings.gateway.relay
        limits = RelaySettings(
            interval=timedelta(seconds=wanted.interval_seconds),
            republish_after=timedelta(seconds=wanted.republish_seconds),
            receipt_after=timedelta(seconds=wanted.receipt_seconds),
            broker_forgets=not self.settings.broker_url.get_secret_value(),
        )
        may_leave = partial(may_still_leave, self.policy)
        relay = Relay(self.store, self.broker, self.settings.receivers, may_leave, utc_now, settings=limits)
        self._parts.append(Loop("relay", relay.run))
        if any(recipient.kind == "amqp" for recipient in self.settings.recipients.values()):
            self._parts.append(Loop("receipts", lambda stop: record_receipts(self.store, self.broker, stop)))
        self._parts.append(Loop("audit", sealer_of(self.settings, self.store, self.owner).run))
        self._parts.append(Loop("alerts", alerter_of(self.settings, self.store, self.owner).run))

    def _start_deliver(self) -> None:
        from gateway.bootstrap.notifying import telling_of
        from gateway.bootstrap.ways_out import adapter_of
        from gateway.services.deliver import Deliver
        from gateway.services.delivery_worker import DeliveryWorker

        wanted = self.settings.gateway.deliver
        recipients = self.settings.receivers
        adapters = {id: adapter_of(recipient, self.store, self.broker) for id, recipient in recipients.items()}
        deliver = Deliver(
            self.store,
            recipients,
            adapters,
            self._packager(),
            utc_now,
            self.owner,
            lease=timedelta(seconds=wanted.lease_seconds),
            observe=self.metrics.attempted,
        )
        with self.store.begin() as tx:
            tx.deliveries.expire(utc_now(), self.owner)
        for adapter in adapters.values():
            self._parts.append(Closing(adapter.close))
        for id in recipients:
            worker = DeliveryWorker(id, deliver, self.broker, wanted.threads)
            self._parts.append(Loop(f"deliver {id}", worker.run))
        self._parts.append(telling_of(self.settings, self.store, self.policy, self.owner))

    def _packager(self) -> ports.Packager:
        """Return who packs: embedded, a process beside this one, which has everything else to do."""
        from gateway.bootstrap.ways_out import packager_beside
        from gateway.services.package import Packager

        if not self.settings.embedded:
            return Packager(self.store, self.policy)
        packager = packager_beside(self.settings)
        self._parts.append(Closing(packager.close))
        return packager
