"""A TCP proxy that tests put between the gateway and a server: it passes on, holds answers back, or cuts."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Listens on ``port`` of the loopback and passes every byte on to another port.

    ``hold_answers`` keeps what the server says from the client from then on, ``cut`` ends every connection; after
    ``refuse`` new ones are closed at once, until ``accept``. ``asked`` counts the bytes that clients have sent.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked = 0
        self._answering = threading.Event()
        self._answering.set()
        self._refusing = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def hold_answers(self) -> None:
        """Let nothing of what the server says through."""
        self._answering.clear()

    def cut(self) -> None:
        """End every connection as a cable does that is pulled, answers that were held back lost; new ones pass."""
        with self._lock:
            ended, self._open = self._open, set()
        for one in ended:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
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
        with self._lock:
            self._open |= {client, server}
        for source, sink, answers in ((client, server, False), (server, client, True)):
            threading.Thread(target=self._pass_on, args=(source, sink, answers), daemon=True).start()
        return True

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers:
                    self._answering.wait()
                    with self._lock:
                        if source not in self._open:
                            break
                else:
                    self.asked += len(data)
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._open.discard(one)
            one.close()
