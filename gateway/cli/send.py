"""``gateway send``: an MLLP client for trying a feed, and for measuring one."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

import typer

from adapters.hospital.client import Summary, Target
from adapters.hospital.client import send as send_messages
from gateway.cli.base import app, complain, out, progress
from gateway.cli.inputs import messages_of
from gateway.tls import client_context

_WORDS = {
    "no connection: ConnectionRefusedError": "nothing listens there; is the gateway running on this port?",
    "no connection: gaierror": "no such host",
    "no connection: TimeoutError": "no answer to the connection; is a firewall between?",
    "no connection: SSLCertVerificationError": "its certificate is not signed by an authority we know; see --tls-ca",
    "no connection: ConnectionResetError": "it closed the connection; does it expect --tls?",
}


@app.command()
def send(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files, folders, or - for stdin.")],
    to: Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="Where the feed listens.")],
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS.")] = False,
    tls_ca: Annotated[Path | None, typer.Option(help="Authority of the server's certificate (PEM).")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="Our certificate, for mutual TLS (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of our certificate (PEM).")] = None,
    connections: Annotated[int, typer.Option(min=1, max=1000, help="Connections at a time.")] = 1,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Messages per second over all connections.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Send it all this often; repeats get fresh control ids.")] = 1,
) -> None:
    """Send HL7 v2 messages over MLLP and print what was answered, and how fast."""
    messages = [raw for _, _, raw in messages_of(paths)]
    target = _target(to, _context(tls, tls_ca, tls_certificate, tls_key))
    with progress("sending", len(messages) * repeat) as advance:
        summary = send_messages(messages, target, connections=connections, rate=rate, repeat=repeat, progress=advance)
    _write(summary, to)
    if summary.errors or summary.codes.keys() - {"AA", "CA"}:
        raise typer.Exit(1)


def _target(to: str, tls: ssl.SSLContext | None) -> Target:
    host, _, port = to.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise typer.BadParameter("write it as HOST:PORT, such as 127.0.0.1:2575", param_hint="--to")
    return Target(host, int(port), tls)


def _context(tls: bool, ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if not (tls or ca or certificate):
        return None
    files = [str(file) if file else "" for file in (ca, certificate, key)]
    return client_context("--tls", *files)


def _write(summary: Summary, to: str) -> None:
    speed = f"{summary.seconds:.2f} s, {summary.per_second:.0f} per second"
    out(f"{summary.sent} sent, {summary.answered} answered in {speed}")
    for code, count in sorted(summary.codes.items()):
        out(f"  {code or '(no MSA-1)'}: {count}")
    for kind, count in sorted(summary.errors.items()):
        complain(f"{to}: {_WORDS.get(kind, kind)} ({count} times)")
    if summary.latencies:
        figures = ", ".join(f"p{percent} {summary.percentile(percent) * 1000:.1f} ms" for percent in (50, 95, 99))
        out(f"  acknowledged within: {figures}")
