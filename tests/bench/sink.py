"""A far end that costs little: takes FHIR transactions over HTTP/1.1 and counts what they carry."""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import contextmanager

ANSWER = b'{"resourceType":"Bundle","type":"transaction-response"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)


class Taking(asyncio.Protocol):
    """One connection: request after request, each answered when its body is complete."""

    def __init__(self, counts):
        self._counts = counts
        self._buffer = bytearray()

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._counts["requests"] += 1
            self._counts["observations"] += body.count(b'"resourceType":"Observation"')
            self._counts["bytes"] += size
            del self._buffer[: end + 4 + size]
            self._transport.write(HEAD + ANSWER)


def serve(connection):
    """Listen, send the port, then answer each question with the counts so far."""
    asyncio.run(_serve(connection))


async def _serve(connection):
    counts = {"requests": 0, "observations": 0, "bytes": 0}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Taking(counts), "127.0.0.1", 0)
    connection.send(server.sockets[0].getsockname()[1])
    loop.add_reader(connection.fileno(), lambda: connection.send(dict(counts)) if connection.recv() else loop.stop())
    await asyncio.Event().wait()


@contextmanager
def far_end():
    """Yield the port of a far end in a process of its own and a function that returns its counts."""
    spawn = multiprocessing.get_context("spawn")
    ours, its = spawn.Pipe()
    child = spawn.Process(target=serve, args=(its,), daemon=True)
    child.start()

    def counts():
        ours.send("counts")
        return ours.recv()

    try:
        yield ours.recv(), counts
    finally:
        child.terminate()
        child.join()
