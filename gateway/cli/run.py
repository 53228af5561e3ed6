"""``gateway serve`` and ``gateway demo``: running the roles."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from gateway.bootstrap.roles import Gateway, Role
from gateway.cli.base import Config, app, log_to_stderr, settings_of


@app.command()
def serve(
    config: Config = None,
    role: Annotated[list[Role] | None, typer.Option(help="Run this role only; may be given several times.")] = None,
) -> None:
    """Run the roles listen, translate, relay, deliver and api (all when none is named) until SIGTERM, then drain."""
    settings = settings_of(config)
    log_to_stderr(settings.gateway.log.level, as_json=settings.gateway.log.format == "json")
    gateway = Gateway(settings, role or tuple(Role))
    try:
        gateway.start()
        _until_signalled()
    finally:
        gateway.stop()


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End when everything is delivered.")] = False,
    config: Config = None,
) -> None:
    """Run the fictional unit: play a year of messages into it and show what became of them, and who received what."""
    from gateway.cli.demo import Demo

    log_to_stderr("warning")
    with Demo(settings_of(config)) as playing:
        playing.play()
        playing.write()
        if not once:
            playing.write_addresses()
            _until_signalled()


def _until_signalled() -> None:
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ends.set())
    ends.wait()
