import pytest

from gateway.fhir.narrative import check_narrative

OPEN = '<div xmlns="http://www.w3.org/1999/xhtml">'


@pytest.mark.parametrize(
    "div",
    [
        f"{OPEN}x</div>",
        f"{OPEN}<p class='a'>x &amp; y &#169;<br/></p><!-- a remark --></div>",
        f'\n{OPEN}<table><tr><td colspan="2">x</td></tr></table></div>',
        f'{OPEN}<img src="#photo" alt="" /></div>',
    ],
)
def test_plain_formatting_may_stand_in_a_narrative(div):
    assert check_narrative(div) == ""


@pytest.mark.parametrize(
    "div",
    [
        "x",
        "<div>x</div>",
        f"{OPEN}</div>",
        f"{OPEN}<p>x</div>",
        f"{OPEN}x</div>y",
        f"{OPEN}x</div><div>y</div>",
        f"{OPEN}x",
        f"{OPEN}<script>x</script></div>",
        f"{OPEN}<p onclick='x'>x</p></div>",
        f"{OPEN}<a href=' javascript:x'>x</a></div>",
        f"{OPEN}<?php x ?></div>",
        f"{OPEN}&lol;</div>",
        f"<!DOCTYPE x>{OPEN}x</div>",
        f"{OPEN}<p title=x>x</p></div>",
        f"{OPEN}a < b</div>",
    ],
)
def test_what_could_run_or_is_malformed_may_not(div):
    assert check_narrative(div)
