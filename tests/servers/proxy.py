"""A TCP proxy that tests put between the gateway and a server: it passes on, holds back, springs a trap, or cuts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(eq=False)
class Trap:
    """A client that has said these words, in this order, is held: it, or the answers to it. ``sprung`` once it is."""

    words: tuple[bytes, ...]
    answers: bool
    sprung: threading.Event = field(default_factory=threading.Event)


class _Passage:
    """The two ends of one connection; while ``answering`` is cleared its client hears nothing."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.open = True
        self.ways = 2
        self.answering = threading.Event()
        self.answering.set()
        self.asking = threading.Event()
        self.asking.set()
        self._trap: Trap | None = None
        self._said = 0

    def hear(self, data: bytes, trap: Trap | None) -> None:
        """Note what the client says and hold the connection when it says the last word of the trap."""
        if trap is not self._trap:
            self._trap, self._said = trap, 0
        place = 0
        while trap and self._said < len(trap.words) and (found := data.find(trap.words[self._said], place)) >= 0:
            place = found + len(trap.words[self._said])
            self._said += 1
        if trap and self._said == len(trap.words) and not trap.sprung.is_set():
            (self.answering if trap.answers else self.asking).clear()
            trap.sprung.set()

    def end(self) -> None:
        """Shut both ends; what was held back is lost."""
        self.open = False
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.answering.set()
        self.asking.set()


class Proxy:
    """Listens on ``port`` of the loopback and passes every byte on to another port.

    ``hold_answers`` keeps what the server says from the client from then on, ``trap`` holds one connection at a word,
    ``cut`` ends every connection; after ``refuse`` new ones are closed at once, until ``accept``. ``asked`` counts the
    bytes that clients have sent.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked = 0
        self._answering = threading.Event()
        self._answering.set()
        self._refusing = False
        self._trap: Trap | None = None
        self._open: set[_Passage] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def hold_answers(self) -> None:
        """Let nothing of what the server says through."""
        self._answering.clear()

    def trap(self, *words: bytes, answers: bool = False) -> Trap:
        """Hold the first connection whose client says these words: the last of them, or with ``answers`` the answer.

        It is held until ``cut``, which loses what was held.
        """
        self._trap = trap = Trap(words, answers)
        return trap

    def cut(self) -> None:
        """End every connection as a cable does that is pulled, what was held back lost; new ones pass."""
        self._trap = None
        with self._lock:
            ended, self._open = self._open, set()
        for passage in ended:
            passage.end()
        self._answering.set()

    def refuse(self) -> None:
        """Cut, and let nobody through."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Let clients through again."""
        self._refusing = False

    def close(self) -> None:
        """End everything."""
        self._refusing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing or not self._connect(client):
                client.close()

    def _connect(self, client: socket.socket) -> bool:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            return False
        server.settimeout(None)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        passage = _Passage(client, server)
        with self._lock:
            self._open.add(passage)
        for pass_on in (self._pass_requests, self._pass_answers):
            threading.Thread(target=self._run, args=(pass_on, passage), daemon=True).start()
        return True

    def _run(self, pass_on: Callable[[_Passage], None], passage: _Passage) -> None:
        with suppress(OSError):
            pass_on(passage)
        passage.end()
        with self._lock:
            self._open.discard(passage)
            passage.ways -= 1
            if not passage.ways:
                passage.client.close()
                passage.server.close()

    def _pass_requests(self, passage: _Passage) -> None:
        while data := passage.client.recv(65536):
            passage.hear(data, self._trap)
            passage.asking.wait()
            if not passage.open:
                return
            self.asked += len(data)
            passage.server.sendall(data)

    def _pass_answers(self, passage: _Passage) -> None:
        while data := passage.server.recv(65536):
            self._answering.wait()
            passage.answering.wait()
            if not passage.open:
                return
            passage.client.sendall(data)
