"""The web server of one process, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import ConfigurationError
from gateway.tls import server_context, thumbprint

MOST_HEAD: Final = 64 * 1024
"""Bytes of a request's line and headers at most."""

HEAD_SECONDS: Final = 30.0
"""How long a connection may take for a request's line and headers."""

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class HttpServer:
    """Serves an application from the moment it is made; ``address`` is its URL. ``port`` 0 takes a free one.

    With ``certificate`` and ``key`` (PEM files) it speaks TLS. With ``client_ca`` a client may show a certificate that
    this authority signed, and the application finds its thumbprint in the scope (``client_thumbprint``). Raises
    ``ConfigurationError`` when the address cannot be bound.
    """

    def __init__(
        self, app: FastAPI, *, host: str, port: int, certificate: str = "", key: str = "", client_ca: str = ""
    ) -> None:
        context = None
        if certificate:
            context = server_context("gateway.toml", certificate, key, client_ca, optional=True)
        listener = _bind(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if certificate else 'http'}://{shown}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=_Connection,
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


class _Connection(HttpToolsProtocol):
    """A connection whose requests say which certificate its client has shown, and whose heads have bounds.

    A head is refused with 431 when it grows beyond ``MOST_HEAD``; a connection that does not finish one in
    ``HEAD_SECONDS`` is closed.
    """

    _head_size = 0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the one above it
        """Note the certificate: the handshake is done."""
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls else None
        if certificate:
            inner, shown = self.app, thumbprint(certificate)

            async def app(scope: Any, receive: Any, send: Any) -> None:
                scope["client_thumbprint"] = shown
                await inner(scope, receive, send)

            self.app = app
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came, and count it as long as it belongs to a head."""
        if self._patience is None and (self.cycle is None or not self.cycle.more_body):
            self._await_head()
        super().data_received(data)
        if self._patience is not None:
            self._head_size += len(data)
            if self._head_size > MOST_HEAD:
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_headers_complete(self) -> None:
        """Begin with the request."""
        self._head_is_here()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_size = 0
        self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_is_here(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


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
