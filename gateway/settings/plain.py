"""What goes over the network without TLS, and is refused unless the configuration says why; passwords in addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from gateway.errors import ConfigurationError
from gateway.settings.files import FeedTable, GatewayFile, RecipientFile
from gateway.settings.lines import line_of

_SAYS_WHY = "say why in plain_reason, if that is meant"


def is_here(host: str | None) -> bool:
    """Say whether an address is reached from this machine alone.

    >>> [is_here(host) for host in ("127.0.0.1", "localhost", "::1", "", "0.0.0.0", "db.example")]
    [True, True, True, True, False, False]
    """
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def plain_http(gateway: GatewayFile) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with where the api role and the probes answer, by setting."""
    listening = [("http", gateway.http.host)]
    listening += [("probes", gateway.probes.host)] if gateway.probes.port is not None else []
    for table, host in listening:
        if not (is_here(host) or gateway.http.certificate or gateway.http.plain_reason):
            what = f"{host} is reached from other machines: set certificate and key of [http], or {_SAYS_WHY} there"
            yield f"{table}.host", what
    if gateway.http.client_ca and not gateway.http.certificate:
        yield "http.client_ca", "certificates are shown over TLS alone: set certificate and key too"


def plain_fhir(gateway: GatewayFile) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with where clients of the FHIR API are told to reach it, and with where they are told."""
    for place, endpoint in enumerate(gateway.fhir.subscription_endpoints):
        if endpoint.startswith("http:") and not is_here(urlsplit(endpoint).hostname):
            yield f"fhir.subscription_endpoints.{place}", "http:// to another machine: use https://"
    if not gateway.fhir.base_url:
        return
    address = _split(gateway.fhir.base_url)
    if address is None or address.username or address.password:
        yield "fhir.base_url", "is not a URL without a name and password"
    elif address.scheme == "http" and not (is_here(address.hostname) or gateway.http.plain_reason):
        yield "fhir.base_url", f"http:// from another machine: use https://, or {_SAYS_WHY} of [http]"


def plain_feeds(path: Path, feeds: Sequence[FeedTable]) -> Iterator[ConfigurationError]:
    """Yield which feeds of a site's file listen to other machines without TLS."""
    text = path.read_text("utf-8-sig")
    for place, feed in enumerate(feeds):
        if feed.kind == "mllp" and not (is_here(feed.host) or feed.tls or feed.plain_reason):
            what = f"feed {feed.id!r} on {feed.host} is reached from other machines: add [feeds.tls], or {_SAYS_WHY}"
            yield ConfigurationError(str(path), f"feeds: {what}", line_of(text, ("feeds", place, "host")))


def plain_servers(path: Path, gateway: GatewayFile, database_url: str, broker_url: str) -> Iterator[ConfigurationError]:
    """Yield what else leaves the machine without TLS, as ``gateway.toml`` and the environment say."""
    text = path.read_text("utf-8-sig")
    problems = [*plain_http(gateway), *plain_fhir(gateway), *plain_alerts(gateway)]
    problems += [*plain_database(database_url), *plain_broker(broker_url, gateway)]
    for setting, problem in problems:
        yield ConfigurationError(str(path), f"{setting}: {problem}", line_of(text, tuple(setting.split("."))))


def plain_recipient(file: RecipientFile) -> str:
    """Return what is wrong with a recipient's address, or nothing."""
    address = _split(file.address)
    if address is None:
        return "address: is not a URL"
    if address.password:
        return "address: holds a password; secrets stand in secret_env or secret_file"
    if address.scheme == "http" and not (is_here(address.hostname) or file.plain_reason):
        return f"address: http:// to another machine: use https://, or {_SAYS_WHY}"
    return ""


def plain_database(url: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a database URL. The URL is not in it: it may hold a password."""
    address = _split(url)
    if address is None or not address.scheme.startswith("postgres"):
        return
    asked = parse_qs(address.query)
    elsewhere = [host for host in (address.hostname, *asked.get("host", ())) if not is_here(host)]
    if elsewhere and "sslmode" not in asked:
        what = "the database is on another machine: add ?sslmode=verify-full, or sslmode=disable if that is meant"
        yield "database_url", what


def plain_broker(url: str, gateway: GatewayFile) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a broker URL. The URL is not in it: it may hold a password."""
    address = _split(url)
    if address and address.scheme == "amqp" and not (is_here(address.hostname) or gateway.broker.plain_reason):
        yield "broker_url", f"the broker is on another machine: use amqps://, or {_SAYS_WHY} of [broker]"


def plain_alerts(gateway: GatewayFile) -> Iterator[tuple[str, str]]:
    """Yield which way of telling people of trouble goes without TLS."""
    for place, webhook in enumerate(gateway.alerts.webhooks):
        address = _split(webhook.address)
        if address is None:
            yield f"alerts.webhooks.{place}.address", "is not a URL"
        elif address.scheme == "http" and not (is_here(address.hostname) or webhook.plain_reason):
            yield f"alerts.webhooks.{place}.address", f"http:// to another machine: use https://, or {_SAYS_WHY}"
    mail = gateway.alerts.mail
    if mail and mail.tls == "plain" and not (is_here(mail.host) or mail.plain_reason):
        yield "alerts.mail.tls", f"plain to another machine: use starttls or tls, or {_SAYS_WHY}"


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL; None when it is none, which is said when it is used."""
    try:
        address = urlsplit(url)
        address.hostname  # noqa: B018 - refuses what only looks like an address
    except ValueError:
        return None
    return address
