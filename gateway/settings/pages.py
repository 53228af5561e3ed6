"""``docs/settings.md``, made from the models: ``python -m gateway.settings.pages``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.settings import files

_FILES: Final = (
    ("gateway.toml", files.GatewayFile),
    ("gateway.toml, [http]", files.HttpTable),
    ("gateway.toml, [fhir]", files.FhirTable),
    ("gateway.toml, [probes]", files.ProbesTable),
    ("gateway.toml, [translate]", files.TranslateTable),
    ("gateway.toml, [relay]", files.RelayTable),
    ("gateway.toml, [deliver]", files.DeliverTable),
    ("gateway.toml, [broker]", files.BrokerTable),
    ("gateway.toml, [audit]", files.AuditTable),
    ("gateway.toml, [alerts]", files.AlertsTable),
    ("gateway.toml, [[alerts.webhooks]]", files.AlertWebhookTable),
    ("gateway.toml, [alerts.mail]", files.AlertMailTable),
    ("gateway.toml, [log]", files.LogTable),
    ("sites/*.toml", files.SiteFile),
    ("sites/*.toml, [authorities.NAME]", files.AuthorityTable),
    ("sites/*.toml, [organization]", files.OrganizationTable),
    ("sites/*.toml, [[feeds]]", files.FeedTable),
    ("sites/*.toml, [feeds.tls]", files.TlsTable),
    ("recipients/*.toml", files.RecipientFile),
    ("recipients/*.toml, [retry]", files.RetryTable),
    ("recipients/*.toml, [release.TYPE]", files.ReleaseTable),
    ("codes/SITE.csv", files.CodeRow),
)

_HEAD: Final = """# Settings

Every setting of the configuration folder. This page is made from the program: `python -m gateway.settings.pages`.
`gateway check --config FOLDER` validates a folder and names file and line of every error.

The environment overrides `gateway.toml`: `GATEWAY_CONFIG` (the folder), `GATEWAY_DATA`, `GATEWAY_DATABASE_URL`,
`GATEWAY_BROKER_URL`, `GATEWAY_KEY_FILE`, `GATEWAY_HTTP_HOST`, `GATEWAY_HTTP_PORT`, `GATEWAY_PROBES_HOST`,
`GATEWAY_PROBES_PORT`, `GATEWAY_HTTP_PLAIN_REASON`, `GATEWAY_BROKER_PLAIN_REASON`, and `GATEWAY_INSTANCE` (a name for
this process that stays the same across restarts).
"""


def settings_page() -> str:
    """Return the page, in Markdown."""
    return _HEAD + "".join(_table(title, model) for title, model in _FILES)


def _table(title: str, model: type[BaseModel]) -> str:
    lines = [
        f"\n## {title}\n",
        f"{(model.__doc__ or '').splitlines()[0]}\n",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {_default(field)} | {_meaning(field)} |" for name, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{list(value) if isinstance(value, tuple) else value}`" if value not in (None, "") else "-"


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|") or "-"


if __name__ == "__main__":
    Path("docs/settings.md").write_text(settings_page(), "utf-8")
