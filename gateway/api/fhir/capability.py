"""The CapabilityStatement: made from the routes and the search parameters there are (FHIR R4, CapabilityStatement)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from gateway import __version__
from gateway.api.fhir.documents import BINARY
from gateway.api.fhir.exchange import UNSTEADY, Asked, Rule, Told, told
from gateway.fhir.search.parameters import includes, parameters, revincludes, types
from gateway.fhir.subscriptions import IG
from gateway.services.seen import Release
from gateway.services.topics import TOPICS

FHIR_VERSIONS: Final = {"R4": "4.0.1", "R5": "5.0.0"}
INTERACTIONS: Final = (
    "read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type",
)  # fmt: skip
"""Those of a type, in the order of the value set type-restful-interaction."""

SYSTEM: Final = ("transaction", "batch", "search-system", "history-system")
_SERVICE: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_DOCUMENTS: Final = (
    "A read or vread that names no FHIR type (Accept, _format) is answered with the content in its own type. There is "
    "no search: a document is found by its DocumentReference, whose content.attachment.url says where it is."
)
_TOPIC: Final = f"{IG}/StructureDefinition/capabilitystatement-subscriptiontopic-canonical"
_VIEWS: Final = (
    "Each client sees what its views may see; what it may not see does not exist for it. Search matches what is seen: "
    "where a view knows patients by pseudonyms nobody can be found by a name, a day of birth or a hospital identifier; "
    "a Patient has its subject number (identifier), its sex (gender) and its year of birth (birthdate) there."
)
_DEFINITIONS: Final = "http://hl7.org/fhir/OperationDefinition/"


def capability_rules(rules: Sequence[Rule], started_at: datetime) -> list[Rule]:
    """Return the route of ``/metadata``, which tells of these rules; ``started_at`` (UTC) dates the statement."""
    statement = _Statement(rules, started_at)
    return [Rule("GET", "metadata", "capabilities", statement.told, open=True)]


class _Statement:
    def __init__(self, rules: Sequence[Rule], started_at: datetime) -> None:
        self._rules = rules
        self._date = started_at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def told(self, asked: Asked) -> Told:
        """Return the CapabilityStatement of the release asked for."""
        return told(self.of(asked.release, asked.base))

    def of(self, release: Release, base: str) -> dict[str, Any]:
        """Return what is supported at a base URL."""
        rules = [rule for rule in self._rules if release in rule.releases]
        rest: dict[str, Any] = {
            "mode": "server",
            "documentation": _VIEWS,
            "security": {
                "cors": False,
                "service": [{"coding": [{"system": _SERVICE, "code": "SMART-on-FHIR"}]}],
                "description": "SMART Backend Services: .well-known/smart-configuration",
            },
            "resource": [_resource(release, type, rules) for type in types(release) if _served(rules, type)],
        }
        if system := [{"code": one} for one in SYSTEM if any(rule.interaction == one for rule in rules)]:
            rest["interaction"] = system
        if operations := [_operation(rule) for rule in rules if rule.path.startswith("$")]:
            rest["operation"] = _each_once(operations)
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": self._date,
            "kind": "instance",
            "software": {"name": "Trial Gateway", "version": __version__},
            "implementation": {"description": "Trial Gateway", "url": base},
            "fhirVersion": FHIR_VERSIONS[release],
            "format": ["json"],
            "patchFormat": ["application/json-patch+json", "application/fhir+json"],
            "rest": [rest],
        }


def _served(rules: Sequence[Rule], type: str) -> bool:
    return any(rule.serves(type) for rule in rules)


def _resource(release: Release, type: str, rules: Sequence[Rule]) -> dict[str, Any]:
    here = [rule for rule in rules if rule.serves(type)]
    done = {rule.interaction for rule in here}
    told: dict[str, Any] = {
        "type": type,
        "interaction": [{"code": one} for one in INTERACTIONS if one in done],
        "versioning": "versioned-update" if "update" in done else "versioned",
        "readHistory": "vread" in done,
        "updateCreate": False,
        "conditionalCreate": "create" in done,
        "conditionalRead": "not-supported" if type in UNSTEADY else "not-match",
        "conditionalUpdate": "update" in done,
        "conditionalDelete": "single" if "delete" in done else "not-supported",
        "referencePolicy": ["literal", "local"],
    }
    if "search-type" in done:
        told["searchInclude"] = list(includes(release, type))
        told["searchRevInclude"] = list(revincludes(release, type))
        told["searchParam"] = [
            {"name": one.name, "definition": one.url, "type": one.type} for one in parameters(release, type).values()
        ]
    if type == BINARY:
        told["documentation"] = _DOCUMENTS
    if type == "Subscription":
        told["extension"] = [{"url": _TOPIC, "valueCanonical": url} for url in TOPICS]
    if operations := [_operation(rule) for rule in here if "$" in rule.path]:
        told["operation"] = _each_once(operations)
    return {name: value for name, value in told.items() if value not in ([], None)}


def _operation(rule: Rule) -> dict[str, str]:
    name = rule.path.rpartition("$")[2].partition("/")[0]
    return {"name": name, "definition": rule.definition or f"{_DEFINITIONS}{name}"}


def _each_once(operations: list[dict[str, str]]) -> list[dict[str, str]]:
    return list({one["name"]: one for one in operations}.values())
