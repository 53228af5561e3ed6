"""The client against a server that says byte for byte what it is told, on connections that stay open."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from adapters.recipient.client import Answer
from adapters.recipient.http import client_for, exchange
from gateway.model.delivery import Deferred, Unknown
from tests.contracts.packages import recipient
from tests.contracts.waiting import PATIENCE, wait_for

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


class Server:
    """Hands each connection to ``talk(connection)`` on a thread of its own, and counts them."""

    def __init__(self, talk):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/fhir"
        self.connections = 0
        self._talk = talk
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection):
        with connection:
            try:
                self._talk(connection)
            except OSError:
                return

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(PATIENCE)


@pytest.fixture
def serve():
    servers = []

    def start(talk):
        servers.append(Server(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def client():
    with client_for(recipient(timeout=PATIENCE)) as made:
        yield made


def post(client, server, content=b"{}", *, max_bytes=1000, seconds=PATIENCE, **headers):
    return exchange(
        client, "POST", server.address, content=content, headers=headers, max_bytes=max_bytes, seconds=seconds
    )


def request(connection):
    """Read one request; return its head and body, None at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


def always(*answers):
    """Answer each request of a connection with the next of these, then hang up."""

    def talk(connection):
        for said in answers:
            if request(connection) is None:
                return
            connection.sendall(said)

    return talk


def test_a_connection_serves_one_request_after_the_other(serve, client):
    server = serve(always(*[FINE] * 9))

    answers = [post(client, server).body for _ in range(9)]

    assert answers == [b"fine"] * 9
    assert server.connections == 1


def test_a_connection_the_server_has_closed_is_not_used_again(serve, client):
    server = serve(always(FINE))

    for expected in range(1, 4):
        assert post(client, server).body == b"fine"
        wait_for(lambda: server.connections == expected)  # noqa: B023 - waited for in the same round
        wait_for(lambda: not client._idle or _closed(client))


def _closed(client):
    """Whether the end of the idle connection has arrived here."""
    return client._idle[0][1].recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""


@pytest.mark.parametrize(
    "said",
    [
        FINE.replace(b"Content-Length", b"Connection: close\r\nContent-Length"),
        FINE.replace(b"1.1", b"1.0"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
    ],
)
def test_a_connection_that_ends_or_holds_the_rest_of_an_answer_is_not_used_again(serve, client, said):
    server = serve(always(said, FINE))

    post(client, server)
    assert post(client, server) is not None

    assert server.connections == 2


@pytest.mark.parametrize("at_once", [True, False])
def test_what_a_server_says_unasked_is_no_answer_to_the_next_request(serve, client, at_once):
    unasked = b"HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n"
    answered = threading.Event()

    def talk(connection):
        request(connection)
        connection.sendall(FINE + unasked if at_once else FINE)
        answered.wait(PATIENCE)
        if not at_once:
            connection.sendall(unasked)
        connection.recv(1)

    server = serve(talk)
    assert post(client, server).status == 200
    answered.set()
    if not at_once:
        wait_for(lambda: client._idle[0][1].recv(1, socket.MSG_PEEK), what="what was said unasked")

    assert post(client, server).status == 200
    assert server.connections == 2


def test_an_answer_in_chunks_is_read_whole_and_bounded(serve, client):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = serve(
        always(head + b"3\r\nfin\r\n1\r\ne\r\n0\r\n\r\n", head + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n")
    )

    whole, large = post(client, server), post(client, server)

    assert (whole.body, whole.cut) == (b"fine", False)
    assert (large.body, large.cut) == (b"", True)


def test_chunks_that_never_end_are_cut_off(serve, client):
    def talk(connection):
        request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")

    assert post(client, serve(talk)) == Answer(200, {"Transfer-Encoding": "chunked"}, b"", cut=True)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-Long: "])
def test_a_head_that_drips_holds_nobody_beyond_the_deadline(serve, client, head):
    def talk(connection):
        request(connection)
        connection.sendall(head)
        for letter in b"HTTP/1.1 " * 1000:
            connection.sendall(bytes((letter,)))
            time.sleep(0.02)  # the point of the test: it drips

    assert post(client, serve(talk), seconds=1.0) == Unknown("ReadTimeout")


def test_a_body_that_drips_to_the_deadline_is_given_up_and_its_status_counts(serve, client):
    def talk(connection):
        request(connection)
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 900\r\n\r\n")
        for _ in range(900):
            connection.sendall(b"x")
            time.sleep(0.02)  # the point of the test: it drips

    got = post(client, serve(talk), seconds=1.0)

    assert (got.status, got.cut) == (201, True)


def test_a_server_that_reads_nothing_holds_nobody_beyond_its_timeout(serve):
    over = threading.Event()
    server = serve(lambda connection: over.wait(PATIENCE))
    with client_for(recipient(timeout=1.0)) as client:
        got = post(client, server, b"x" * 50_000_000)
    over.set()

    assert got == Unknown("WriteTimeout")


def test_a_server_that_answers_before_it_has_read_everything_is_heard(serve, client):
    def talk(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    assert post(client, serve(talk), b"x" * 5_000_000).status == 413


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "http://h:port/", "http://h/a b", "http://h/\r\nX: y", "h/x"])
def test_an_address_that_cannot_be_asked_opens_the_circuit(client, url):
    got = exchange(client, "POST", url, max_bytes=10, seconds=PATIENCE)

    assert isinstance(got, Deferred)
    assert got.breaker


def test_a_header_that_would_bring_another_with_it_is_never_sent(serve, client):
    server = serve(always(FINE))

    got = post(client, server, **{"Idempotency-Key": "7-1\r\nX-Evil: 1"})

    assert isinstance(got, Deferred)
    assert server.connections == 0


def test_name_and_password_of_an_address_are_sent_as_basic_and_not_in_the_target(serve, client):
    heads = []

    def talk(connection):
        heads.append(request(connection)[0])
        connection.sendall(FINE)

    server = serve(talk)
    exchange(client, "GET", server.address.replace("//", "//edc:p%40ss@"), max_bytes=10, seconds=PATIENCE)

    assert heads[0].startswith(b"GET /fhir HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization: Basic ZWRjOnBAc3M=" in heads[0]
