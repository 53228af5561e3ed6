"""Reading a configuration folder into plain data, collecting every error with its file and line."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from gateway.errors import ConfigurationError
from gateway.model.recipient import Recipient
from gateway.model.site import CodeMapEntry, Feed, Site
from gateway.settings.convert import entry_of, feed_of, recipient_of, site_of
from gateway.settings.files import CodeRow, GatewayFile, RecipientFile, SiteFile
from gateway.settings.lines import line_of
from gateway.settings.plain import plain_feeds, plain_recipient, plain_servers

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A study as its file holds it: the short id, the ResearchStudy and the PlanDefinition (FHIR R4 JSON)."""

    id: str
    research_study: dict[str, Any]
    plan: dict[str, Any] | None = None
    file: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the configuration folder and the environment say."""

    folder: Path
    gateway: GatewayFile
    data: Path
    database_url: SecretStr
    broker_url: SecretStr
    key_file: Path | None
    sites: Mapping[str, Site] = field(default_factory=dict)
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    recipients: Mapping[str, Recipient] = field(default_factory=dict)
    studies: Mapping[str, StudyFile] = field(default_factory=dict)
    errors: tuple[ConfigurationError, ...] = ()

    @property
    def embedded(self) -> bool:
        """Whether the database is a file of this machine."""
        return self.database_url.get_secret_value().startswith("sqlite")

    @property
    def receivers(self) -> Mapping[str, Recipient]:
        """The recipients to which something is delivered; the others ask for themselves."""
        return {id: recipient for id, recipient in self.recipients.items() if recipient.receives}

    def require_valid(self) -> None:
        """Raise the first ``ConfigurationError``, if there is one."""
        if self.errors:
            raise self.errors[0]


def load(folder: Path, environment: Mapping[str, str]) -> Settings:
    """Read a configuration folder. Errors are collected in ``Settings.errors``, not raised.

    The environment overrides ``gateway.toml``: ``GATEWAY_DATA``, ``GATEWAY_DATABASE_URL``, ``GATEWAY_BROKER_URL``,
    ``GATEWAY_KEY_FILE``, and host, port and plain_reason of [http], [probes] and [broker] (``GATEWAY_HTTP_HOST``).
    Raises ``ConfigurationError`` when there is no readable ``gateway.toml``.
    """
    errors: list[ConfigurationError] = []
    gateway = _read(folder / "gateway.toml", GatewayFile, errors)
    if gateway is None:
        raise errors[0]
    gateway = _placed(_overridden(gateway, environment), folder)
    data = Path(environment.get("GATEWAY_DATA") or folder / gateway.data)
    key_file = environment.get("GATEWAY_KEY_FILE") or gateway.key_file
    sites, feeds = _sites(folder, data, errors)
    studies = _studies(folder, errors)
    recipients = _recipients(folder, studies, errors)
    _check_references(folder, sites, studies, errors)
    _check_ports(folder, feeds, errors)
    errors += _check_deadlines(folder, gateway, recipients)
    database_url = environment.get("GATEWAY_DATABASE_URL") or gateway.database_url.get_secret_value()
    broker_url = environment.get("GATEWAY_BROKER_URL", gateway.broker_url.get_secret_value())
    errors += plain_servers(folder / "gateway.toml", gateway, database_url, broker_url)
    return Settings(
        folder=folder,
        gateway=gateway,
        data=data,
        database_url=SecretStr(database_url or f"sqlite:///{data}/gateway.db"),
        broker_url=SecretStr(broker_url),
        key_file=folder / key_file if key_file else None,
        sites=sites,
        feeds=feeds,
        recipients=recipients,
        studies=studies,
        errors=tuple(errors),
    )


def _overridden(gateway: GatewayFile, environment: Mapping[str, str]) -> GatewayFile:
    """Where each process answers differs from machine to machine, so the environment has the last word."""
    values = gateway.model_dump()
    for table in ("http", "probes"):
        if host := environment.get(f"GATEWAY_{table.upper()}_HOST"):
            values[table]["host"] = host
        if port := environment.get(f"GATEWAY_{table.upper()}_PORT"):
            if not port.isdecimal():
                raise ConfigurationError("environment", f"GATEWAY_{table.upper()}_PORT: {port!r} is not a port")
            values[table]["port"] = int(port)
    for table in ("http", "broker"):
        if reason := environment.get(f"GATEWAY_{table.upper()}_PLAIN_REASON"):
            values[table]["plain_reason"] = reason
    return GatewayFile.model_validate(values)


_FILES: Final = {
    "http": ("certificate", "key", "client_ca"),
    "broker": ("ca_file",),
    "fhir": ("key_sets_ca_file", "subscription_ca_file"),
}


def _placed(gateway: GatewayFile, folder: Path) -> GatewayFile:
    """PEM files are named relative to the folder, here as everywhere."""
    placed = {}
    for table, names in _FILES.items():
        values = getattr(gateway, table)
        paths = {name: str(folder / file) for name in names if (file := getattr(values, name))}
        placed[table] = values.model_copy(update=paths)
    return gateway.model_copy(update=placed)


def _read(path: Path, shape: type[M], errors: list[ConfigurationError]) -> M | None:
    text = _text(path, errors)
    if text is None:
        return None
    try:
        return shape.model_validate(_tuples(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        errors.append(ConfigurationError(str(path), f"is not TOML: {error}"))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            where = ".".join(str(part) for part in problem["loc"])
            what = "there is no such setting" if problem["type"] == "extra_forbidden" else _said(problem["msg"])
            errors.append(ConfigurationError(str(path), f"{where}: {what}", line_of(text, problem["loc"])))
    return None


def _text(path: Path, errors: list[ConfigurationError]) -> str | None:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        errors.append(ConfigurationError(str(path), "is not UTF-8 text: save it as UTF-8", line))
    except OSError as error:
        errors.append(ConfigurationError(str(path), f"cannot be read: {error.strerror or type(error).__name__}"))
    return None


def _said(message: str) -> str:
    """A validator's own words, without its announcement."""
    return message.removeprefix("Value error, ")


def _tuples(value: Any) -> Any:
    """Arrays as tuples, as the frozen models hold them."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _sites(folder: Path, data: Path, errors: list[ConfigurationError]) -> tuple[dict[str, Site], dict[str, Feed]]:
    sites: dict[str, Site] = {}
    feeds: dict[str, Feed] = {}
    for path in sorted((folder / "sites").glob("*.toml")):
        file = _read(path, SiteFile, errors)
        if file is None:
            continue
        if file.id in sites:
            errors.append(ConfigurationError(str(path), f"id: site {file.id!r} is defined twice", 1))
        errors += plain_feeds(path, file.feeds)
        codes = read_codes(folder / "codes" / f"{file.id}.csv", errors)
        sites[file.id] = site_of(file, codes)
        for table in file.feeds:
            if table.id in feeds:
                errors.append(ConfigurationError(str(path), f"feeds: feed {table.id!r} is defined twice", 1))
            feeds[table.id] = feed_of(table, file, folder, data)
    return sites, feeds


def read_codes(path: Path, errors: list[ConfigurationError]) -> tuple[CodeMapEntry, ...]:
    """Read a code map (CSV, UTF-8, header as in ``CodeRow``); a missing file is an empty map."""
    if not path.exists():
        return ()
    entries = []
    reader = csv.DictReader(io.StringIO(_text(path, errors) or ""))
    for row in reader:
        if None in row:
            errors.append(ConfigurationError(str(path), "the row has more columns than the header", reader.line_num))
            continue
        try:
            values = {name: value for name, value in row.items() if value}
            entries.append(entry_of(CodeRow.model_validate(values)))
        except (ValidationError, TypeError) as error:
            what = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "?"}
            where = ".".join(str(part) for part in what["loc"])
            errors.append(ConfigurationError(str(path), f"{where}: {_said(str(what['msg']))}", reader.line_num))
    return tuple(entries)


def _studies(folder: Path, errors: list[ConfigurationError]) -> dict[str, StudyFile]:
    studies: dict[str, StudyFile] = {}
    plans: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "studies").glob("*.json")):
        try:
            resource = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            errors.append(ConfigurationError(str(path), f"is not JSON: {error}"))
            continue
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if kind == "ResearchStudy":
            studies[resource.get("id", path.stem)] = StudyFile(resource.get("id", path.stem), resource, file=str(path))
        elif kind == "PlanDefinition":
            plans[path.stem.removesuffix("-plan")] = resource
        else:
            errors.append(ConfigurationError(str(path), "is neither a ResearchStudy nor a PlanDefinition", 1))
    return {id: replace(study, plan=plans.get(id)) for id, study in studies.items()}


def _recipients(
    folder: Path, studies: Mapping[str, StudyFile], errors: list[ConfigurationError]
) -> dict[str, Recipient]:
    recipients: dict[str, Recipient] = {}
    for path in sorted((folder / "recipients").glob("*.toml")):
        file = _read(path, RecipientFile, errors)
        if file is None:
            continue
        for problem in _recipient_problems(file, studies):
            line = line_of(path.read_text("utf-8"), (problem.split(":")[0],))
            errors.append(ConfigurationError(str(path), problem, line))
        recipients[file.id] = recipient_of(file, folder)
    return recipients


def _recipient_problems(file: RecipientFile, studies: Mapping[str, StudyFile]) -> list[str]:
    problems = [f"studies: {study!r} is no study of studies/" for study in file.studies if study not in studies]
    if file.kind not in ("amqp", "pull") and not file.address.startswith(("http://", "https://")):
        problems.append("address: a URL is needed, http:// or https://")
    if file.kind == "webhook" and not (file.secret_env or file.secret_file):
        problems.append("secret_env: a webhook is signed; name the variable or file that holds its key")
    if problem := plain_recipient(file):
        problems.append(problem)
    return problems


def _check_references(
    folder: Path, sites: Mapping[str, Site], studies: Mapping[str, StudyFile], errors: list[ConfigurationError]
) -> None:
    for site in sites.values():
        path = folder / "sites" / f"{site.id}.toml"
        text = path.read_text("utf-8")
        problems = [("primary", name) for name in site.primary if name not in site.authorities]
        problems += [("studies", id) for id in site.studies.values() if id not in studies]
        problems += [("consent_purposes", id) for id in site.consent_purposes if id not in studies]
        for setting, name in problems:
            what = f"{setting}: {name!r} is not declared in " + ("authorities" if setting == "primary" else "studies/")
            errors.append(ConfigurationError(str(path), what, line_of(text, (setting,))))


def _check_deadlines(
    folder: Path, gateway: GatewayFile, recipients: Mapping[str, Recipient]
) -> Iterator[ConfigurationError]:
    """An attempt may wait for the one before it, and must have ended before its lease does: it would be made twice."""
    lease = gateway.deliver.lease_seconds
    for path in sorted((folder / "recipients").glob("*.toml")):
        recipient = recipients.get(path.stem)
        if recipient is not None and recipient.kind not in ("amqp", "pull") and 2 * recipient.deadline >= lease:
            what = f"deadline_seconds: two attempts may take as long as [deliver] lease_seconds, {lease:g}: raise that"
            yield ConfigurationError(str(path), what, line_of(path.read_text("utf-8"), ("deadline_seconds",)))


def _check_ports(folder: Path, feeds: Mapping[str, Feed], errors: list[ConfigurationError]) -> None:
    """Two feeds cannot listen on one port; 0 takes a free one."""
    taken: dict[tuple[str, int], str] = {}
    for feed in feeds.values():
        if feed.kind != "mllp" or not feed.port:
            continue
        first = taken.setdefault((feed.host, feed.port), feed.id)
        if first != feed.id:
            path = folder / "sites" / f"{feed.site}.toml"
            errors.append(ConfigurationError(str(path), f"feeds: {feed.id!r} has the port of {first!r}, {feed.port}"))
