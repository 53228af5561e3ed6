"""``gateway serve`` and ``gateway demo``: running the roles."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Annotated, Final

import structlog
import typer

from gateway.bootstrap.roles import Gateway, Role
from gateway.cli.base import Config, app, log_to_stderr, settings_of

log = structlog.get_logger()

STOP_SECONDS: Final = 9.0
"""How long draining may take: who asked us to end kills us some seconds later."""


@app.command()
def serve(
    config: Config = None,
    role: Annotated[list[Role] | None, typer.Option(help="Run this role only; may be given several times.")] = None,
) -> None:
    """Run the roles listen, translate, relay, deliver and api (all when none is named) until SIGTERM, then drain.

    A SIGTERM that comes while it starts is heard too. Draining ends within 10 seconds, with status 0; with 1 when
    something did not let go by then: that is left as a crash would leave it, and the next start goes on with it.
    """
    signalled = _signalled()
    settings = settings_of(config)
    log_to_stderr(settings.gateway.log.level, as_json=settings.gateway.log.format == "json")
    threading.Thread(target=_end_in_time, args=(signalled,), name="end-in-time", daemon=True).start()
    gateway = Gateway(settings, role or tuple(Role))
    try:
        gateway.start()
        signalled.wait()
    finally:
        gateway.stop()
    _leave(0)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End when everything is delivered.")] = False,
    config: Config = None,
) -> None:
    """Run the fictional unit: play a year of messages into it and show what became of them, and who received what.

    It listens on free ports, whatever the configuration says, and prints them. Its data is gone when it ends, unless
    GATEWAY_DATA or GATEWAY_DATABASE_URL says where to keep it.
    """
    from gateway.cli.demo import Demo

    log_to_stderr("warning")
    with Demo(settings_of(config)) as playing:
        playing.play()
        playing.write()
        if not once:
            playing.write_addresses()
            _signalled().wait()


def _signalled() -> threading.Event:
    """Return what SIGTERM and SIGINT set from now on."""
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ends.set())
    return ends


def _end_in_time(signalled: threading.Event) -> None:
    """End the process some seconds after it was asked to: a database or a disk that hangs must not hold it."""
    signalled.wait()
    time.sleep(STOP_SECONDS)  # only the clock tells that draining took too long
    running = sorted(thread.name for thread in threading.enumerate())
    log.error("the gateway could not drain in time; the next start goes on with what is left", running=running)
    _leave(1)


def _leave(status: int) -> None:
    """End at once: no thread that still waits for somebody's answer is waited for."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk or a closed pipe must not keep it alive
            stream.flush()
    os._exit(status)
