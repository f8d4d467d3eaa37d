"""The Jinja environments: no value slips through bare."""

from __future__ import annotations

import math

import pytest
from jinja2 import Environment, UndefinedError
from markupsafe import Markup

from faultload.report.templating import code, html_environment, markdown_environment

ENVIRONMENTS = [html_environment(), markdown_environment()]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_none_and_nan_are_said_to_be_missing(environment: Environment) -> None:
    """A value that no filter caught still reads "no data"."""
    text = environment.from_string("{{ a }}, {{ b }}, {{ c }}").render(a=None, b=math.nan, c=0)

    assert text == "no data, no data, 0"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_misspelt_name_is_an_error(environment: Environment) -> None:
    """A template cannot print nothing for a name that does not exist."""
    with pytest.raises(UndefinedError):
        environment.from_string("{{ absent }}").render()


def test_html_escapes_text_and_keeps_drawings() -> None:
    """Plain text is escaped; what we drew ourselves is not escaped twice."""
    template = html_environment().from_string("{{ a }}{{ b }}")

    assert template.render(a="<b>\x00", b=Markup("<svg/>")) == "&lt;b&gt;�<svg/>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "`a`"), ("a`b", "``a`b``"), ("`a`", "`` `a` ``"), ("a|b\nc", r"`a\|b c`"), ("", "` `")],
)
def test_code_cannot_end_early(text: str, expected: str) -> None:
    """Back-ticks, bars and newlines stay inside the code."""
    assert code(text) == expected
