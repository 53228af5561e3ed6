"""What the machine can do without us, measured in the same run as our figures: the limit each is read against."""

from __future__ import annotations

import multiprocessing
import os
import selectors
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg

from tests.bench.sender import feed

SECONDS = 1.0
ROW = 2500
"""Bytes of a row: a message of 20 observations."""
_ANSWER = b"\x0bMSH|^~\\&|||||20260301080000||ACK^R01^ACK|1|P|2.5.1\rMSA|AA|1\r\x1c\r"


def fsync_rate(folder):
    """Bare appends of one row, each made durable, per second."""
    row = os.urandom(ROW)
    path = Path(folder) / "fsync-probe"
    with path.open("ab", buffering=0) as file:
        rate = _rate(lambda: (file.write(row), os.fsync(file.fileno())))
    path.unlink()
    return rate


def echo_rate(connections, count=20_000):
    """Bare round trips per second over loopback: blocks of a message's size, each answered at once."""
    spawn = multiprocessing.get_context("spawn")
    ours, its = spawn.Pipe()
    child = spawn.Process(target=_echo, args=(its,), daemon=True)
    child.start()
    block = b"\x0b" + b"x" * ROW + b"\x1c\r"
    try:
        return feed(ours.recv(), [block] * count, connections).per_second
    finally:
        child.terminate()
        child.join()


def insert_rate(database_url, connections=1):
    """Bare durable commits of one row per second, over so many connections of a database of our own.

    SQLite has one writer at a time, so there it is always one.
    """
    if database_url.startswith("sqlite:///"):
        return _sqlite_rate(database_url.removeprefix("sqlite:///"))
    return _postgres_rate(database_url, connections)


def _sqlite_rate(path):
    with closing(sqlite3.connect(f"{path}-probe", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, body BLOB)")
        row = os.urandom(ROW)
        return _rate(lambda: database.execute("INSERT INTO probe (body) VALUES (?)", (row,)))


def _postgres_rate(url, connections):
    row = os.urandom(ROW)
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("CREATE TABLE IF NOT EXISTS probe (id bigserial PRIMARY KEY, body bytea)")
    rates = []

    def insert():
        with psycopg.connect(url, autocommit=True) as database:
            rates.append(_rate(lambda: database.execute("INSERT INTO probe (body) VALUES (%b)", (row,), prepare=True)))

    threads = [threading.Thread(target=insert) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def _rate(step):
    """How often a step is done per second, over about ``SECONDS``."""
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter()) < began + SECONDS:
        step()
        count += 1
    return count / (now - began)


def _echo(connection):
    """Answer whatever block comes, until killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening, selectors.EpollSelector() as ready:
        ready.register(listening, selectors.EVENT_READ)
        connection.send(listening.getsockname()[1])
        while True:
            for key, _ in ready.select():
                if key.fileobj is listening:
                    ready.register(listening.accept()[0], selectors.EVENT_READ)
                    continue
                block = key.fileobj.recv(65536)
                if not block:
                    ready.unregister(key.fileobj)
                    key.fileobj.close()
                elif block.endswith(b"\x1c\r"):
                    key.fileobj.sendall(_ANSWER)
