"""The Prometheus instruments the services and adapters share; ``GET /metrics`` prints them.

Labels are ids of feeds and recipients, acknowledgment codes and outcomes: never anything about a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.errors import StoreError
from gateway.ports import Clock, QueueLine, Store

log = structlog.get_logger()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """Every instrument, registered in ``registry``. Durations are in seconds."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self.received = Counter(
            "gateway_messages_received",
            "Messages answered, by acknowledgment code; 'closed': connection closed unanswered.",
            ("feed", "code"),
            registry=registry,
        )
        self.repeats = Counter(
            "gateway_messages_repeated", "Messages that had been stored before.", ("feed",), registry=registry
        )
        self.intake_seconds = Histogram(
            "gateway_intake_seconds",
            "From the last byte of a message to its durable answer.",
            ("feed",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "gateway_intake_batch_messages",
            "Messages committed together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=registry,
        )
        self.connections = Gauge("gateway_connections", "Open sender connections.", ("feed",), registry=registry)
        self.connections_refused = Counter(
            "gateway_connections_refused",
            "Sender connections not taken: 'limit', 'certificate', 'handshake' or 'stopping'.",
            ("feed", "reason"),
            registry=registry,
        )
        self.translated = Counter(
            "gateway_messages_translated", "Messages by what became of them.", ("feed", "state"), registry=registry
        )
        self.outcomes = Counter(
            "gateway_delivery_outcomes",
            "Delivery attempts by outcome: accepted, refused, deferred, unknown.",
            ("recipient", "outcome"),
            registry=registry,
        )
        self.delivery_seconds = Histogram(
            "gateway_delivery_seconds", "Time of one attempt.", ("recipient",), buckets=_SECONDS, registry=registry
        )

    def attempted(self, recipient: str, outcome: str, seconds: float) -> None:
        """Count one delivery attempt."""
        self.outcomes.labels(recipient, outcome).inc()
        self.delivery_seconds.labels(recipient).observe(seconds)


class QueueCollector(Collector):
    """Reads queue depths and oldest ages from the store at each scrape; says nothing while it does not answer."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing, so that registering does not ask the store."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges by feed and by recipient."""
        try:
            with self._store.begin(write=False) as transaction:
                feeds = transaction.feed_queues()
                recipients = transaction.recipient_queues()
                alerts = transaction.alerts.list_all()
        except StoreError as error:
            log.warning("queues could not be read for metrics", error=type(error).__name__)
            return
        now = self._clock()
        yield _gauge("gateway_feed_waiting", "Messages not yet translated.", "feed", feeds, lambda line: line.waiting)
        yield _gauge(
            "gateway_feed_oldest_seconds",
            "Age of the oldest message not yet translated.",
            "feed",
            feeds,
            lambda line: _age(line, now),
        )
        yield _gauge("gateway_recipient_waiting", "Deliveries due.", "recipient", recipients, lambda line: line.waiting)
        yield _gauge(
            "gateway_recipient_oldest_seconds",
            "How long the oldest delivery has been due.",
            "recipient",
            recipients,
            lambda line: _age(line, now),
        )
        yield _gauge(
            "gateway_recipient_dead",
            "Deliveries that wait for a replay.",
            "recipient",
            recipients,
            lambda line: line.dead,
        )
        family = GaugeMetricFamily("gateway_alert", "1 while a trouble lasts.", labels=["trouble", "subject"])
        for alert in alerts:
            family.add_metric([str(alert.trouble), alert.subject], 1 if alert.ended_at is None else 0)
        yield family


def _age(line: QueueLine, now: datetime) -> float:
    return max((now - line.oldest).total_seconds(), 0.0) if line.oldest else 0.0


def _gauge(
    name: str, text: str, label: str, lines: list[QueueLine], value: Callable[[QueueLine], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for line in lines:
        family.add_metric([line.name], value(line))
    return family
