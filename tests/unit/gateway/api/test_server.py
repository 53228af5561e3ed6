"""The web server bounds what a request's line and headers may take, in bytes and in time."""

from __future__ import annotations

import socket

import pytest

from gateway.api import server
from gateway.api.app import create_app
from gateway.services.metrics import Metrics


@pytest.fixture
def place():
    running = server.HttpServer(create_app(None, {}, dict, Metrics().registry), host="127.0.0.1", port=0)
    yield "127.0.0.1", int(running.address.rpartition(":")[2])
    running.stop()


@pytest.fixture
def connection(place):
    with socket.create_connection(place, timeout=60) as connected:
        yield connected


def received(connection):
    """All that comes until the other side closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_head_that_grows_without_end_is_refused(connection):
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: here\r\n")
    try:
        for _ in range(40):
            connection.sendall(b"X-More: %b\r\n" % (b"x" * 4096))
        answer = received(connection)
    except ConnectionError:  # it was closed while more was on its way
        return
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_large_body_is_no_head(connection):
    body = b"x" * (4 * server.MOST_HEAD)
    head = b"POST /livez HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.sendall(head + body)
    assert connection.recv(65536).startswith(b"HTTP/1.1 405 ")


def test_a_head_that_does_not_end_is_given_up(monkeypatch, connection):
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: here\r\nConnection: keep-alive\r\n\r\n")
    answer = b""
    while not answer.endswith(b"ok\n"):
        piece = connection.recv(65536)
        assert piece, answer
        answer += piece
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost:")
    assert received(connection) == b""


def test_a_connection_that_sends_nothing_is_given_up(monkeypatch, place):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with socket.create_connection(place, timeout=60) as silent:
        assert received(silent) == b""
