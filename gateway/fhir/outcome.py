"""OperationOutcome: how the FHIR side says what went wrong (FHIR R4, OperationOutcome)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import InvalidResource

_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue. ``severity``: fatal, error, warning, information; ``code``: of issue-type. No personal data.

    ``expression`` are element paths, as ``Observation.referenceRange[0]``.
    """

    diagnostics: str
    code: str = "processing"
    severity: str = "error"
    expression: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: InvalidResource) -> Issue:
        """Return the issue a failed check is."""
        return cls(error.what, "invalid", "error", (error.path,) if error.path else ())


def operation_outcome(issues: Iterable[Issue]) -> dict[str, Any]:
    """Return an OperationOutcome; without issues it says, as information, that all is well.

    >>> operation_outcome([Issue("no such patient", "not-found")])["issue"]
    [{'severity': 'error', 'code': 'not-found', 'diagnostics': 'no such patient'}]
    """
    told = list(issues) or [Issue("no issues", "informational", "information")]
    return {"resourceType": "OperationOutcome", "issue": [_issue(issue) for issue in told]}


def _issue(issue: Issue) -> dict[str, Any]:
    told: dict[str, Any] = {"severity": issue.severity, "code": issue.code}
    if issue.diagnostics:
        told["diagnostics"] = issue.diagnostics
    # A parameter's name is the sender's own: not every name can be written in JSON that is FHIR.
    if expression := [one[:_LONGEST] for one in issue.expression if one.isprintable() and one.strip()]:
        told["expression"] = expression
    return told
