"""Recipients that are down, slow or wrong: what comes of the attempt, what the operator is told, what happens next.

The store, the adapter and the sockets are real; only the clock is set by hand, from one attempt to the next.
"""

from __future__ import annotations

import socket
import ssl
import threading
import tracemalloc
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
import structlog

from adapters.recipient.fhir_server import FhirServer
from fixtures.standins.fhir import FhirStandIn
from gateway.broker.embedded import EmbeddedBroker
from gateway.fhir import codec
from gateway.model.delivery import DeliveryState
from gateway.model.recipient import Retry
from gateway.services.deliver import Deliver
from gateway.services.relay import Relay
from gateway.services.wake_ups import ids_of
from gateway.store import create_store
from tests.certificates import Authority
from tests.contracts.deliveries import FixedPackager, HandClock, plan
from tests.contracts.far_end import FarEnd, answer
from tests.contracts.packages import internal, observation, patient, recipient, released
from tests.contracts.stores import KEYS, empty_file
from tests.contracts.waiting import PATIENCE
from tests.servers.ports import free_port

PAIR = (released(patient()), released(observation()))
HELD = {"Patient/p1": patient(), "Observation/o1": observation()}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RETRY = Retry(first=timedelta(seconds=2), longest=HOUR, give_up=DAY)
DUE, IDLE, DEAD = DeliveryState.DUE, DeliveryState.IDLE, DeliveryState.DEAD


class Gateway:
    """The way out to one FHIR server: ``work`` does what is due at the moment the clock shows."""

    def __init__(self, folder, address, **changes):
        self.clock = HandClock()
        self.tried = []
        known = recipient(address=address, retry=RETRY, **changes)
        self._adapter = FhirServer(known)
        self._broker = EmbeddedBroker()
        self._broker.declare(["edc"])
        self.store = create_store(empty_file(folder), KEYS)
        recipients, packager = {"edc": known}, FixedPackager(PAIR)
        self._deliver = Deliver(
            self.store, recipients, {"edc": self._adapter}, packager, self.clock, "w1", observe=self._note
        )
        self._relay = Relay(self.store, self._broker, recipients, lambda *_: True, self.clock)

    def _note(self, _recipient, outcome, _seconds):
        self.tried.append((self.clock(), outcome))

    def close(self):
        self._adapter.close()
        self.store.close()

    def plan(self, count=1):
        return [plan(self.store, self.clock(), patient=internal(str(number))) for number in range(count)]

    def work(self):
        self._relay.step(self.clock())
        woken = []
        left = self._broker.depths()["deliver.edc"]
        self._broker.consume("deliver.edc", woken.append, lambda: len(woken) >= left)
        for id in (id for body in woken for id in ids_of(body)):
            self._deliver(id)

    def go_on(self):
        """Turn the clock to the next moment at which something is to be done, and do it."""
        with self.store.begin(write=False) as tx:
            due = min(one.due_at for one in tx.deliveries.find(state="due"))
            self.clock.now = max(self.clock(), due, tx.breakers.get("edc").open_until or due)
        self.work()

    def cursor(self, id):
        with self.store.begin(write=False) as tx:
            return tx.deliveries.get(id)

    @property
    def circuit(self):
        with self.store.begin(write=False) as tx:
            return tx.breakers.get("edc")


@pytest.fixture
def gateway(tmp_path):
    """Makes the way out to an address; everything is closed after the test."""
    made = []

    def make(address, **changes):
        made.append(Gateway(tmp_path, address, **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def far_end():
    """Makes far ends that answer on order."""
    made = []

    def make(script):
        made.append(FarEnd(script))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_recipient_that_is_down_for_hours_is_asked_ever_more_rarely_and_gets_everything_when_it_is_back(gateway):
    port = free_port()
    edc = gateway(f"http://127.0.0.1:{port}/fhir")
    ids = edc.plan(12)
    with structlog.testing.capture_logs() as logs:
        edc.work()
        while edc.clock() < edc.tried[0][0] + 9 * HOUR:
            edc.go_on()
        assert Counter(edc.cursor(id).state for id in ids) == {DUE: 12}

        moments = Counter(moment for moment, _ in edc.tried)
        first, *others = moments
        assert moments[first] == 5
        assert {moments[other] for other in others} == {1}
        for failures, (one, other) in enumerate(pairwise(moments), start=5):
            least = min(2.0**failures, HOUR.total_seconds())
            assert least <= (other - one).total_seconds() <= min(least + 2, HOUR.total_seconds())
        assert edc.circuit.reason == "could not connect"

        back = FhirStandIn(port)
        since = edc.clock()
        try:
            edc.go_on()
        finally:
            back.close()

    assert Counter(edc.cursor(id).state for id in ids) == {IDLE: 12}
    assert edc.clock() - since <= RETRY.longest
    assert sorted(back.deliveries) == sorted(f"{id}-1" for id in ids)
    assert back.repeats == []
    said = Counter(line["event"] for line in logs)
    assert (said["the recipient takes no deliveries"], said["the recipient takes deliveries again"]) == (1, 1)


def test_nothing_is_given_up_before_its_time_and_then_it_waits_for_a_person(gateway):
    edc = gateway(f"http://127.0.0.1:{free_port()}/fhir")
    ids = edc.plan(3)
    began = edc.clock()
    edc.work()
    dead = []
    while len(dead) < 3:
        edc.go_on()
        dead = [id for id in ids if edc.cursor(id).state is DEAD]
        assert not dead or edc.clock() - began >= RETRY.give_up

    with edc.store.begin(write=False) as tx:
        (line,) = tx.recipient_queues()
    assert (line.waiting, line.dead) == (0, 3)
    assert edc.cursor(ids[0]).detail == "could not connect"


def in_two_minutes():
    return format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)


@dataclass(frozen=True)
class Fault:
    """What a server does with a transaction (None: nothing), and what must come of it."""

    answers: object
    outcome: str
    told: str
    circuit: bool = False
    state: DeliveryState = DUE
    waits: tuple[float, float] = (2, 4)
    """Seconds until the next attempt, at least and at most."""
    deadline: float = PATIENCE


FAULTS = {
    "slow": Fault(None, "unknown", "ReadTimeout", deadline=2.0),
    "busy, in seconds": Fault(
        lambda _: answer(429, Retry_After="90"), "deferred", "HTTP 429", circuit=True, waits=(90, 90)
    ),
    "busy, as a date": Fault(
        lambda _: answer(429, Retry_After=in_two_minutes()), "deferred", "HTTP 429", circuit=True, waits=(60, 120)
    ),
    "busy, without a word": Fault(lambda _: answer(429), "deferred", "HTTP 429"),
    "failing": Fault(lambda _: answer(500), "unknown", "HTTP 500"),
    "credentials": Fault(lambda _: answer(401), "deferred", "HTTP 401", circuit=True),
    "moved": Fault(
        lambda _: answer(308, Location="http://127.0.0.1:1/elsewhere"),
        "deferred",
        "HTTP 308: redirects are not followed",
        circuit=True,
    ),
    "hangs up": Fault(lambda _: None, "unknown", "RemoteDisconnected"),
    "hangs up in its answer": Fault(lambda _: answer(200, b"x" * 100)[:-50], "unknown", "IncompleteRead"),
    "not HTTP": Fault(lambda _: b"SSH-2.0-x\r\n", "unknown", "BadStatusLine"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failed_attempt_is_told_and_made_again_when_it_is_time(fault, gateway, far_end):
    given_up = threading.Event()

    def script(request):
        if edc.tried:
            return fine(request)
        return fault.answers(request) if fault.answers else given_up.wait(PATIENCE) and None

    server = far_end(script)
    edc = gateway(server.address, deadline=fault.deadline)
    (id,) = edc.plan()

    edc.work()
    given_up.set()

    after, waits = edc.cursor(id), (edc.cursor(id).due_at - edc.clock()).total_seconds()
    assert [outcome for _, outcome in edc.tried] == [fault.outcome]
    assert (after.state, after.detail) == (fault.state, fault.told)
    assert (edc.circuit.open_until is not None) is fault.circuit
    assert fault.waits[0] <= waits <= fault.waits[1]
    asked = len(server.seen)
    edc.clock.advance(seconds=fault.waits[0] - 1)
    edc.work()
    assert len(server.seen) == asked == 1

    edc.go_on()

    assert edc.cursor(id).state is IDLE
    assert edc.circuit.open_until is None
    posts = [request.headers["idempotency-key"] for request in server.seen if request.method == "POST"]
    assert posts == [f"{id}-1"] * 2
    reads_first = [request.method for request in server.seen[1:]]
    assert reads_first == (["GET", "POST"] if fault.outcome == "unknown" else ["POST"])


def fine(request):
    return answer(404 if request.method == "GET" else 200)


def test_what_was_taken_before_the_connection_was_reset_is_settled_by_reading_and_not_sent_again(gateway, far_end):
    taken = {}

    def script(request):
        if request.method == "GET":
            return answer(200, codec.encode(taken[request.path.lstrip("/")]))
        taken.update(HELD)
        return answer(200, b'{"resourceType":"Bundle"}')[:-9]

    server = far_end(script)
    edc = gateway(server.address)
    (id,) = edc.plan()
    edc.work()
    assert (edc.cursor(id).state, edc.cursor(id).detail) == (DUE, "IncompleteRead")

    edc.go_on()

    assert edc.cursor(id).state is IDLE
    assert [request.method for request in server.seen] == ["POST", "GET", "GET"]
    with edc.store.begin(write=False) as tx:
        assert [(one.outcome, one.detail) for one in tx.deliveries.attempts(id)] == [
            ("unknown", "IncompleteRead"),
            ("accepted", "was there already"),
        ]


def test_content_that_is_refused_waits_for_a_person_and_a_replay_sends_it(gateway, far_end):
    server = far_end(lambda _: answer(200 if mended else 400))
    mended = []
    edc = gateway(server.address)
    (id,) = edc.plan()

    edc.work()

    after = edc.cursor(id)
    assert (after.state, after.detail) == (DEAD, "HTTP 400; every entry is refused, the first with HTTP 400")
    assert edc.circuit.open_until is None
    assert [request.method for request in server.seen] == ["POST", "PUT", "PUT"]
    edc.clock.advance(days=30)
    edc.work()
    assert len(server.seen) == 3

    mended.append(True)
    with edc.store.begin() as tx:
        tx.deliveries.replay(id, edc.clock())
    edc.work()
    assert edc.cursor(id).state is IDLE


def test_an_answer_without_end_costs_no_more_memory_than_is_allowed(gateway):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        edc = gateway(f"http://127.0.0.1:{listener.getsockname()[1]}", max_bytes=1_000_000, deadline=PATIENCE)
        (id,) = edc.plan()
        with Endless(listener) as server:
            tracemalloc.start()
            edc.work()
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()

    assert edc.cursor(id).state is IDLE
    with edc.store.begin(write=False) as tx:
        assert tx.deliveries.attempts(id)[0].detail == "HTTP 200, answer too large to read"
    assert most < 8_000_000
    assert server.said < 50_000_000


class Endless:
    """Answers its one request with a body that does not end, and counts the bytes it could say."""

    def __init__(self, listener):
        self.said = 0
        self._listener = listener
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(PATIENCE)

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                self.said += connection.send(b"x" * 65536)


def test_a_name_that_is_not_known_any_more_is_told_and_asked_again(gateway):
    edc = gateway("http://edc.invalid/fhir")
    ids = edc.plan(6)

    edc.work()

    assert {edc.cursor(id).state for id in ids} == {DUE}
    assert edc.cursor(ids[0]).detail == edc.circuit.reason == "could not connect: its name is not known"
    assert len(edc.tried) == 5
    edc.go_on()
    assert len(edc.tried) == 6


def test_a_certificate_that_has_ended_is_told_and_with_a_new_one_everything_arrives(gateway, tmp_path):
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost", days=-1))
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    server = FarEnd(fine, listener=listener)
    try:
        edc = gateway(server.address.replace("http://127.0.0.1", "https://localhost"), ca_file=authority.certificate)
        (id,) = edc.plan()
        edc.work()
        edc.go_on()
        assert [outcome for _, outcome in edc.tried] == ["deferred"] * 2
        assert edc.circuit.reason == "TLS: the connection could not be trusted: certificate has expired"
        assert server.seen == []

        context.load_cert_chain(*authority.issue("localhost"))
        edc.go_on()
    finally:
        server.close()
    assert edc.cursor(id).state is IDLE
    assert len(server.seen) == 1


def test_a_clock_set_back_while_an_attempt_is_under_way_sends_nothing_twice(gateway, far_end):
    def script(_request):
        if not edc.tried:
            edc.clock.advance(hours=-1)
            edc.work()
        return answer(200)

    server = far_end(script)
    edc = gateway(server.address)
    (id,) = edc.plan()

    edc.work()
    edc.work()

    assert edc.cursor(id).state is IDLE
    assert [request.headers["idempotency-key"] for request in server.seen] == [f"{id}-1"]
    with edc.store.begin(write=False) as tx:
        assert [one.outcome for one in tx.deliveries.attempts(id)] == ["accepted"]


def test_a_clock_set_back_delays_neither_what_is_new_nor_what_waits_to_be_tried_again(gateway, far_end):
    server = far_end(lambda request: answer(503) if not edc.tried else fine(request))
    edc = gateway(server.address)
    (waiting,) = edc.plan()
    edc.work()
    assert edc.cursor(waiting).state is DUE

    edc.clock.advance(hours=-1)
    first, new = edc.plan(2)
    edc.work()
    assert (edc.cursor(new).state, len(server.seen)) == (IDLE, 2)

    edc.clock.advance(seconds=5)
    edc.work()
    assert first == waiting
    assert edc.cursor(waiting).state is IDLE
    assert [request.method for request in server.seen] == ["POST"] * 3
