"""Which study a sponsor's study id means: one of the configuration, or one that nobody declared."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from gateway.hl7v2.message import Field
from gateway.model.names import STUDY_ID
from mappings.context import Context, Draft, shared_draft

WORKFLOW_STUDY: Final = "http://hl7.org/fhir/StructureDefinition/workflow-researchStudy"
"""FHIR's extension for "made as part of this study"."""


class NamedStudy(NamedTuple):
    """A study a message names: its id in the configuration (``""``: not declared) and a Reference to it."""

    id: str
    reference: dict[str, Any]


def study_of(found: Field, context: Context) -> NamedStudy | None:
    """Return the study of CSR-1, CSR-2 or CTI-1 (an ``EI``); None when it names none.

    A study the site profile declares is the one of the configuration: the message states nothing about it. Any other
    becomes a ResearchStudy of this site alone, with a gap.
    """
    value = found.component(1)
    if not value:
        return None
    if declared := context.site.studies.get(value):
        return NamedStudy(declared, {"reference": f"ResearchStudy/{context.common_id('ResearchStudy', declared)}"})
    namespace = found.component(2) or found.component(3)
    context.gap("study", value, system=namespace)
    reference = context.share(("undeclared study", namespace, value), lambda: _undeclared(namespace, value, context))
    return NamedStudy("", reference) if reference else None


def _undeclared(namespace: str, value: str, context: Context) -> Draft:
    draft = shared_draft("ResearchStudy", context.id("ResearchStudy", namespace, value))
    system = context.site.scoped("study", namespace) if namespace else f"{STUDY_ID}/{context.site.id}"
    draft.body["identifier"] = [{"system": system, "value": value}]
    draft.body["status"] = "active"
    return draft
