import pytest

from gateway.model.site import Authority
from mappings.datatypes.cx import cx_identifier
from mappings.datatypes.national import CODICE_FISCALE, CPF
from tests.translating import SITE, context, field, findings


def site():
    return context(authorities={"MEF": Authority(CODICE_FISCALE), "RF": Authority(CPF)})


@pytest.mark.parametrize(
    "sent", ["DNGNCL19C14Z999I^^^MEF^NN", "DNGNCL19C14Z99VX^^^MEF^NN", "11144477735^^^RF^NI", "7^^^OTHER^NI"]
)
def test_a_well_formed_number_says_nothing(sent):
    made = site()

    assert cx_identifier(field(sent), made)["value"] == sent.partition("^")[0]
    assert not made.findings


@pytest.mark.parametrize("sent", ["DNGNCL19C14Z999X^^^MEF^NN", "DNGNCL19^^^MEF^NN", "11144477700^^^RF^NI"])
def test_a_wrong_check_digit_is_said_and_the_number_kept(sent):
    made = site()

    assert cx_identifier(field(sent), made)["value"] == sent.partition("^")[0]
    assert findings(made) == ["the national number is not well formed: its check digit or length is wrong"]


@pytest.mark.parametrize("kind", ["STP", "ENI"])
def test_a_temporary_code_is_never_taken_for_the_codice_fiscale(kind):
    made = site()

    assert cx_identifier(field(f"{kind}0303210000017^^^MEF^NN"), made)["system"] == SITE.scoped("identifier", kind)
    assert len(made.findings) == 1
