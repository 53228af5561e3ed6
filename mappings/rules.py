"""The mapping engine: rows as data, compiled to closures once.

A ``Row`` takes one field to one element through a converter; a ``Rule`` is a named function over a segment, for
everything with two fields or a condition. A ``SegmentMap`` holds both in the order HL7 publishes them, beside the
reasons for the fields left out; its ``apply`` fills a ``Draft``. ``coded`` makes the converter of an element that takes
one FHIR code (``datatypes/cwe.py`` has those of CodeableConcepts); the tables are CSV files in ``mappings/tables``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import UnmappedCode
from gateway.hl7v2.message import Field, Segment
from gateway.model.translation import Trace
from mappings.context import Context, Draft
from mappings.repeating import extended
from mappings.tables import Table, load

__all__ = ["Context", "Converter", "Draft", "Row", "Rule", "SegmentMap", "code_of", "coded", "optional_code"]

Converter = Callable[[Field, Context], Any]
"""One valued repetition of a field to a FHIR value; None: nothing to say."""

SegmentRule = Callable[[Segment, Context], Any]
"""A segment to a FHIR value; None: nothing to say."""

_NULL: Final = '""'

Step = Callable[[Segment, Context, Draft], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One field to one element.

    ``source`` is ``PID-3`` or, for a component read as a field, ``SPM-2.1``. ``target`` is an element of the resource,
    dotted below the first level. ``repeats``: the element is a list, and every repetition of the field adds to it.
    ``note`` goes into the published table.
    """

    source: str
    target: str
    convert: Converter
    repeats: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Several fields, or a condition, to one element.

    ``sources`` name a field of the segment first; fields of other segments may follow, for the published table.
    ``target`` as in ``Row``; a choice written ``value[x]`` means that the function returns a dict of whole elements.
    ``repeats``: the element is a list and the function returns a list, which is added to it. ``removes`` are the
    elements taken away when a source is nulled (``""``) and the function has nothing to say; by default the target.
    """

    sources: tuple[str, ...]
    target: str
    rule: SegmentRule
    repeats: bool = False
    note: str = ""
    removes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentMap:
    """How a segment becomes (part of) a resource.

    ``not_mapped`` gives the reason for every field left out on purpose, ``elsewhere`` names the fields that a message
    rule reads and what for. Both are published and keep ``--report`` quiet.
    """

    segment: str
    resource: str
    rows: Sequence[Row | Rule]
    not_mapped: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    plan: tuple[tuple[int, Step], ...] = field(init=False, repr=False, compare=False)
    """What the rows compile to: the field that must be valued (0: none must) and the step to take then."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", tuple(_compile(row) for row in self.rows))

    def apply(self, segment: Segment, context: Context, draft: Draft) -> None:
        """Add to ``draft`` what the segment says. Raises ``MappingError`` where a value cannot become FHIR."""
        outer = context.current
        context.current = draft
        context.segment = segment
        fields = segment.fields()
        last = len(fields) - 1
        for number, step in self.plan:
            if number == 0 or (number <= last and fields[number]):
                step(segment, context, draft)
        context.current = outer

    def of_fields(self, *numbers: int) -> SegmentMap:
        """Return the map of those rows that read no field of the segment but these."""
        rows = [row for row in self.rows if self._own_fields(row) <= set(numbers)]
        return SegmentMap(self.segment, self.resource, rows)

    def _own_fields(self, row: Row | Rule) -> set[int]:
        return {number_of(source)[0] for source in sources_of(row) if source.startswith(f"{self.segment}-")}

    def known_fields(self) -> frozenset[int]:
        """Return the numbers of the segment's fields that are read, or left out for a reason."""
        sources = [source for row in self.rows for source in sources_of(row)]
        own = [source for source in (*sources, *self.not_mapped, *self.elsewhere) if source.startswith(self.segment)]
        return frozenset(number_of(source)[0] for source in own)


def sources_of(row: Row | Rule) -> tuple[str, ...]:
    """Return the fields a row or rule reads."""
    return (row.source,) if isinstance(row, Row) else row.sources


def number_of(source: str) -> tuple[int, int]:
    """Split a source into the numbers of field and component (0: the whole field).

    >>> number_of("PID-3"), number_of("SPM-2.1")
    ((3, 0), (2, 1))
    """
    number, _, component = source.partition("-")[2].partition(".")
    return int(number), int(component or 0)


def _compile(row: Row | Rule) -> tuple[int, Step]:
    if isinstance(row, Rule):
        return 0, _compile_rule(row)
    number, _ = number_of(row.source)
    return number, _compile_repeating(row) if row.repeats else _compile_single(row)


def _compile_single(row: Row) -> Step:
    number, component = number_of(row.source)
    convert, target = row.convert, row.target
    element = target.partition(".")[0]
    put = _putter(target)

    def step(segment: Segment, context: Context, draft: Draft) -> None:
        found = segment.field(number)
        if not found:
            return
        context.number = number
        context.repetition = 1
        if found.raw == _NULL:
            draft.removes |= {element}
            return
        value = convert(found.nested(component) if component else found, context)
        if value is None:
            return
        put(draft.body, value)
        if context.tracing:
            _trace(context, draft, target)

    return step


def _compile_repeating(row: Row) -> Step:
    number, component = number_of(row.source)
    convert, target = row.convert, row.target
    element = target.partition(".")[0]
    put = _putter(target, repeats=True)

    def step(segment: Segment, context: Context, draft: Draft) -> None:
        context.number = number
        for at, found in enumerate(segment.all_repeats(number), start=1):
            if not found:
                continue
            context.repetition = at
            if found.raw == _NULL:
                draft.removes |= {element}
                continue
            value = convert(found.nested(component) if component else found, context)
            if value is None:
                continue
            put(draft.body, value)
            if context.tracing:
                _trace(context, draft, target)

    return step


def _compile_rule(row: Rule) -> Step:
    segment_name = row.sources[0].partition("-")[0]
    numbers = tuple(number_of(source)[0] for source in row.sources if source.startswith(segment_name))
    first = numbers[0]
    rule, target = row.rule, row.target
    removes = row.removes or (target.partition(".")[0],)
    put = _putter(target, repeats=row.repeats)

    def step(segment: Segment, context: Context, draft: Draft) -> None:
        context.number = first
        context.repetition = 1
        value = rule(segment, context)
        if value is not None and value != []:
            put(draft.body, value)
            if context.tracing:
                context.number = first
                _trace(context, draft, target)
        elif _NULL in segment.line and any(segment.raw(number) == _NULL for number in numbers):
            draft.removes = draft.removes.union(removes)

    return step


def _putter(target: str, *, repeats: bool = False) -> Callable[[dict[str, Any], Any], None]:
    *parents, last = target.split(".")

    def put_choice(body: dict[str, Any], value: Any) -> None:
        _below(body, parents).update(value)

    def put_repeating(body: dict[str, Any], value: Any) -> None:
        holder = _below(body, parents) if parents else body
        if last not in holder and not isinstance(value, list):
            holder[last] = [value]
        else:
            holder[last] = extended(holder.get(last, []), value if isinstance(value, list) else [value])

    def put_single(body: dict[str, Any], value: Any) -> None:
        holder = _below(body, parents) if parents else body
        holder[last] = value

    if last.endswith("[x]"):
        return put_choice
    return put_repeating if repeats else put_single


def _below(body: dict[str, Any], parents: Sequence[str]) -> dict[str, Any]:
    for parent in parents:
        body = body.setdefault(parent, {})
    return body


def _trace(context: Context, draft: Draft, target: str) -> None:
    place = str(context.place())
    context.traces.append(Trace(f"{draft.type}/{draft.id}", f"{draft.type}.{target}", place))


# --- coded fields ---------------------------------------------------------------------------------------------------


def coded(table_name: str, *, unknown: str = "") -> Converter:
    """Return a converter for an element that takes one FHIR code only; as ``code_of``.

    Raises ``FileNotFoundError`` at start when there is no such table.
    """
    table = load(table_name)

    def convert(found: Field, context: Context) -> str:
        return code_of(table, found.component(1), context, unknown=unknown)

    convert.__name__ = f"coded({table_name!r})"
    convert.__doc__ = f"table {table.number}" + (f"; {unknown} where the table has no code" if unknown else "")
    return convert


def code_of(table: Table, value: str, context: Context, *, unknown: str = "") -> str:
    """Return the FHIR code for a value of the field being read.

    What the table has no code for becomes the site's default for the table, else ``unknown`` where the value set has
    such a code, and is listed as a gap. Raises ``UnmappedCode`` when there is neither.
    """
    target = table.targets.get(value)
    if target is not None:
        return target.code
    default = context.site.defaults.get(table.number) or unknown
    if not default:
        raise UnmappedCode(f"table {table.number} has no FHIR code for {value!r}", context.place(1))
    context.gap("table", value, system=table.system)
    return default


def optional_code(table: Table, value: str, context: Context) -> str | None:
    """Return the FHIR code for a value of an optional element; None, with a gap, when the table does not list it.

    A code that the table lists without a FHIR code (its comment says why) is left out without a gap.
    """
    if not value or value in table.without:
        return None
    target = table.targets.get(value)
    if target is not None:
        return target.code
    context.gap("table", value, system=table.system)
    return context.site.defaults.get(table.number)
