"""The web server of one process, in a thread of its own."""

from __future__ import annotations

import socket
import threading

import uvicorn
from fastapi import FastAPI

from gateway.errors import ConfigurationError
from gateway.tls import server_context


class HttpServer:
    """Serves an application from the moment it is made; ``address`` is its URL. ``port`` 0 takes a free one.

    With ``certificate`` and ``key`` (PEM files) it speaks TLS. Raises ``ConfigurationError`` when the
    address cannot be bound.
    """

    def __init__(self, app: FastAPI, *, host: str, port: int, certificate: str = "", key: str = "") -> None:
        listener = _bind(host, port)
        self.address = f"{'https' if certificate else 'http'}://{host}:{listener.getsockname()[1]}"
        context = server_context("gateway.toml", certificate, key) if certificate else None
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
            ssl_context_factory=(lambda *_: context) if context else None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what has been asked and end."""
        self._server.should_exit = True
        self._thread.join()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's algorithm only where the protocol is named; with it an answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError("gateway.toml", f"http: cannot listen on {host}:{port} ({error.strerror})") from None
    listener.listen(256)
    return listener
