"""What only a real RabbitMQ can show: lost connections, deleted queues, permissions, heartbeats."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from itertools import chain, repeat
from urllib.parse import quote
from uuid import uuid4

import pika
import pytest
import structlog
from pika.exceptions import ChannelClosedByBroker

from gateway.broker.rabbitmq import RabbitBroker
from gateway.broker.topology import Names
from gateway.errors import BrokerError, BrokerUnavailable, ConfigurationError
from gateway.ports import Event
from tests.contracts.brokers import RabbitBench
from tests.contracts.waiting import running, wait_for
from tests.servers.ports import free_ports
from tests.servers.proxy import Proxy

SIZE = 100_000


@pytest.fixture
def bench(rabbitmq):
    made = RabbitBench(rabbitmq, 20)
    made.broker.declare(["edc"], {"registry": SIZE, "safety": SIZE})
    yield made
    made.close()


def event(number, recipient="registry"):
    return Event(f"{recipient}.mld-01.Observation.created", b"{}", f"m{number}")


def drop_connections(rabbitmq):
    rabbitmq.control("close_all_connections", "test")


def test_after_a_lost_connection_publishing_and_consuming_go_on(rabbitmq, bench):
    handled = []
    with running(lambda stop: bench.broker.consume("deliver.edc", handled.append, stop)):
        bench.broker.wake("deliver.edc", ["before"])
        wait_for(lambda: handled == ["before"])
        with structlog.testing.capture_logs() as logs:
            drop_connections(rabbitmq)
            wait_for(lambda: wakes(bench.broker, "after"))
            wait_for(lambda: "after" in handled)

    told = [line["event"] for line in logs if line.get("connection") == "publish"]
    assert told == ["rabbitmq is not reachable", "rabbitmq is reachable again"]


def wakes(broker, body):
    try:
        broker.wake("deliver.edc", [body])
    except BrokerUnavailable:
        return False
    return True


def test_a_body_whose_handler_was_cut_off_comes_again(rabbitmq, bench):
    handled = []

    def handle(body):
        handled.append(body)
        if len(handled) == 1:
            drop_connections(rabbitmq)

    bench.broker.wake("deliver.edc", ["1"])
    with running(lambda stop: bench.broker.consume("deliver.edc", handle, stop)):
        wait_for(lambda: len(handled) == 2)
        wait_for(lambda: bench.broker.depths()["deliver.edc"] == 0)


def test_a_wiped_broker_is_declared_again_and_nothing_is_lost_silently(bench):
    handled = []
    with running(lambda stop: bench.broker.consume("deliver.edc", handled.append, stop)):
        bench.broker.wake("deliver.edc", ["before"])
        wait_for(lambda: handled)
        bench.wipe()

        assert bench.broker.publish([event(1), event(2, "safety")]) == [None, None]
        bench.broker.wake("deliver.edc", ["after"])
        wait_for(lambda: handled == ["before", "after"])

    assert bench.read("registry") == [("m1", b"{}")]


def test_one_deleted_queue_is_declared_again_when_it_is_missed(bench):
    bench.delete_queues("recipient.registry")

    assert bench.broker.publish([event(1), event(2)]) == [None, None]

    assert [message_id for message_id, _ in bench.read("registry")] == ["m1", "m2"]


def test_a_consumer_of_a_deleted_queue_finds_the_new_one(bench):
    handled = []
    with running(lambda stop: bench.broker.consume("deliver.edc", handled.append, stop)):
        bench.broker.wake("deliver.edc", ["before"])
        wait_for(lambda: handled)
        bench.delete_queues("deliver.edc")
        bench.broker.wake("deliver.edc", ["after"])
        wait_for(lambda: handled == ["before", "after"])


def test_a_consumer_that_begins_anew_when_idle_hears_what_comes_then(rabbitmq, bench):
    broker = RabbitBroker(rabbitmq.url, prefix=bench.broker.names.prefix, idle=0.01)
    broker.declare(["edc"])
    handled = []
    with running(lambda stop: broker.consume("deliver.edc", handled.append, stop)):
        for number in range(5):
            broker.wake("deliver.edc", [str(number)])
            wait_for(lambda: len(handled) == number + 1)  # noqa: B023 - waited for in the same round
    broker.close()

    assert handled == ["0", "1", "2", "3", "4"]


def test_a_consumer_that_ends_at_once_takes_nothing_with_it(bench):
    bench.broker.ping()
    stop = chain([False], repeat(True))
    bench.broker.consume("deliver.edc", print, lambda: next(stop))

    handled = []
    bench.broker.wake("deliver.edc", ["1"])
    with running(lambda stop: bench.broker.consume("deliver.edc", handled.append, stop)):
        wait_for(lambda: handled == ["1"])


def test_a_handler_slower_than_the_heartbeat_keeps_the_connection(rabbitmq):
    broker = RabbitBroker(f"{rabbitmq.url}?heartbeat=2", prefix=f"t{uuid4().hex[:8]}.")
    broker.declare(["edc"])
    handled = []

    def handle(body):
        time.sleep(5)  # the point of the test: nobody answers the heartbeat from this thread
        handled.append(body)

    broker.wake("deliver.edc", ["1"])
    with running(lambda stop: broker.consume("deliver.edc", handle, stop)):
        wait_for(lambda: handled)
        wait_for(lambda: broker.depths()["deliver.edc"] == 0)
    broker.close()

    assert handled == ["1"]


def test_a_broker_that_is_not_there_is_said_at_once_and_nudging_it_is_silent():
    (port,) = free_ports(1)
    broker = RabbitBroker(f"amqp://127.0.0.1:{port}")

    broker.nudge("relay")
    with pytest.raises(BrokerUnavailable):
        broker.wake("relay")
    assert isinstance(broker.publish([event(1)])[0], BrokerUnavailable)
    with pytest.raises(BrokerUnavailable):
        broker.ping()
    with pytest.raises(BrokerUnavailable):
        broker.depths()
    with pytest.raises(BrokerUnavailable):
        broker.declare(["edc"])
    with running(lambda stop: broker.consume("deliver.edc", print, stop)):
        pass
    broker.close()


def test_a_server_that_takes_a_connection_and_says_nothing_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = RabbitBroker(f"amqp://127.0.0.1:{silent.getsockname()[1]}?stack_timeout=0.3")
        with pytest.raises(BrokerUnavailable):
            broker.ping()


def test_a_server_that_does_not_confirm_in_time_leaves_it_open(rabbitmq, bench):
    with closing(Proxy(rabbitmq.port)) as proxy:
        url = rabbitmq.url.replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        broker = RabbitBroker(url, prefix=bench.broker.names.prefix, confirm_within=0.5)
        wait_for(lambda: wakes(broker, "1"))
        proxy.hold_answers()

        with pytest.raises(BrokerUnavailable, match="in time"):
            broker.wake("deliver.edc", ["2"])
        proxy.cut()
        wait_for(lambda: wakes(broker, "3"))
        broker.close()


def test_a_queue_of_other_arguments_is_named(rabbitmq, bench):
    other = RabbitBroker(rabbitmq.url, prefix=bench.broker.names.prefix)

    with pytest.raises(BrokerError, match=r"fhir\.recipient\.registry"):
        other.declare([], {"registry": SIZE + 1})
    other.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "nonsense", "amqp://127.0.0.1:port"])
def test_an_address_that_is_none_is_a_configuration_error(url):
    with pytest.raises(ConfigurationError, match="GATEWAY_BROKER_URL"):
        RabbitBroker(url)


def test_what_is_published_survives_a_restart_of_the_server(bench):
    connection = pika.BlockingConnection(pika.URLParameters(bench.url))
    bench.broker.publish([event(1)])

    _, properties, _ = connection.channel().basic_get(bench.broker.names.queue("recipient.registry"), auto_ack=True)
    connection.close()

    assert properties.delivery_mode == 2
    assert (properties.message_id, properties.content_type) == ("m1", "application/fhir+json")


def test_amqps_works_for_a_server_whose_certificate_is_trusted(rabbitmq):
    options = quote(str({"cafile": rabbitmq.authority}))
    broker = RabbitBroker(f"{rabbitmq.tls_url}?ssl_options={options}", prefix=f"t{uuid4().hex[:8]}.")
    broker.declare(["edc"])
    handled = []

    broker.wake("deliver.edc", ["1"])
    with running(lambda stop: broker.consume("deliver.edc", handled.append, stop)):
        wait_for(lambda: handled == ["1"])
    broker.close()


def test_amqps_trusts_the_authority_it_is_given_and_checks_the_name(rabbitmq):
    trusting = RabbitBroker(rabbitmq.tls_url, ca_file=rabbitmq.authority)
    elsewhere = RabbitBroker(rabbitmq.tls_url.replace("localhost", "127.0.0.1"), ca_file=rabbitmq.authority)

    trusting.ping()
    with pytest.raises(BrokerUnavailable):
        elsewhere.ping()


def test_amqps_refuses_a_server_whose_certificate_is_not_trusted(rabbitmq):
    with pytest.raises(BrokerUnavailable):
        RabbitBroker(rabbitmq.tls_url).ping()


# --- what a recipient's broker user may do ---


@pytest.fixture
def restricted(rabbitmq, bench):
    """Return the URL of a user with the permissions that the gateway gives the recipient ``registry``."""
    user = f"u{uuid4().hex[:8]}"
    rabbitmq.add_user(user, "secret")
    for words in bench.broker.names.permissions("registry").commands(user):
        rabbitmq.control(*words)
    return rabbitmq.url_of(user, "secret")


@pytest.fixture
def channel(restricted):
    connection = pika.BlockingConnection(pika.URLParameters(restricted))
    made = connection.channel()
    made.confirm_delivery()
    yield made
    if connection.is_open:
        connection.close()


def test_a_recipient_reads_its_queue_and_sends_its_receipts(bench, channel):
    names = bench.broker.names
    bench.broker.publish([event(1)])

    method, properties, _ = channel.basic_get(names.queue("recipient.registry"))
    channel.basic_ack(method.delivery_tag)
    channel.basic_publish(names.receipts, "registry", properties.message_id.encode(), mandatory=True)

    heard = []
    with running(lambda stop: bench.broker.receipts(heard.extend, stop)):
        wait_for(lambda: heard == [("registry", "m1")])


FORBIDDEN = {
    "publish an event": lambda channel, names: channel.basic_publish(names.events, "registry.x.Patient.created", b"{}"),
    "publish past the exchange": lambda channel, names: channel.basic_publish("", names.queue("deliver.edc"), b"1"),
    "sign for another": lambda channel, names: channel.basic_publish(names.receipts, "safety", b"m1"),
    "read another's queue": lambda channel, names: channel.basic_get(names.queue("recipient.safety")),
    "read the wake-ups": lambda channel, names: channel.basic_get(names.queue("deliver.edc")),
    "read the receipts": lambda channel, names: channel.basic_get(names.receipts),
    "bind its queue wider": lambda channel, names: channel.queue_bind(
        names.queue("recipient.registry"), names.events, "#"
    ),
    "purge another's queue": lambda channel, names: channel.queue_purge(names.queue("recipient.safety")),
    "delete its queue": lambda channel, names: channel.queue_delete(names.queue("recipient.registry")),
    "declare a queue": lambda channel, names: channel.queue_declare("mine"),
}


def test_a_recipient_may_do_nothing_else(bench, channel):
    allowed = []
    for deed, attempt in FORBIDDEN.items():
        fresh = channel.connection.channel()
        fresh.confirm_delivery()
        try:
            attempt(fresh, bench.broker.names)
        except ChannelClosedByBroker as refused:
            assert refused.reply_code == 403, deed  # noqa: PT017 - each of many deeds is refused with this code
        else:
            allowed.append(deed)

    assert not allowed


def test_permissions_are_for_the_whole_name():
    permissions = Names().permissions("a-b")

    assert permissions.read == r"^fhir\.recipient\.a\-b$"
    assert permissions.configure == "^$"
    with pytest.raises(BrokerError):
        Names().permissions(".*")
