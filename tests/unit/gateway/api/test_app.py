"""The web application: HL7 v2 over HTTP, probes, metrics."""

import socket
import threading
from dataclasses import replace

import httpx
import pytest
import uvicorn

from gateway.api.app import create_app
from gateway.model.message import MessageState
from gateway.model.site import Feed
from gateway.services.metrics import Metrics, QueueCollector
from gateway.services.receive import Intake
from tests.contracts.waiting import PATIENCE, wait_for
from tests.listening import BrokenStore, clock, codes, message, msa, rows

HL7 = {"Content-Type": "application/hl7-v2"}
FEED = Feed("ehr", "north", "http")
FEEDS = {
    "ehr": FEED,
    "small": replace(FEED, id="small", max_bytes=2000),
    "hasty": replace(FEED, id="hasty", frame_timeout=0.2),
    "guarded": replace(FEED, id="guarded", token_env="TEST_FEED_TOKEN"),
    "rejecting": replace(FEED, id="rejecting", on_store_failure="reject"),
    "lis": Feed("lis", "north", "mllp"),
}


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


class Served:
    """The application behind a real web server on a free port."""

    def __init__(self, app, intake=None):
        self._intake = intake
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_for(lambda: self._server.started, what="a server")
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)

    def stop(self):
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        if self._intake:
            self._intake.stop()


@pytest.fixture
def serve():
    running = []

    def serve(store, readiness=dict, *, listens=True):
        metrics = Metrics()
        metrics.registry.register(QueueCollector(store, clock))
        intake = Intake(store, clock, metrics=metrics) if listens else None
        if intake:
            intake.start()
        running.append(Served(create_app(intake, FEEDS, readiness, metrics.registry), intake))
        return running[-1].client

    yield serve
    for one in running:
        one.stop()


def test_a_posted_message_is_stored_and_acknowledged_in_the_answer(store, serve):
    answer = serve(store).post("/hl7v2/ehr", content=message("7"), headers=HL7)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/hl7-v2"
    assert msa(answer.content) == ("AA", "7")
    assert [(row.feed, row.raw) for row in rows(store)] == [("ehr", message("7"))]


def test_a_refusal_is_an_acknowledgment_too(store, serve):
    answer = serve(store).post("/hl7v2/ehr", content=message("7", processing_id="T"), headers=HL7)

    assert (answer.status_code, codes([answer.content])) == (200, ["AR"])


def test_utf16_is_taken_and_answered_in_kind(store, serve):
    raw = message("7").decode().encode("utf-16")
    answer = serve(store).post("/hl7v2/ehr", content=raw, headers=HL7)

    assert msa(answer.content.decode("utf-16").encode()) == ("AA", "7")


@pytest.mark.parametrize(
    ("ask", "status", "code"), [("AL|AL", 200, ["AA"]), ("AL|NE", 200, ["CA"]), ("NE|NE", 204, [])]
)
def test_the_answer_is_the_last_acknowledgment_asked_for(store, serve, ask, status, code):
    answer = serve(store).post("/hl7v2/ehr", content=message(ask=ask), headers=HL7)

    assert answer.status_code == status
    assert codes(filter(None, [answer.content])) == code


@pytest.mark.parametrize("feed", ["nobody", "lis"])
def test_only_http_feeds_can_be_posted_to(store, serve, feed):
    assert serve(store).post(f"/hl7v2/{feed}", content=message(), headers=HL7).status_code == 404


def test_another_content_type_is_refused(store, serve):
    headers = {"Content-Type": "text/plain"}
    assert serve(store).post("/hl7v2/ehr", content=message(), headers=headers).status_code == 415


def test_a_message_over_the_limit_is_413_with_an_acknowledgment(store, serve):
    answer = serve(store).post("/hl7v2/small", content=message("7") + b"NTE|1||" + b"x" * 3000, headers=HL7)

    assert (answer.status_code, msa(answer.content)) == (413, ("AR", "7"))


def test_a_message_that_does_not_arrive_in_time_is_waited_for_no_longer(store, serve):
    url = serve(store).base_url
    head = (
        "POST /hl7v2/hasty HTTP/1.1\r\nHost: x\r\nContent-Type: application/hl7-v2\r\nContent-Length: 500\r\n\r\nMSH|"
    )
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as slow:
        slow.sendall(head.encode())
        answer = b""
        while data := slow.recv(65536):
            answer += data

    assert answer.startswith(b"HTTP/1.1 408")
    assert rows(store) == []


def test_a_store_that_cannot_commit_is_503_and_never_positive(store, serve):
    broken = BrokenStore(store)
    client = serve(broken)
    closed = client.post("/hl7v2/ehr", content=message(), headers=HL7)
    rejected = client.post("/hl7v2/rejecting", content=message(), headers=HL7)

    assert (closed.status_code, "Retry-After" in closed.headers) == (503, True)
    assert (rejected.status_code, codes([rejected.content])) == (503, ["AR"])
    broken.broken = False
    assert client.post("/hl7v2/ehr", content=message(), headers=HL7).status_code == 200


@pytest.mark.parametrize(
    ("shown", "status"),
    [("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer wrong", 401), ("Basic s3cret", 401), (None, 401)],
)
def test_a_feed_with_a_token_takes_only_who_shows_it(store, serve, monkeypatch, shown, status):
    monkeypatch.setenv("TEST_FEED_TOKEN", "s3cret")
    headers = HL7 | ({"Authorization": shown} if shown else {})

    assert serve(store).post("/hl7v2/guarded", content=message(), headers=headers).status_code == status


def test_a_feed_whose_token_is_not_set_takes_nobody(store, serve, monkeypatch):
    monkeypatch.delenv("TEST_FEED_TOKEN", raising=False)
    headers = HL7 | {"Authorization": "Bearer any"}

    assert serve(store).post("/hl7v2/guarded", content=message(), headers=headers).status_code == 401


def test_readiness_names_the_part_that_does_not_answer(store, serve):
    ready = serve(store, lambda: {"store": "", "broker": ""}).get("/readyz")
    not_ready = serve(store, lambda: {"store": "", "broker": "BrokerUnavailable"}).get("/readyz")

    assert (ready.status_code, ready.json()) == (200, {"store": "ok", "broker": "ok"})
    assert (not_ready.status_code, not_ready.json()) == (503, {"store": "ok", "broker": "BrokerUnavailable"})
    assert serve(store).get("/livez").text == "ok\n"


def test_metrics_tell_rates_queues_and_ages_by_feed_and_nothing_of_patients(store, serve):
    client = serve(store)
    client.post("/hl7v2/ehr", content=message("1", patient="4711"), headers=HL7)
    client.post("/hl7v2/ehr", content=message("1", patient="4711"), headers=HL7)
    client.post("/hl7v2/ehr", content=message("2", processing_id="T"), headers=HL7)

    text = client.get("/metrics").text
    assert 'gateway_messages_received_total{code="AA",feed="ehr"} 2.0' in text
    assert 'gateway_messages_received_total{code="AR",feed="ehr"} 1.0' in text
    assert 'gateway_messages_repeated_total{feed="ehr"} 1.0' in text
    assert 'gateway_feed_waiting{feed="ehr"} 1.0' in text
    assert 'gateway_feed_oldest_seconds{feed="ehr"}' in text
    assert 'gateway_intake_seconds_count{feed="ehr"} 3.0' in text
    assert "4711" not in text
    assert [row.state for row in rows(store)] == [MessageState.STORED, MessageState.REFUSED]


def test_metrics_are_still_served_when_the_store_does_not_answer(store, serve, tmp_path):
    client = serve(store)
    store.close()

    assert client.get("/metrics").status_code == 200


def test_a_process_that_does_not_listen_serves_probes_alone(store, serve):
    client = serve(store, listens=False)

    assert client.get("/readyz").status_code == 200
    assert client.post("/hl7v2/ehr", content=message(), headers=HL7).status_code == 404
