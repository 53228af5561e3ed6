"""However a result is put together, it says what the segment map says, and it is valid FHIR R4."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.fhir.checks import validate
from gateway.fhir.codec import decode
from gateway.model.site import Authority, Feed
from mappings.rules import sources_of
from mappings.segments.obx import OBX_OBSERVATION
from mappings.segments.obx_parts import MEASURED, STANDING
from mappings.segments.obx_whole import EACH_TIME
from mappings.translator import SiteTranslator
from tests.bench.figures import SIZES, message
from tests.resulting import LAB, OBR
from tests.translating import PID, RECEIVED, SITE, text

SITES = {
    "commas": LAB,
    "points": replace(LAB, id="points", decimal_comma=False, thousands=""),
    "north": replace(SITE, id="north", authorities={"NORTH": Authority("urn:oid:2.999.3")}, primary=("NORTH",)),
}
FEEDS = {name: Feed(name, site.id) for name, site in SITES.items()}
BY_ID = {site.id: site for site in SITES.values()}
TRANSLATOR = SiteTranslator(BY_ID, FEEDS, b"k" * 32)
SEGMENT_MAP = SiteTranslator(BY_ID, FEEDS, b"k" * 32, trace=True)
"""Says which field each element came from, for which every OBX goes through the segment map."""

TIMES = ["", "20260312080000", "202603120800+0100", "2026", "20260230", "202603290230", '""', "20270101120000", "x"]
OBX = st.tuples(
    st.sampled_from(["1", ""]),
    st.sampled_from(["NM", "NM", "NM", "ST", "SN", "CWE", "TX", "DT", "TM", "NR", "NA", "RP", "ED", "", "XX"]),
    st.sampled_from(
        ["HB^Emoglobina^L", "PLT^Piastrine^L", "718-7^Hb^LN", "718-8^Hb^LN", "X^Test^L", "CD4^CD4^L", "IDUA^IDUA^L",
         "VCN^Copie^L", "IGE^IgE^L", "GMFM^Punti^L", "^^^HB^Emoglobina^L", "", '""'],
    ),
    st.sampled_from(["", "1", "a", "1~2"]),
    st.sampled_from(
        ["13.2", "13,2", "1.250", "-0", "0.00000001", "007", "1e3", "5000000", "n.d.", "not measured", "12~13", "<5",
         "^5", "<^5", ">=^5000000", "=^5", "<^0.50^", ">=^2^-^3", "giallo", "cellule è", "1+",
         "POS^positivo^L", "a\\T\\b\\.br\\c", "\x01", " ", '""', "", "20260312", "0830",
         "1^2", "https://x.example/1^^application^pdf", "^text^plain^A^hello"],
    ),
    st.sampled_from(["g/dL", "g/L", "10*3/uL", "cell/mm3", "furlong", "", "%^^UCUM", "10^9/L", '""']),
    st.sampled_from(["", "12-16", "12,0-16,0", "<5", "negative", "1-2~3-4", " ", "x\x02"]),
    st.sampled_from(["", "N", "H", "HH~A", "ZZ", "A^Abn^L", '""']),
    st.just(""),
    st.sampled_from(["", "", "A", "ZZ"]),
    st.sampled_from(["F", "F", "F", "P", "C", "X", "D", "W", "ZZ", ""]),
    st.just(""),
    st.just(""),
    st.sampled_from(TIMES),
    st.sampled_from(["", "CORE^Core laboratory^L", "^Core"]),
    st.sampled_from(["", "A1^Rossi^Mario", "A1^Rossi^Mario~A2^Verdi^Ugo", '""']),
    st.sampled_from(["", "IMP^Impedance^L", "IMP^Impedance^L~KIN", '""']),
    st.just(""),
    st.sampled_from([*TIMES, "20260312080100~20260312080100~20260312080200"]),
    st.sampled_from(["", "", "ARM^Arm^L"]),
    st.sampled_from(["", "", "", "R77^LIS"]),
    st.just(""),
    st.sampled_from(["", "", "Core laboratory^^9"]),
).map(lambda fields: "|".join(("OBX", *fields)).rstrip("|"))  # fmt: skip
AFTER = st.sampled_from(
    ["NTE|1|L|A note", "CTI|MLD-01^SC|P1^Phase^L|V1^Visit^L", "OBR|2|A78|L92|PLT^Piastrine^L|||2026", OBR]
)
LINES = st.lists(st.one_of(OBX, OBX, OBX, AFTER), min_size=1, max_size=5)
LAST = st.sampled_from(
    [(), ("SPM|1|P1^S1||BLD^Blood^L|||||||||||||20260312",), ("SPM|1||||||||||||||||", "OBX|9|NM|HB||1")]
)


def _said(made):
    """What a translation says; gaps have no order."""
    return structs.replace(made, trace=(), gaps=tuple(sorted(made.gaps, key=repr)))


@settings(max_examples=150)
@given(lines=LINES, twice=st.booleans(), last=LAST, feed=st.sampled_from(["commas", "points"]))
def test_a_result_put_together_says_what_the_segment_map_says(lines, twice, last, feed):
    raw = text(PID, OBR, *lines, *(lines if twice else ()), *last, kind="ORU^R01^ORU_R01").encode()
    expected = SEGMENT_MAP.translate(raw, feed, RECEIVED)

    for _ in range(2):  # the second time everything that is kept is there
        made = TRANSLATOR.translate(raw, feed, RECEIVED)
        assert _said(made) == _said(expected)
    for statement in made.statements:
        validate(decode(statement.body))


@settings(max_examples=40)
@given(number=st.integers(0, 10**6), size=st.sampled_from(SIZES))
def test_a_usual_message_becomes_valid_fhir(number, size):
    raw = message(number, size=size)
    made = TRANSLATOR.translate(raw, "north", RECEIVED)

    assert _said(made) == _said(SEGMENT_MAP.translate(raw, "north", RECEIVED))
    assert sum(statement.type == "Observation" for statement in made.statements) == 20
    for statement in made.statements:
        validate(decode(statement.body))


def test_every_row_of_the_segment_map_is_applied():
    each_time = [row for row in OBX_OBSERVATION.rows if sources_of(row)[0] in EACH_TIME]
    assert len(each_time) == len(EACH_TIME)
    assert sorted(map(repr, [*MEASURED.rows, *STANDING.rows, *each_time])) == sorted(map(repr, OBX_OBSERVATION.rows))
