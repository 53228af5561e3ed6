"""The shape of every file of the configuration folder, as a person writes it.

Durations carry their unit in the name. An unknown key is an error: a misspelt setting must not be ignored.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from gateway.hl7v2.charset import codec_of
from gateway.model.endpoints import place_of

_ID: Final = r"^[a-z0-9][a-z0-9-]{0,39}$"
Id = Annotated[str, Field(pattern=_ID, description="lower case letters, digits and hyphens")]
CLIENT_NAME: Final = re.compile(_ID)
"""How the client ids of the FHIR API are written."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not an IANA time zone, such as Europe/Rome") from None
    return name


Zone = Annotated[str, AfterValidator(_zone)]


def _charset(name: str) -> str:
    if not codec_of(name):
        raise ValueError(f"{name!r} is no character set of table 0211, such as 8859/1 or UNICODE UTF-8")
    return name


Charset = Annotated[str, AfterValidator(_charset)]


class FileModel(BaseModel):
    """A file, or a table in one: unknown keys are refused, values are not coerced from text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HttpTable(FileModel):
    """``[http]``: where the api role answers."""

    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(8080, ge=0, le=65535, description="port; 0 takes a free one")
    certificate: str = Field("", description="PEM file; with key, the port speaks TLS 1.2 or newer")
    key: str = Field("", description="PEM file of the certificate's key")
    client_ca: str = Field(
        "", description="PEM file: authority of clients' certificates; who shows one can have its tokens bound to it"
    )
    plain_reason: str = Field(
        "", description="why other machines may reach [http] and [probes] without TLS; GATEWAY_HTTP_PLAIN_REASON"
    )


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is no network, such as 10.20.0.0/16") from None
    return text


Network = Annotated[str, AfterValidator(_network)]


def _endpoint(text: str) -> str:
    if place_of(text) is None:
        raise ValueError(f"{text!r} is no plain URL, such as https://ctms.example/notifications")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class FhirTable(FileModel):
    """``[fhir]``: the FHIR API and who may ask it."""

    base_url: str = Field(
        "",
        pattern=r"^(https?://[^/\s?#]+(/[^\s?#]*[^/\s?#])?)?$",
        description="address at which clients reach the gateway, before /fhir and /auth; empty: where [http] listens",
    )
    token_seconds: int = Field(300, ge=10, le=300, description="how long an access token lasts")
    requests_per_minute: int = Field(
        6000, ge=1, description="of each client and process, where `gateway clients add --per-minute` says nothing else"
    )
    key_sets_ca_file: str = Field(
        "", description="PEM file: authority of the servers of clients' key sets, when not a public one"
    )
    private_networks: tuple[Network, ...] = Field(
        (),
        description="networks of private addresses that clients may name to us (key sets, endpoints of subscriptions);"
        " others are never asked",
    )
    subscription_endpoints: tuple[Endpoint, ...] = Field(
        (),
        description="where notifications of subscriptions may go: these URLs and what is below them; none by default",
    )
    subscription_ca_file: str = Field(
        "", description="PEM file: authority of the servers of those endpoints, when not a public one"
    )
    subscription_event_days: float = Field(
        30.0, gt=0, description="how long a client can ask again for events that have arrived ($events)"
    )
    export_hours: int = Field(24, ge=1, le=720, description="how long a bulk export and its files are kept")
    exports_at_once: int = Field(3, ge=1, le=100, description="bulk exports of one client that may go on at once")
    exports_kept: int = Field(30, ge=1, le=1000, description="bulk exports of one client that are kept")
    small_cells: int = Field(
        5, ge=1, le=100, description="numbers of subjects below this are not told ($enrollment-summary); 1 tells all"
    )


class ProbesTable(FileModel):
    """``[probes]``: /livez, /readyz and /metrics of a process that does not run the api role."""

    host: str = Field("127.0.0.1", description="address to bind")
    port: int | None = Field(None, ge=0, le=65535, description="port; not set: no probes outside the api role")


class TranslateTable(FileModel):
    """``[translate]``: how messages are turned into FHIR."""

    workers: int | None = Field(
        None, ge=0, le=64, description="worker processes; not set: one core is left for writing; 0: in the role's own"
    )
    batch: int = Field(256, ge=1, le=1000, description="messages per transaction at most")
    lease_seconds: float = Field(30.0, gt=0, description="how long a lane stays with a worker that stopped answering")
    lanes: int = Field(16, ge=1, le=64, description="lanes one worker claims at a time")


class RelayTable(FileModel):
    """``[relay]``: how due work is announced."""

    interval_seconds: float = Field(0.5, gt=0, description="how often the rows are looked at when nothing wakes it")
    republish_seconds: float = Field(30.0, gt=0, description="due work announced this long ago is announced again")
    receipt_seconds: float = Field(60.0, gt=0, description="amqp events without receipt this long are published again")


class DeliverTable(FileModel):
    """``[deliver]``: how recipients are served."""

    threads: int = Field(16, ge=1, le=64, description="attempts in flight per recipient and process at most")
    lease_seconds: float = Field(
        180.0,
        gt=0,
        description="longer than two attempts (deadline_seconds of a recipient); not settled by then, it may have"
        " happened",
    )


class BrokerTable(FileModel):
    """``[broker]``: RabbitMQ."""

    ca_file: str = Field("", description="PEM file of the authority of the server's certificate; empty: the system's")
    plain_reason: str = Field(
        "", description="why amqp:// instead of amqps:// to another machine; GATEWAY_BROKER_PLAIN_REASON"
    )
    recipient_queue_bytes: int = Field(256 * 1024 * 1024, ge=1024, description="limit of an amqp recipient's queue")


class AuditTable(FileModel):
    """``[audit]``: sealing the audit trail, which the relay role does."""

    seal_seconds: float = Field(60.0, gt=0, description="how often what was written is sealed")
    lease_seconds: float = Field(180.0, gt=0, description="of several processes one seals; it is given up after")


class AlertWebhookTable(FileModel):
    """``[[alerts.webhooks]]``: who is told by HTTP."""

    name: Id = Field(description="a name for the log, unique among webhooks")
    address: str = Field(pattern=r"^https?://", description="where alerts are posted, as JSON")
    secret_env: str = Field("", description="environment variable with the HMAC key that signs them")
    ca_file: str = Field("", description="authority of the server's certificate, when not a public one")
    plain_reason: str = Field("", description="why http:// instead of https:// to another machine")


class AlertMailTable(FileModel):
    """``[alerts.mail]``: who is told by e-mail."""

    host: str = Field(min_length=1, description="mail server")
    port: int = Field(587, ge=1, le=65535, description="its port")
    tls: Literal["starttls", "tls", "plain"] = Field("starttls", description="plain needs plain_reason elsewhere")
    ca_file: str = Field("", description="authority of the server's certificate, when not a public one")
    plain_reason: str = Field("", description="why without TLS to another machine")
    sender: str = Field(min_length=3, description="From")
    receivers: tuple[str, ...] = Field(min_length=1, description="To")
    user: str = Field("", description="name to log in with; empty: no login")
    password_env: str = Field("", description="environment variable with the password")


class AlertsTable(FileModel):
    """``[alerts]``: of what trouble people are told, by the relay role. The log is always told."""

    look_seconds: float = Field(30.0, gt=0, description="how often is looked; trouble is what two looks have found")
    settle_minutes: float = Field(5.0, ge=0, description="trouble is over when it has stayed away so long")
    waiting_minutes: float = Field(15.0, gt=0, description="what has waited longer means that a queue grows")
    silence_factor: float = Field(1.5, ge=1, description="times a feed's longest silence of two to four weeks")
    least_silence_minutes: float = Field(60.0, gt=0, description="shorter silences of a feed are no trouble")
    disk_free_percent: float = Field(10.0, ge=0, le=100, description="less is free under the data folder")
    certificate_days: float = Field(30.0, ge=0, description="a certificate that the configuration names ends within")
    webhooks: tuple[AlertWebhookTable, ...] = ()
    mail: AlertMailTable | None = None


class LogTable(FileModel):
    """``[log]``: what is written to stderr."""

    format: Literal["console", "json"] = Field("console", description="for a person, or for a collector")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level written")


class GatewayFile(FileModel):
    """``gateway.toml``. Everything has a default but the name of the unit."""

    name: str = Field(description="the unit's name, shown to people")
    data: str = Field("data", description="folder for the embedded database, relative to this file; GATEWAY_DATA")
    database_url: SecretStr = Field(
        SecretStr(""), description="SQLAlchemy URL; empty: SQLite in data; GATEWAY_DATABASE_URL"
    )
    broker_url: SecretStr = Field(
        SecretStr(""), description="amqp:// or amqps:// URL; empty: in one process; GATEWAY_BROKER_URL"
    )
    key_file: str = Field("", description="file made by `gateway keys create`; GATEWAY_KEY_FILE")
    demo: bool = Field(False, description="allows to run without a key file, with keys made on the spot")
    http: HttpTable = HttpTable()
    fhir: FhirTable = FhirTable()
    probes: ProbesTable = ProbesTable()
    translate: TranslateTable = TranslateTable()
    relay: RelayTable = RelayTable()
    deliver: DeliverTable = DeliverTable()
    broker: BrokerTable = BrokerTable()
    audit: AuditTable = AuditTable()
    alerts: AlertsTable = AlertsTable()
    log: LogTable = LogTable()


class AuthorityTable(FileModel):
    """``[authorities.NAME]``: NAME is the HD.1 namespace or HD.2 universal id the site sends in CX-4."""

    system: str = Field(min_length=1, description="identifier system URI")
    joins: bool = Field(True, description="the same identifier from another site is the same person")
    never_store: bool = Field(False, description="identifiers that may exist nowhere but in the encrypted message")


class OrganizationTable(FileModel):
    """``[organization]``: the site's own public identifier."""

    system: str
    value: str


class TlsTable(FileModel):
    """``[feeds.tls]``: PEM files. With client_ca a sender must show a certificate (mutual TLS)."""

    certificate: str
    key: str
    client_ca: str = Field("", description="authority that signs the senders' certificates")
    client_subject: str | tuple[str, ...] = Field(
        (), description="whose certificate is taken: DNS names (without one, common names); * stands for one label"
    )


class FeedTable(FileModel):
    """``[[feeds]]``: one inbound channel of the site."""

    id: Id
    kind: Literal["mllp", "http", "folder"] = "mllp"
    host: str = Field("127.0.0.1", description="mllp: address to bind")
    port: int = Field(2575, ge=0, le=65535, description="mllp: port; 0 takes a free one")
    path: str = Field("", description="folder: where files arrive, relative to the data folder")
    look_seconds: float = Field(1.0, gt=0, description="folder: a file unchanged between two looks is complete")
    tls: TlsTable | None = None
    plain_reason: str = Field("", description="mllp: why other machines may reach this port without TLS")
    takes: tuple[str, ...] = Field((), description="ORU^R01, or ADT for any event; empty: everything")
    versions: tuple[str, ...] = Field((), description="MSH-12 taken; empty: every version")
    processing_ids: tuple[str, ...] = Field(("P",), description="MSH-11 taken")
    unhandled: Literal["accept", "reject"] = Field("accept", description="an event that is not translated")
    conformance: Literal["tolerant", "strict"] = Field("tolerant", description="strict refuses unsound structure")
    acknowledge: Literal["stored", "translated"] = Field("stored", description="when the positive answer leaves")
    translated_within_seconds: float = Field(30.0, gt=0, description="acknowledge = translated: then AE")
    on_store_failure: Literal["close", "reject"] = Field("close", description="what a sender sees: close, or AR 207")
    max_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="largest message")
    frame_timeout_seconds: float = Field(30.0, gt=0, description="a frame that has begun must arrive within")
    idle_timeout_seconds: float | None = Field(None, description="close a silent connection after; not set: never")
    max_connections: int = Field(256, ge=1, description="connections open at a time")
    silent_minutes: float | None = Field(
        None, ge=0, description="a longer silence is told; 0: never; not set: learned from the feed's habits"
    )
    repeat_window_days: int = Field(30, ge=1, description="how long a control id is remembered")
    token_env: str = Field("", description="http: environment variable with the bearer token a sender must show")
    application: str = Field("GATEWAY", description="MSH-3 of acknowledgments")
    facility: str = Field("", description="MSH-4 of acknowledgments")


class SiteFile(FileModel):
    """``sites/<id>.toml``: a sending organisation and what its messages mean."""

    id: Id
    name: str
    zone: Zone = Field(description="IANA time zone, used where the sender writes no offset")
    organization: OrganizationTable | None = None
    charset: Charset = Field("ASCII", description="MSH-18 assumed when the sender declares none (table 0211)")
    windows_1252: bool = Field(False, description="8859/1 or nothing declared really is Windows-1252")
    decimal_comma: bool = Field(False, description="9,8 is nine point eight")
    thousands: str = Field("", max_length=1, description="thousands separator of numbers")
    date_formats: tuple[str, ...] = Field((), description="strptime layouts used against the standard")
    unidentified: Literal["refuse", "hold"] = Field("refuse", description="a message that names no patient or result")
    primary: tuple[str, ...] = Field(min_length=1, description="authorities whose identifier names the patient")
    authorities: dict[str, AuthorityTable] = {}
    coding_systems: dict[str, str] = Field({}, description="local coding system -> URI")
    units: dict[str, str] = Field({}, description="unit as the sender writes it -> UCUM")
    defaults: dict[str, str] = Field({}, description="HL7 table -> FHIR code where the table has none")
    ranks: dict[str, dict[str, int]] = Field({}, description="feed -> resource type -> rank; higher wins")
    consent_purposes: dict[str, tuple[str, ...]] = Field({}, description="study -> purposes CSR-9 stands for")
    studies: dict[str, str] = Field({}, description="sponsor's study id (CSR-1, CTI-1) -> study")
    feeds: tuple[FeedTable, ...] = Field(min_length=1)


class ReleaseTable(FileModel):
    """``[release.TYPE]``: what may leave of one resource type. What is not named stays."""

    elements: tuple[str, ...] = Field(description="element paths, such as code.coding or valueQuantity")
    codes: tuple[str, ...] = Field((), description="system|code an Observation must carry; empty: every code")


class RetryTable(FileModel):
    """``[retry]``: exponential, with jitter."""

    first_seconds: float = Field(2.0, gt=0)
    longest_seconds: float = Field(3600.0, gt=0)
    give_up_days: float = Field(7.0, gt=0)


class RecipientFile(FileModel):
    """``recipients/<id>.toml``: a trial system and all it is entitled to."""

    id: Id
    kind: Literal["fhir_server", "webhook", "amqp", "pull"] = Field(description="pull: asks the FHIR API for itself")
    address: str = Field("", description="base URL of the FHIR server, or URL of the webhook")
    studies: tuple[Id, ...] = Field(min_length=1)
    identity: Literal["identified", "pseudonymous"] = "pseudonymous"
    fhir_version: Literal["R4", "R5"] = "R4"
    blinded: bool = Field(False, description="nothing that reveals an arm may leave")
    purpose: str = Field("CLINTRCH", description="an active consent must cover it (v3-ActReason)")
    statuses: tuple[str, ...] | None = Field(None, description="subject statuses served; default on-study*, follow-up")
    look_back_days: float = Field(0, ge=0, description="data this much older than the consent may leave")
    delivery: Literal["newest", "every-version"] | None = Field(
        None, description="default newest for fhir_server, every-version for webhook and amqp"
    )
    retraction: Literal["mark", "delete"] = Field("mark", description="entered-in-error, or DELETE")
    plain_reason: str = Field("", description="why http:// instead of https:// to another machine")
    secret_env: str = Field("", description="environment variable with the HMAC key or bearer token")
    secret_file: str = Field("", description="file with the HMAC key or bearer token")
    ca_file: str = Field("", description="authority of the recipient's certificate, when not a public one")
    client_certificate: str = Field("", description="PEM file for mutual TLS")
    client_key: str = Field("", description="PEM file of its key")
    timeout_seconds: float = Field(10.0, gt=0, description="how long each wait on the network may take")
    deadline_seconds: float = Field(
        60.0,
        gt=0,
        description="how long an attempt may take in all, however busy the network; [deliver] lease_seconds is longer",
    )
    client_secret: bool = Field(False, description="clients of its views may have a secret instead of a key pair")
    keep_days: float = Field(7.0, gt=0, description="amqp: how long an event waits for its receipt")
    batch: int = Field(500, ge=1, description="entries in one Bundle at most")
    search_by_identifier: bool = Field(False, description="fhir_server: conditional updates by identifier")
    retry: RetryTable = RetryTable()
    release: dict[str, ReleaseTable] = Field(min_length=1, description="resource type -> what may leave")


class CodeRow(FileModel):
    """One row of ``codes/<site>.csv``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    local_code: str = Field(min_length=1, description="OBX-3.1 as sent")
    local_system: str = Field("", description="OBX-3.3 as sent; empty: any")
    local_unit: str = Field("", description="OBX-6 as sent, when one code comes in several meanings; empty: any")
    system: str = Field("", description="standard code system; empty with code: LOINC")
    code: str = Field("", description="standard code, LOINC where there is one")
    display: str = Field("", description="its display")
    gateway_code: str = Field("", description="the unit's own code (GT-...)")
    ucum: str = Field("", description="canonical unit")
    assumed_unit: str = Field("", description="unit to read when none is sent; flagged as assumed")
    low: Decimal | None = Field(None, description="below is implausible and held, in the canonical unit")
    high: Decimal | None = Field(None, description="above is implausible and held")
    method_required: bool = Field(False, description="not comparable without its method (OBX-17)")
    valid_from: date | None = Field(None, description="first day this row holds")
    valid_until: date | None = Field(None, description="last day this row holds")
