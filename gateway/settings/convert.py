"""From the shape a person writes to the plain data the gateway works with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from gateway.model.names import LOINC, OBSERVATION_CODES
from gateway.model.recipient import Recipient, ReleaseRule, Retry
from gateway.model.site import Authority, CodeMapEntry, Feed, Site, Tls
from gateway.model.study import ON_STUDY
from gateway.settings.files import CodeRow, FeedTable, RecipientFile, SiteFile, TlsTable


def site_of(file: SiteFile, codes: tuple[CodeMapEntry, ...]) -> Site:
    """Return the site a file describes, with its code map."""
    values: dict[str, Any] = {
        name: getattr(file, name) for name in SiteFile.model_fields if name not in {"feeds", "organization"}
    }
    values["authorities"] = {name: Authority(**table.model_dump()) for name, table in file.authorities.items()}
    organization = (file.organization.system, file.organization.value) if file.organization else None
    return Site(**values, organization=organization, codes=codes)


def feed_of(table: FeedTable, file: SiteFile, folder: Path, data: Path) -> Feed:
    """Return one feed of a site; paths are made absolute (PEM files below the folder, arrivals below the data)."""
    renamed = {"tls", "frame_timeout_seconds", "idle_timeout_seconds", "translated_within_seconds"}
    renamed |= {"path", "facility", "plain_reason"}
    values: dict[str, Any] = table.model_dump(exclude=renamed)
    return Feed(
        **values,
        site=file.id,
        tls=_tls(table.tls, folder) if table.tls else None,
        path=str(data / table.path) if table.path else "",
        facility=table.facility or file.id.upper(),
        frame_timeout=table.frame_timeout_seconds,
        idle_timeout=table.idle_timeout_seconds,
        translated_within=table.translated_within_seconds,
    )


def _tls(table: TlsTable, folder: Path) -> Tls:
    return Tls(
        certificate=str(folder / table.certificate),
        key=str(folder / table.key),
        client_ca=str(folder / table.client_ca) if table.client_ca else "",
        client_subject=(table.client_subject,) if isinstance(table.client_subject, str) else table.client_subject,
    )


def entry_of(row: CodeRow) -> CodeMapEntry:
    """Return the code map entry of a CSV row: the standard code first, the unit's own after it."""
    codings = []
    if row.code:
        codings.append((row.system or LOINC, row.code, row.display))
    if row.gateway_code:
        codings.append((OBSERVATION_CODES, row.gateway_code, row.display))
    return CodeMapEntry(
        code=row.local_code,
        codings=tuple(codings),
        system=row.local_system,
        unit=row.local_unit,
        ucum=row.ucum,
        assumed_unit=row.assumed_unit,
        low=row.low,
        high=row.high,
        method_required=row.method_required,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )


_SAME = (
    "id",
    "kind",
    "studies",
    "identity",
    "address",
    "fhir_version",
    "blinded",
    "purpose",
    "retraction",
    "secret_env",
    "batch",
    "search_by_identifier",
    "client_secret",
)
_PATHS = ("secret_file", "ca_file", "client_certificate", "client_key")


def recipient_of(file: RecipientFile, folder: Path) -> Recipient:
    """Return the recipient a file describes; paths are made absolute, durations timedeltas."""
    values: dict[str, Any] = {name: getattr(file, name) for name in _SAME}
    values |= {name: str(folder / value) if (value := getattr(file, name)) else "" for name in _PATHS}
    values["delivery"] = file.delivery or ("newest" if file.kind == "fhir_server" else "every-version")
    return Recipient(
        **values,
        release={name: ReleaseRule(rule.elements, rule.codes) for name, rule in file.release.items()},
        statuses=file.statuses or ON_STUDY,
        look_back=timedelta(days=file.look_back_days),
        timeout=file.timeout_seconds,
        deadline=file.deadline_seconds,
        keep=timedelta(days=file.keep_days),
        retry=Retry(
            timedelta(seconds=file.retry.first_seconds),
            timedelta(seconds=file.retry.longest_seconds),
            timedelta(days=file.retry.give_up_days),
        ),
    )
