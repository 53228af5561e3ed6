from pathlib import Path

import pytest

from mappings.coverage import MAPS
from mappings.pages import FOLDER, main, pages
from mappings.rules import number_of, sources_of

ROOT = Path(__file__).parents[3]


def test_the_published_pages_are_current():
    stored = {each.name: each.read_text(encoding="utf-8") for each in (ROOT / FOLDER).glob("*.md")}

    assert stored == pages(), "run: python -m mappings.pages"


def test_writing_the_pages_removes_what_is_no_longer_made(tmp_path):
    (tmp_path / "OLD.md").write_text("old")

    assert main([str(tmp_path)]) == 0
    assert {each.name for each in tmp_path.iterdir()} == set(pages())


@pytest.mark.parametrize("each", MAPS, ids=lambda each: f"{each.segment}->{each.resource}")
def test_no_field_is_both_read_and_left_out(each):
    read = {number_of(source)[0] for row in each.rows for source in sources_of(row) if source.startswith(each.segment)}

    assert read.isdisjoint({number_of(source)[0] for source in each.not_mapped})
    assert all(reason for reason in (*each.not_mapped.values(), *each.elsewhere.values()))
