"""The segment groups of a message: which OBX belongs to which OBR, which NTE to which OBX."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.hl7v2.conformance import check, resolved
from gateway.hl7v2.message import Message, Segment
from gateway.hl7v2.shapes import Shape, fit
from gateway.model.translation import Finding

__all__ = ["Group", "check", "group"]


class Group:
    """A segment group (or the whole message): its segments and groups in the order of the message.

    It is a view of where they stand; groups in it are made when they are asked for, as most never are.
    """

    __slots__ = ("_of_message", "_within", "name")

    def __init__(self, name: str, within: Sequence[int | Shape], of_message: list[Segment]) -> None:
        self.name = name
        self._within = within
        self._of_message = of_message

    @property
    def children(self) -> list[Segment | Group]:
        """The segments and groups that stand directly in this group."""
        segments = self._of_message
        return [segments[child] if isinstance(child, int) else self._group(child) for child in self._within]

    def segments(self, name: str) -> list[Segment]:
        """Return the segments of that name that stand directly in this group."""
        own = [self._of_message[child] for child in self._within if isinstance(child, int)]
        return [segment for segment in own if segment.name == name]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of that name that stands directly in this group."""
        for child in self._within:
            if isinstance(child, int) and (segment := self._of_message[child]).name == name:
                return segment
        return None

    def groups(self, name: str) -> list[Group]:
        """Return the groups of that name that stand directly in this group."""
        shapes = [child for child in self._within if not isinstance(child, int)]
        return [self._group(shape) for shape in shapes if shape.layout.name == name]

    def all_segments(self) -> list[Segment]:
        """Return every segment in this group and the groups in it, in the order of the message."""
        if not self._within:
            return []
        first, last = self._within[0], self._within[-1]
        start = first if isinstance(first, int) else first.start()
        end = last if isinstance(last, int) else last.end()
        return self._of_message[start : end + 1]  # whatever stands between belongs to a group that is open then

    def _group(self, shape: Shape) -> Group:
        return Group(shape.layout.name, shape.children, self._of_message)


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
        root = Group(message.structure, range(len(segments)), segments)
    else:
        fitted = fit(reading.layout, tuple([segment.name for segment in segments]))
        root = Group(fitted.root.name, fitted.root.children, segments)
        findings += [
            Finding(str(segments[position].place()), f"{reading.structure} has no such segment here")
            for position in fitted.stray
        ]
    message.findings += findings
    return root
