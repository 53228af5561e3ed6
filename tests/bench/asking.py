"""Clients of the FHIR API for the benchmarks: processes with connections that are kept alive, and no more than that.

What they cost would be taken from what is measured, so they write and read HTTP/1.1 themselves.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from threading import Thread
from urllib.parse import urlsplit

CLIENTS = 2
"""Processes that ask at once."""


@dataclass
class Asked:
    """What came of it: seconds of each request, ascending, seconds in all, and bytes of bodies."""

    each: list
    seconds: float
    size: int

    def percentile(self, part):
        """Return the milliseconds within which this part of the requests was answered."""
        return self.each[min(len(self.each) - 1, int(len(self.each) * part))] * 1000


class Connection:
    """One connection to a server."""

    def __init__(self, address, headers=()):
        place = urlsplit(address)
        self._socket = socket.create_connection((place.hostname, place.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = "".join(f"{name}: {value}\r\n" for name, value in (("Host", place.netloc), *headers))
        self._file = self._socket.makefile("rb")

    def get(self, path):
        """Return status and body."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())
        status, length = int(self._file.readline().split()[1]), 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._file.read(length)


def ask(address, headers, paths, connections):
    """Ask for each path once, over so many connections of some processes; every answer is a good one."""
    clients = min(CLIENTS, connections)
    shares = [(address, headers, paths[place::clients], connections // clients) for place in range(clients)]
    with ProcessPoolExecutor(clients, mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(clients)))
        began = time.perf_counter()
        found = list(pool.map(_share, shares))
        seconds = time.perf_counter() - began
    return Asked(sorted(one for each, _ in found for one in each), seconds, sum(size for _, size in found))


def _share(share):
    address, headers, paths, connections = share
    taken, sizes, failed = [], [], []

    def run(own):
        connection = Connection(address, headers)
        for path in own:
            began = time.perf_counter()
            status, body = connection.get(path)
            taken.append(time.perf_counter() - began)
            sizes.append(len(body))
            if status != 200:
                failed.append((status, path, body[:300]))
                return

    threads = [Thread(target=run, args=(paths[place::connections],)) for place in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed or len(taken) != len(paths):
        raise RuntimeError(f"not answered: {failed[:1]}")
    return taken, sum(sizes)
