from datetime import date

import pytest

from gateway.model.site import CodeMapEntry
from mappings.codes import CodeMap, UnitText, is_valid, site_unit
from tests.translating import SITE

ANY = CodeMapEntry("CD4", (("s", "any", ""),))
PERCENT = CodeMapEntry("CD4", (("s", "percent", ""),), unit="%")
ABSOLUTE = CodeMapEntry("CD4", (("s", "absolute", ""),), unit="cell/mm3")
OF_LIS = CodeMapEntry("CD4", (("s", "lis", ""),), system="LIS")
DAY = date(2026, 3, 12)


def unit(text: str) -> UnitText:
    return site_unit(SITE, text)


@pytest.mark.parametrize(
    ("system", "sent", "expected"),
    [
        ("L", "%", "percent"),
        ("L", "cell/mm3", "absolute"),
        ("L", "cells/uL", "absolute"),  # the same unit, spelt otherwise
        ("L", "mg/L", "any"),
        ("L", "", "any"),
        ("LIS", "%", "lis"),
    ],
)
def test_the_most_telling_row_wins(system, sent, expected):
    found = CodeMap([ANY, PERCENT, ABSOLUTE, OF_LIS]).find("CD4", system, unit(sent), DAY)

    assert found is not None
    assert found.codings[0][1] == expected


def test_among_equals_the_first_row_wins():
    first, second = (CodeMapEntry("A", (("s", name, ""),)) for name in ("person", "imported"))

    assert CodeMap([first, second]).find("A", "L", unit(""), DAY) is first


def test_a_code_with_rows_for_other_units_only_is_not_mapped():
    assert CodeMap([PERCENT]).find("CD4", "L", unit("mg/L"), DAY) is None


def test_a_code_of_another_system_is_not_mapped():
    assert CodeMap([OF_LIS]).find("CD4", "L", unit("%"), DAY) is None


def test_a_code_that_was_reused_means_what_it_meant_that_day():
    old = CodeMapEntry("CD4", (("s", "old", ""),), valid_until=date(2025, 6, 30))
    new = CodeMapEntry("CD4", (("s", "new", ""),), valid_from=date(2025, 7, 1))
    code_map = CodeMap([new, old])

    assert code_map.find("CD4", "L", unit(""), date(2025, 6, 30)) is old
    assert code_map.find("CD4", "L", unit(""), date(2025, 7, 1)) is new


@pytest.mark.parametrize(("day", "valid"), [(1, False), (2, True), (9, True), (10, False)])
def test_the_first_and_the_last_day_count(day, valid):
    entry = CodeMapEntry("A", (), valid_from=date(2026, 1, 2), valid_until=date(2026, 1, 9))

    assert is_valid(entry, date(2026, 1, day)) is valid


def test_a_site_says_what_its_own_spelling_means():
    from dataclasses import replace

    assert site_unit(replace(SITE, units={"pz": "1"}), "pz") == UnitText("pz", "1")
    assert site_unit(SITE, "pz") == UnitText("pz", "")
