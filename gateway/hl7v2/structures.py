"""The segment groups of a message: which OBX belongs to which OBR, which NTE to which OBX."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.hl7v2.conformance import check, resolved
from gateway.hl7v2.message import Message, Segment
from gateway.hl7v2.shapes import Shape, fit
from gateway.model.translation import Finding

__all__ = ["Group", "check", "group"]


@dataclass(slots=True)
class Group:
    """A segment group (or the whole message): its segments and groups in the order of the message."""

    name: str
    children: list[Segment | Group] = field(default_factory=list)

    def segments(self, name: str) -> list[Segment]:
        """Return the segments of that name that stand directly in this group."""
        return [child for child in self.children if child.name == name and isinstance(child, Segment)]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of that name that stands directly in this group."""
        for child in self.children:
            if child.name == name and isinstance(child, Segment):
                return child
        return None

    def groups(self, name: str) -> list[Group]:
        """Return the groups of that name that stand directly in this group."""
        return [child for child in self.children if child.name == name and isinstance(child, Group)]

    def all_segments(self) -> list[Segment]:
        """Return every segment in this group and the groups in it, in the order of the message."""
        found: list[Segment] = []
        for child in self.children:
            if isinstance(child, Segment):
                found.append(child)
            else:
                found += child.all_segments()
        return found


def group(message: Message) -> Group:
    r"""Return the message as groups, by the structure of its event and version (the nearest version that has it).

    No segment is ever lost: a Z segment, or one that fits nowhere, stays in the group where it appears; the latter,
    and a version or structure that had to be guessed, are added to the findings of the message (once). A message of
    unknown structure gives one group with all segments. Group names are those of the standard without the structure's
    name: PATIENT_RESULT (2.3's RESPONSE too), PATIENT, ORDER_OBSERVATION, OBSERVATION, SPECIMEN.

    >>> from gateway.hl7v2.message import parse_text
    >>> root = group(parse_text("MSH|^~\\&|||||||ORU^R01|1|P|2.5.1\rPID|1\rOBR|1\rNTE|1\rOBX|1\rNTE|2"))
    >>> order = root.groups("PATIENT_RESULT")[0].groups("ORDER_OBSERVATION")[0]
    >>> order.segments("NTE"), order.groups("OBSERVATION")[0].segments("NTE")
    ([<Segment NTE>], [<Segment NTE[2]>])
    """
    if message.grouped is None:
        message.grouped = _group(message)
    return message.grouped


def _group(message: Message) -> Group:
    segments = message.segments
    reading = resolved(message)
    findings = [Finding(str(message.msh.place(number)), words) for number, words in reading.remarks]
    if reading.layout is None:
        root = Group(message.structure, list(segments))
    else:
        fitted = fit(reading.layout, tuple([segment.name for segment in segments]))
        root = _build(fitted.root, segments)
        findings += [
            Finding(str(segments[position].place()), f"{reading.structure} has no such segment here")
            for position in fitted.stray
        ]
    message.findings += findings
    return root


def _build(shape: Shape, segments: list[Segment]) -> Group:
    children = [segments[child] if isinstance(child, int) else _build(child, segments) for child in shape.children]
    return Group(shape.layout.name, children)
