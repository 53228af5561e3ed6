import random

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group as OracleGroup
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from gateway.hl7v2.events import GROUPS
from gateway.hl7v2.message import Segment, parse_text
from gateway.hl7v2.reference import resolve
from gateway.hl7v2.structures import check, group

SOUND = (
    "MSH|^~\\&|LIS|HOSP|GW|CRU|20260312101500+0100||ORU^R01^ORU_R01|1|P|2.5.1",
    "PID|1||77^^^HOSP^MR||Rossi^Anna||20190314|F",
    "OBR|1|O1|F1|58410-2^CBC^LN|||20260312090000",
    "OBX|1|NM|6690-2^WBC^LN||9.8|10*3/uL|||||F|||20260312",
)


def places(*segments):
    return [(str(error.place), error.code) for error in check(parse_text("\r".join(segments)))]


def replaced(name, line):
    return [line if segment.startswith(name) else segment for segment in SOUND]


def test_a_sound_message_has_no_errors():
    assert places(*SOUND) == []
    assert places(*SOUND, "ZXY|anything|goes") == []


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        (replaced("OBR", "ORC|RE"), [("OBR", "100")]),
        ([*SOUND, "MRG|1^^^HOSP"], [("MRG", "100")]),
        ([*SOUND, "OBR|2|O2|F2|X^Y^L", "PV1|1|I"], [("PV1", "100")]),
        (SOUND[:2], [("OBR", "100")]),
        ([*SOUND[:3], "OBX|1|NM|WBC||1||||||F", "PID|1||8||A", "OBX|1|ST|X||1||||||F"], [("OBR[2]", "100")]),
        (replaced("PID", "PID|1||||Rossi^Anna"), [("PID-3", "101")]),
        (replaced("PID", "PID|1||^^^~ ||Rossi^Anna"), [("PID-3", "101")]),
        (replaced("PID", "PID|1||7||Rossi||20190314~20190315|F"), [("PID-7[2]", "102")]),
        (replaced("PID", "PID|1||7||Rossi||20191399|F"), [("PID-7", "102")]),
        (replaced("PID", 'PID|1||7||Rossi||""|F'), []),
        (replaced("PID", "PID|one||7||Rossi"), [("PID-1", "102")]),
        (replaced("OBX", "OBX|1|NM|W||9,8||||||F"), [("OBX-5", "102")]),
        (replaced("OBX", "OBX|1|NM|W||9~.5~x||||||F"), [("OBX-5[3]", "102")]),
        (replaced("OBX", "OBX|1|TM|W||2560||||||F"), [("OBX-5", "102")]),
        (replaced("OBX", "OBX|1|DT|W||202602~2026022~20260228||||||F"), [("OBX-5[2]", "102")]),
        (replaced("OBX", "OBX|1|TS|W||202602281030+0100~2026-02-28||||||F"), [("OBX-5[2]", "102")]),
        (replaced("OBX", "OBX|1|ST|W||anything||||||F"), []),
        (replaced("OBX", "OBX|1|ST|W||x"), [("OBX-11", "101")]),
    ],
)
def test_each_breach_is_named_by_place_and_code(segments, expected):
    assert places(*segments) == expected


def test_no_error_repeats_a_value():
    errors = check(parse_text("\r".join(replaced("PID", "PID|Rossi||7||Rossi||Rossi|F"))))

    assert errors
    assert not any("Rossi" in str(error) for error in errors)


def test_the_fields_of_a_message_of_unknown_structure_are_checked_alone():
    assert places("MSH|^~\\&|||||2026||XYZ^X01|1|P|2.5.1", "OBX|1|ST|X||1") == [("OBX-11", "101")]


# --- hl7apy as oracle ------------------------------------------------------------------------------------------------


def walk(layout, chance):
    """Return the names of a random message that keeps to the structure."""
    names = []
    for item in [chance.choice(layout.items)] if layout.choice else layout.items:
        most = item.most or 2
        for _ in range(max(chance.choice([item.least, chance.randint(item.least, most)]), int(layout.choice))):
            names += [item.name] if item.group is None else walk(item.group, chance)
    return names


def outline(found):
    """Return each group that has segments of its own: its name and their names."""
    own = [child.name for child in found.children if isinstance(child, Segment)]
    inner = [line for child in found.children if not isinstance(child, Segment) for line in outline(child)]
    return ([(found.name, own)] if own else []) + inner


def oracle_outline(found, structure):
    own = [child.name for child in found.children if not isinstance(child, OracleGroup)]
    inner = [line for c in found.children if isinstance(c, OracleGroup) for line in oracle_outline(c, structure)]
    name = found.name.removeprefix(structure + "_")
    return ([(GROUPS.get((structure, name), name), own)] if own else []) + inner


CASES = [
    (kind, event, version, seed)
    for kind, event in (("ORU", "R01"), ("ADT", "A01"), ("ADT", "A40"), ("CRM", "C01"))
    for version in ("2.3.1", "2.5.1", "2.7")
    for seed in range(4)
]


@pytest.mark.parametrize(("kind", "event", "version", "seed"), CASES)
def test_any_message_that_keeps_to_its_structure_is_grouped_as_hl7apy_does(kind, event, version, seed):
    resolved = resolve(kind, event, "", version)
    names = walk(resolved.layout, random.Random(seed))
    head = f"MSH|^~\\&|A|B|C|D|2026||{kind}^{event}^{resolved.structure}|1|P|{version}"
    text = "\r".join([head, *(f"{name}|" for name in names[1:])])
    message = parse_text(text)

    assert [error for error in check(message) if error.code == "100"] == []
    oracle = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    assert outline(group(message)) == oracle_outline(oracle, resolved.structure)


def oracle_accepts(text):
    try:
        parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    except HL7apyException:
        return False
    return True


FULL = {
    "MSH": "MSH|^~\\&|LIS|HOSP|GW|CRU|20260312101500||ORU^R01^ORU_R01|1|P|2.5",
    "PID": "PID|1||77^^^HOSP^MR||Rossi^Anna||20190314|F",
    "PV1": "PV1|1|I",
    "ORC": "ORC|RE",
    "OBR": "OBR|1|O1|F1|58410-2^CBC^LN",
    "OBX": "OBX|1|NM|6690-2^WBC^LN||9.8|10*3/uL|||||F",
    "NTE": "NTE|1|L|seen",
}


@pytest.mark.parametrize("seed", range(25))
def test_what_hl7apy_refuses_for_structure_required_fields_or_repetition_is_refused(seed):
    chance = random.Random(seed)
    lines = [FULL[name] for name in ("MSH", "PID", "PV1", "ORC", "OBR", "NTE", "OBX", "NTE", "OBX", "OBR", "OBX")]
    index = chance.randrange(1, len(lines))
    fields = lines[index].split("|")
    field = chance.randrange(1, len(fields))
    mutation = chance.choice(["drop segment", "drop field", "repeat field", "none"])
    if mutation == "drop segment":
        del lines[index]
    elif mutation != "none":
        fields[field] = "" if mutation == "drop field" else f"{fields[field]}~{fields[field]}"
        lines[index] = "|".join(fields)
    text = "\r".join(lines)

    if not check(parse_text(text)):
        assert oracle_accepts(text)
