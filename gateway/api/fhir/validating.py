"""``$validate`` (FHIR R4, 3.1.0 operations on resources): what would come of a write, without writing.

The answer is 200 with an OperationOutcome, whatever is found. Where ``mode`` says create, update or delete, what the
write itself would be refused for is found, too; without it no write is thought of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gateway.api.fhir.bodies import check_may, decoded
from gateway.api.fhir.exchange import Asked, Rule, Told, told
from gateway.errors import InvalidResource, RequestRefused
from gateway.fhir.faults import faults
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.services.commit import Office
from gateway.services.wanted import Letter, Wanted

_MODES: Final = ("create", "update", "delete", "profile")
_LETTERS: Final = {"create": "c", "update": "u", "delete": "d"}
_BASE_PROFILE: Final = "http://hl7.org/fhir/StructureDefinition/"


def validating_rules(office: Office, types: tuple[str, ...] = ()) -> list[Rule]:
    """Return the routes. ``types``: those that are served; any other is validated by ``$validate`` of the system."""
    validating = _Validating(office)
    return [
        Rule("POST", "$validate", "$validate", validating.validate),
        Rule("POST", "{type}/$validate", "$validate", validating.validate, types=types),
        Rule("POST", "{type}/{id}/$validate", "$validate", validating.validate, types=types),
    ]


class _Validating:
    def __init__(self, office: Office) -> None:
        self._office = office

    def validate(self, asked: Asked) -> Told:
        """Return what is wrong with a resource, or with the writing of it."""
        resource, mode, profiles = _parts(asked)
        issues = list(_of_profiles(resource, profiles))
        if mode != "delete":
            if resource is None:
                raise RequestRefused(400, "required", "there is no resource to validate")
            if asked.type and resource.get("resourceType") != asked.type:
                issues.append(Issue(f"is not a {asked.type}", "invalid", "error", ("resourceType",)))
            issues += faults(resource, asked.release)
        if not any(issue.severity == "error" for issue in issues):
            issues += self._rehearsed(asked, resource, mode)
        return told(operation_outcome(issues))

    def _rehearsed(self, asked: Asked, resource: dict[str, Any] | None, mode: str) -> list[Issue]:
        """Return what the write would be refused for."""
        if mode not in _LETTERS:
            return []
        type = asked.type or str(resource.get("resourceType") if resource else "")
        letter = Letter(asked.base, asked.release, asked.caller, b"", "")
        try:
            check_may(asked, type, _LETTERS[mode])
            self._office.rehearse([_wanted(mode, type, asked.id, resource)], letter)
        except RequestRefused as error:
            return [Issue(error.what, error.code, "error", error.expression)]
        except InvalidResource as error:
            return [Issue.of(error)]
        return []


def _wanted(interaction: str, type: str, id: str, resource: dict[str, Any] | None) -> Wanted:
    if interaction == "delete":
        return Wanted("delete", type, id)
    if interaction == "update":
        return Wanted("update", type, id or str((resource or {}).get("id", "")), body=resource, if_match="*")
    return Wanted("create", type, body=resource)


def _parts(asked: Asked) -> tuple[dict[str, Any] | None, str, list[str]]:
    """Return resource, mode and profiles: of Parameters, of the URL, or the body is the resource itself."""
    read = decoded(asked.body) if asked.body else None
    said = dict(asked.parameters)
    mode, profiles = said.get("mode", ""), [said["profile"]] if "profile" in said else []
    if isinstance(read, dict) and read.get("resourceType") == "Parameters" and asked.type != "Parameters":
        listed = read.get("parameter")
        parts = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        mode = next((str(one.get("valueCode", "")) for one in parts if one.get("name") == "mode"), mode)
        profiles += [str(_uri(one)) for one in parts if one.get("name") == "profile"]
        read = next((one.get("resource") for one in parts if one.get("name") == "resource"), None)
    if read is not None and not isinstance(read, dict):
        raise RequestRefused(400, "structure", "the resource is not a JSON object")
    if mode and mode not in _MODES:
        raise RequestRefused(400, "value", f"mode is one of {', '.join(_MODES)}", ("mode",))
    return read, mode, profiles


def _uri(one: dict[str, Any]) -> Any:
    return one.get("valueUri") or one.get("valueCanonical") or one.get("valueUrl")


def _of_profiles(resource: dict[str, Any] | None, profiles: list[str]) -> Iterator[Issue]:
    """Yield that a profile is not known: an error where it is asked for, a warning where the resource claims it."""
    meta = (resource or {}).get("meta")
    claimed = meta.get("profile") if isinstance(meta, dict) else None
    said = [(one, "error") for one in profiles]
    said += [(one, "warning") for one in claimed if isinstance(one, str)] if isinstance(claimed, list) else []
    kind = str((resource or {}).get("resourceType", ""))
    for profile, severity in said:
        if profile != _BASE_PROFILE + kind:
            what = "this profile is not known here; the resource was checked against FHIR itself"
            yield Issue(what, "not-supported", severity, ("Resource.meta.profile",))
