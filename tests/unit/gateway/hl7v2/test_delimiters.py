import pytest

from gateway.errors import Unreadable
from gateway.hl7v2.delimiters import Delimiters, read_delimiters


def test_the_usual_delimiters_are_read():
    assert read_delimiters("MSH|^~\\&|LAB") == Delimiters()


def test_a_sender_may_choose_its_own_delimiters():
    found = read_delimiters("MSH@*#!:@LAB@")

    assert (found.field, found.component, found.repetition, found.escape, found.subcomponent) == tuple("@*#!:")
    assert found.truncation == ""


def test_the_fifth_encoding_character_is_the_truncation_character_of_2_7():
    found = read_delimiters("MSH|^~\\&#|LAB")

    assert found.truncation == "#"
    assert found.encoding_characters == "^~\\&#"


def test_what_a_short_msh_2_does_not_name_does_not_exist():
    found = read_delimiters("MSH|^~|LAB")

    assert (found.repetition, found.escape, found.subcomponent) == ("~", "", "")


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("MSH", "MSH-1"),
        ("MSHA^~\\&ALAB", "MSH-1"),
        ("MSH ^~\\& LAB", "MSH-1"),
        ("MSH\t^~\\&\tLAB", "MSH-1"),
        ("MSH||LAB", "MSH-2"),
        ("MSH|^~\\&#$|LAB", "MSH-2"),
        ("MSH|^^\\&|LAB", "MSH-2"),
        ("MSH|^~\\A|LAB", "MSH-2"),
        ("MSH|^~ &|LAB", "MSH-2"),
        ("MSH|^~\\é|LAB", "MSH-2"),
    ],
)
def test_unreadable_delimiters_are_named_by_their_place(header, place):
    with pytest.raises(Unreadable) as caught:
        read_delimiters(header)

    assert str(caught.value.place) == place
