import pytest

from mappings.datatypes.xad import xad_address
from mappings.datatypes.xpn import xpn_human_name
from mappings.datatypes.xtn import xtn_contact_point
from tests.translating import context, field, gaps


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (
            "Rossi^Ada^Maria^Jr^Dr^PhD^L",
            [
                {
                    "use": "official",
                    "family": "Rossi",
                    "given": ["Ada", "Maria"],
                    "prefix": ["Dr"],
                    "suffix": ["Jr", "PhD"],
                }
            ],
        ),
        ("MAHMOUD HASSAN ALI", [{"family": "MAHMOUD HASSAN ALI"}]),
        ("^Suharto", [{"given": ["Suharto"]}]),
        ("Van Dijk&Van&Dijk^Anna", [{"family": "Van Dijk", "given": ["Anna"]}]),
        ("D'Àngeli^Niccolò", [{"family": "D'Àngeli", "given": ["Niccolò"]}]),
        ("Rossi^Ada^^^^^S", [{"family": "Rossi", "given": ["Ada"]}]),
        (
            "Rossi^Ada^^^^^^^^^^20200101^20210101",
            [{"family": "Rossi", "given": ["Ada"], "period": {"start": "2020-01-01", "end": "2021-01-01"}}],
        ),
        ("Rossi^Ada^^^^^^^^^^^^^Dada", [{"family": "Rossi", "given": ["Ada"]}, {"use": "nickname", "given": ["Dada"]}]),
        ("^^^^^^L", None),
    ],
)
def test_a_name_keeps_its_parts(sent, names):
    made = context()

    assert xpn_human_name(field(sent), made) == names
    assert not made.gaps


def test_spellings_of_one_name_are_told_apart():
    (name,) = xpn_human_name(field("عبد الرحمن^محمد^^^^^L^I"), context())

    assert name["extension"][0]["valueCode"] == "IDE"


def test_a_use_that_no_table_lists_is_left_out_with_a_gap():
    made = context()

    assert "use" not in xpn_human_name(field("Rossi^Ada^^^^^Q"), made)[0]
    assert gaps(made) == [("table", "PID-3", "Q")]


@pytest.mark.parametrize(
    ("sent", "address"),
    [
        (
            "Via Roma 1&Via Roma&1^Scala B^Milano^MI^20100^ITA^H^^Centro",
            {
                "use": "home",
                "line": ["Via Roma 1", "Via Roma", "1", "Scala B"],
                "city": "Milano",
                "district": "Centro",
                "state": "MI",
                "postalCode": "20100",
                "country": "ITA",
            },
        ),
        ("^^Milano^^^^M", {"type": "postal", "city": "Milano"}),
        ("^^Milano^^^^L", {"city": "Milano"}),
        ("^^^^^^H", None),
    ],
)
def test_an_address_keeps_its_parts(sent, address):
    assert xad_address(field(sent), context()) == address


@pytest.mark.parametrize(
    ("sent", "contact"),
    [
        ("+39 02 1234^PRN^PH", {"system": "phone", "value": "+39 02 1234", "use": "home"}),
        ("^NET^Internet^ada@mail.example", {"system": "email", "value": "ada@mail.example"}),
        ("^^^ada@mail.example", {"system": "email", "value": "ada@mail.example", "use": "home"}),
        ("^PRN^PH^^39^02^1234^5", {"system": "phone", "value": "+39 02 1234 X5", "use": "home"}),
        ("^PRN^PH^^^^1234", {"system": "phone", "value": "1234", "use": "home"}),
        ("333 1234^PRN^CP", {"system": "phone", "value": "333 1234", "use": "mobile"}),
        ("02 1234", {"system": "phone", "value": "02 1234", "use": "home"}),
        ("^^^^^^^^^^^02 99", {"system": "phone", "value": "02 99", "use": "home"}),
        ("02 7^WPN^FX^^^^^^^^^^^^^^^2", {"system": "fax", "value": "02 7", "use": "work", "rank": 2}),
        ("^PRN^PH", None),
    ],
)
def test_a_telecom_value_is_found_wherever_the_sender_put_it(sent, contact):
    assert xtn_contact_point("home")(field(sent), context()) == contact
