"""``gateway clients``: who may ask the FHIR API, and what it shows for itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from gateway.bootstrap.clients import ClientOffice, Shown, client_store, listed, views_of
from gateway.cli.base import As, Config, Json, actor, app, out, rows, settings_of, store_of
from gateway.errors import GatewayError
from gateway.model.access import Scope, scopes_of
from gateway.model.client import Client, Credential
from gateway.ports import Store
from gateway.settings import Settings
from gateway.settings.files import CLIENT_NAME
from gateway.tls import thumbprints_of

clients = typer.Typer(no_args_is_help=True, help="Trial systems that may ask the FHIR API.")
app.add_typer(clients, name="clients")

Name = Annotated[str, typer.Argument(help="The client id: lower case letters, digits and hyphens.")]
KeysUrl = Annotated[str, typer.Option("--jwks-url", metavar="URL", help="https address of its key set (JWKS).")]
KeysFile = Annotated[Path | None, typer.Option("--jwks-file", metavar="FILE", help="Its key set (JWKS), a file.")]
Secret = Annotated[
    bool, typer.Option("--secret", help="Make a secret instead of a key set, where the recipient's file allows it.")
]
Certificate = Annotated[
    list[Path] | None,
    typer.Option(
        "--certificate", metavar="FILE", help="PEM: bind its tokens to this TLS certificate; may be repeated."
    ),
]


@clients.command()
def add(
    name: Name,
    view: Annotated[
        list[str],
        typer.Option("--view", metavar="RECIPIENT[/STUDY]", help="What it sees: of one study, or of all of them."),
    ],
    scope: Annotated[
        list[str],
        typer.Option("--scope", metavar="SCOPES", help="What it may ask for, such as 'system/Observation.rs'."),
    ],
    jwks_url: KeysUrl = "",
    jwks_file: KeysFile = None,
    secret: Secret = False,
    certificate: Certificate = None,
    writes: Annotated[bool, typer.Option("--writes", help="It may write trials (Clinical Trial Office).")] = False,
    audits: Annotated[bool, typer.Option("--audits", help="It may read AuditEvents.")] = False,
    per_minute: Annotated[
        int, typer.Option("--per-minute", min=0, help="Requests in a minute; 0: as [fhir] requests_per_minute says.")
    ] = 0,
    on_behalf_of: As = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add a client. What it may see is what its recipient's file says, scopes only narrow that."""
    shown = _shown(jwks_url, jwks_file, secret=secret)
    scopes = _scopes(scope)
    if CLIENT_NAME.fullmatch(name) is None:
        raise typer.BadParameter("lower case letters, digits and hyphens", param_hint="NAME")
    with _office(config, on_behalf_of) as (settings, _, office):
        wanted = Client(
            name=name,
            views=views_of(settings, view),
            scopes=scopes,
            credential=Credential(),
            added_at=datetime.now(UTC),
            thumbprints=_thumbprints(settings, certificate),
            writes=writes,
            audits=audits,
            per_minute=per_minute,
        )
        _tell(name, *office.add(wanted, shown), as_json=as_json)


@clients.command("list")
def list_clients(config: Config = None, as_json: Json = False) -> None:
    """List the clients, revoked ones too."""
    with store_of(config) as (_, store), store.begin(write=False) as tx:
        found = tx.clients.every()
    now = datetime.now(UTC)
    rows([listed(client, now) for client in found], as_json=as_json, empty="no client is registered")


@clients.command()
def rotate(
    name: Name,
    jwks_url: KeysUrl = "",
    jwks_file: KeysFile = None,
    secret: Secret = False,
    certificate: Certificate = None,
    grace: Annotated[
        float,
        typer.Option(
            "--grace", min=0, max=8784, metavar="HOURS", help="So long the old one is good too; 0: no longer."
        ),
    ] = 0,
    on_behalf_of: As = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give a client another key set or a new secret. The old one and its tokens stop at once, or after --grace."""
    shown = _shown(jwks_url, jwks_file, secret=secret)
    with _office(config, on_behalf_of) as (settings, store, office):
        with store.begin(write=False) as tx:
            client = tx.clients.get(name)
        if client is None:
            raise GatewayError(f"client {name}: there is none of that name (gateway clients list)")
        thumbprints = _thumbprints(settings, certificate) if certificate else None
        _tell(name, *office.renew(client, shown, timedelta(hours=grace), thumbprints), as_json=as_json)


@clients.command()
def revoke(name: Name, on_behalf_of: As = "", config: Config = None) -> None:
    """Revoke a client for good: it gets no token any more, and those it has stop at once."""
    with _office(config, on_behalf_of) as (_, _, office):
        out(office.revoke(name))


@contextmanager
def _office(config: Path | None, on_behalf_of: str) -> Iterator[tuple[Settings, Store, ClientOffice]]:
    settings = settings_of(config)
    with client_store(settings) as (store, change):
        yield settings, store, ClientOffice(settings, change, actor(on_behalf_of))


def _shown(jwks_url: str, jwks_file: Path | None, *, secret: bool) -> Shown:
    if sum((bool(jwks_url), jwks_file is not None, secret)) != 1:
        raise typer.BadParameter("name one of --jwks-url, --jwks-file and --secret")
    return Shown(jwks_url, jwks_file, secret=secret)


def _scopes(texts: list[str]) -> tuple[Scope, ...]:
    scopes = scopes_of(" ".join(texts))
    if not scopes:
        said = "write system/TYPE.cruds, such as system/Observation.rs or system/*.rs; at most 50 of them"
        raise typer.BadParameter(said, param_hint="--scope")
    return scopes


def _thumbprints(settings: Settings, certificates: list[Path] | None) -> tuple[str, ...]:
    found = dict.fromkeys(one for file in certificates or () for one in thumbprints_of(str(file)))
    if found and not settings.gateway.http.client_ca:
        file = settings.folder / "gateway.toml"
        raise GatewayError(f"{file}: certificates are seen where [http] client_ca names who signs them: set it first")
    return tuple(found)


def _tell(name: str, said: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        out(json.dumps({"client": name, "said": said} | ({"secret": secret} if secret else {})))
        return
    out(said)
    if secret:
        out(f"its secret, which is shown this once: {secret}")
