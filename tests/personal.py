"""What is personal in messages, by HL7 field, and finding it again wherever it must not be.

Names, identifiers, birth dates, addresses, telephones, account and visit numbers of patients and of who treats them,
and whatever somebody wrote in words.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from gateway.hl7v2.message import parse

FIRST, NAME, PERSON, ADDRESS, TELECOM = (1,), (1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4, 5), (1, 4, 5, 6, 7, 8, 9, 12)
"""Components of a field: the first; of XPN; of XCN; of XAD; of XTN."""

FIELDS = {
    "PID": {
        **dict.fromkeys((2, 3, 4, 18, 19, 20, 21), FIRST),
        **dict.fromkeys((5, 6, 9), NAME),
        **dict.fromkeys((7, 23), FIRST),
        11: ADDRESS,
        **dict.fromkeys((13, 14), TELECOM),
    },
    "PD1": {4: PERSON},
    "NK1": {**dict.fromkeys((2, 30), NAME), **dict.fromkeys((4, 32), ADDRESS), **dict.fromkeys((5, 6, 31), TELECOM)},
    "MRG": {**dict.fromkeys((1, 2, 3, 4, 5, 6), FIRST), 7: NAME},
    "PV1": {**dict.fromkeys((7, 8, 9, 17, 52), PERSON), **dict.fromkeys((5, 19, 50), FIRST)},
    "OBR": dict.fromkeys((10, 16, 28, 32, 33, 34, 35), PERSON),
    "ORC": dict.fromkeys((10, 11, 12, 19), PERSON),
    "OBX": {16: PERSON},
    "CSR": {4: FIRST, 5: FIRST, 7: PERSON, 8: PERSON},
    "ROL": {4: PERSON},
    "GT1": {3: NAME, 5: ADDRESS, 6: TELECOM, 7: TELECOM, 8: FIRST, 12: FIRST},
    "IN1": {16: NAME, 18: FIRST, 19: ADDRESS, 36: FIRST, 49: FIRST},
    "NTE": {3: FIRST},
}
NUMBERED = re.compile(r"[A-Z]+-\d+")
"""The number of a subject, and of a patient at a referring centre."""

IN_WORDS = {"ST", "TX", "FT"}
"""OBX-2 of results that are text."""


def personal_data(messages):
    """Return what is personal in these messages, as texts to look for."""
    found = set()
    for sent in messages:
        for segment in parse(sent.raw).segments:
            fields = FIELDS.get(segment.name, {})
            if segment.name == "OBX" and segment.value(2) in IN_WORDS:
                fields = {**fields, 5: FIRST}
            for number, components in fields.items():
                for field in segment.repeats(number):
                    for one in components:
                        found |= _forms(field.component(one))
    return {text for text in found if _is_telling(text)}


def subject_numbers(messages):
    """Return the numbers that studies gave their subjects: their pseudonyms, which a trial system knows."""
    return {
        segment.value(number)
        for sent in messages
        for segment in parse(sent.raw).segments
        for number in (4, 5)
        if segment.name == "CSR" and segment.value(number)
    }


class Finder:
    """Finds texts however they are written: in either case, percent-encoded, or escaped as JSON does."""

    def __init__(self, texts):
        ordered = sorted(texts, key=lambda text: (-len(text), text))
        self._any = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, ordered))})(?!\w)", re.IGNORECASE)

    def __call__(self, text):
        """Return what of it stands in a text."""
        plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
        return sorted({found for form in {text, plain, unquote(plain)} for found in self._any.findall(form)})


def _forms(value):
    """A value as it stands, a date also as FHIR writes it, and of a longer text every three words in a row."""
    words = value.split()
    forms = {value, *(" ".join(words[at : at + 3]) for at in range(len(words) - 2))}
    if re.fullmatch(r"(18|19|20)\d{6}", value):
        forms.add(f"{value[:4]}-{value[4:6]}-{value[6:]}")
    return forms


def _is_telling(text):
    """Whether a text can be told from others: short numbers and codes stand everywhere."""
    return sum(map(str.isalpha, text)) >= 4 or sum(map(str.isdecimal, text)) >= 6 or bool(NUMBERED.fullmatch(text))
