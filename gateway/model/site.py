"""A sending site: what its messages mean. Facts only, read from ``sites/*.toml`` and the code maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal
from urllib.parse import quote

from gateway.model.names import SITE_SYSTEM


@dataclass(frozen=True, slots=True)
class Authority:
    """An assigning authority (HD) and the identifier system it stands for.

    ``joins``: the same identifier from another site is the same person (ARCHITECTURE, Identity).
    ``never_store``: identifiers of this authority exist nowhere outside the encrypted raw message.
    """

    system: str
    joins: bool = True
    never_store: bool = False


@dataclass(frozen=True, slots=True)
class CodeMapEntry:
    """One row of a code map: a sender's code and unit, and what they mean while the row is valid.

    ``system`` is the sender's OBX-3.3 (``L``, ``LIS``; empty: any); ``unit`` the sender's unit as written (empty: any).
    ``codings`` are ``(system, code, display)`` in order of preference; ``ucum`` the canonical unit the value is
    converted to; ``assumed_unit`` the unit to read when the sender sends none. ``low``/``high`` are plausibility
    bounds in ``ucum``: a value outside is held for a person. ``valid_until`` is the last day.
    """

    code: str
    codings: tuple[tuple[str, str, str], ...]
    system: str = ""
    unit: str = ""
    ucum: str = ""
    assumed_unit: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    method_required: bool = False
    valid_from: date | None = None
    valid_until: date | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """A sending organisation. ``zone`` is an IANA name, used where the sender writes no offset.

    ``authorities``: HD.1 namespace or HD.2 universal id -> Authority. ``primary``: the authorities (same keys) whose
    identifier names the patient, best first. ``coding_systems``: local coding system (OBX-3.3) -> URI.
    ``units``: unit as the sender writes it -> UCUM. ``defaults``: ``"0085"`` (HL7 table) -> FHIR code used where the
    table has none for the sent value. ``ranks``: feed id -> resource type -> rank (higher wins, default 0).
    ``consent_purposes``: study id -> purposes (v3-ActReason codes) that a signed consent (CSR-9) covers.
    ``studies``: sponsor's study id (CSR-1/CTI-1 EI.1) -> study id of ``studies/*.json``.
    ``date_formats``: extra date layouts (``strptime``) this site uses against the standard.
    ``unidentified``: a message that names no patient, or no result, fails; or is kept apart from all others, held.
    ``windows_1252``: 8859/1 or an undeclared character set really is Windows-1252.
    """

    id: str
    name: str
    zone: str
    organization: tuple[str, str] | None = None
    charset: str = "ASCII"
    windows_1252: bool = False
    decimal_comma: bool = False
    thousands: str = ""
    authorities: Mapping[str, Authority] = field(default_factory=dict)
    primary: tuple[str, ...] = ()
    coding_systems: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    ranks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    consent_purposes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    studies: Mapping[str, str] = field(default_factory=dict)
    date_formats: tuple[str, ...] = ()
    unidentified: Literal["refuse", "hold"] = "refuse"
    codes: tuple[CodeMapEntry, ...] = ()

    def authority_of(self, namespace: str, universal_id: str = "") -> Authority | None:
        """Return the declared authority for an HD, by its universal id or else its namespace; None: not declared."""
        return self.authorities.get(universal_id) or self.authorities.get(namespace)

    def scoped(self, kind: str, name: str) -> str:
        """Return a system URI that belongs to this site alone, for an authority or code system it does not declare."""
        return f"{SITE_SYSTEM}/{self.id}/{kind}/{quote(name, safe='') or 'unnamed'}"

    def rank(self, feed: str, resource_type: str) -> int:
        """Return how much a feed's word counts for a resource type; higher wins."""
        return self.ranks.get(feed, {}).get(resource_type, 0)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of one socket. Paths to PEM files; ``client_ca`` asks for a client certificate (mutual TLS).

    ``client_subject``: whose certificate a sender must show (bound to the site): DNS names or common names.
    """

    certificate: str
    key: str
    client_ca: str = ""
    client_subject: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feed:
    """One inbound channel of a site. Times in seconds, sizes in bytes. INTERFACES, Acknowledgments."""

    id: str
    site: str
    kind: Literal["mllp", "http", "folder"] = "mllp"
    host: str = "127.0.0.1"
    port: int = 2575
    path: str = ""
    tls: Tls | None = None
    takes: tuple[str, ...] = ()
    """Message types taken, ``ORU^R01`` or ``ADT`` (any event); empty: every type."""
    versions: tuple[str, ...] = ()
    processing_ids: tuple[str, ...] = ("P",)
    unhandled: Literal["accept", "reject"] = "accept"
    conformance: Literal["tolerant", "strict"] = "tolerant"
    acknowledge: Literal["stored", "translated"] = "stored"
    on_store_failure: Literal["close", "reject"] = "close"
    max_bytes: int = 16 * 1024 * 1024
    frame_timeout: float = 30.0
    idle_timeout: float | None = None
    max_connections: int = 256
    silent_minutes: float | None = None
    """A longer silence is told (0: never); None: learned from the feed's habits."""
    repeat_window_days: int = 30
    application: str = "GATEWAY"
    facility: str = ""
    translated_within: float = 30.0
    """``acknowledge = "translated"``: how long the answer waits before it is AE."""
    look_seconds: float = 1.0
    """folder: time between two looks; a file that did not change in between is complete."""
    token_env: str = ""
    """http: environment variable that holds the bearer token a sender must show."""
