"""The Jinja environments: HTML with autoescape, Markdown with its own, both without silent gaps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from faultload.report import formats

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~$])")
_FILTERS: dict[str, Callable[..., str]] = {
    "ms": formats.milliseconds,
    "s": formats.seconds,
    "offset": formats.offset,
    "pct": formats.percent,
    "pp": formats.percent_points,
    "num": formats.number,
    "whole": formats.count,
    "words": formats.words,
}


class Verbatim(str):
    """Markdown that is written as it stands."""

    __slots__ = ()


def markdown_text(text: str) -> str:
    """Return text on one line with nothing in it that Markdown or HTML would act on."""
    line = " ".join(formats.clean(text).split())
    return _MARKDOWN.sub(r"\\\1", line.replace("&", "&amp;"))


def code(text: str) -> Verbatim:
    """Return text as inline code on one line; a longer fence holds the back-ticks inside."""
    line = " ".join(formats.clean(text).split()).replace("|", "\\|") or " "
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Verbatim(f"{fence}{pad}{line}{pad}{fence}")


@cache  # it keeps the templates, which take half as long to compile as a page takes to render
def html_environment() -> Environment:
    """Return the environment of the page: every value is escaped, a missing one says so."""
    environment = Environment(
        loader=PackageLoader("faultload.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown_in_html,
    )
    environment.filters.update(_FILTERS)
    return environment


@cache
def markdown_environment() -> Environment:
    """Return the environment of Markdown files: values are escaped for Markdown, not for HTML."""
    environment = Environment(  # noqa: S701  # `_shown_in_markdown` escapes every value
        loader=PackageLoader("faultload.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown_in_markdown,
    )
    environment.filters.update(_FILTERS, code=code)
    return environment


def _shown_in_html(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return formats.clean(value) if isinstance(value, str) else _never_bare(value)


def _shown_in_markdown(value: Any) -> Any:
    if isinstance(value, Verbatim):
        return value
    return markdown_text(value) if isinstance(value, str) else _never_bare(value)


def _never_bare(value: Any) -> Any:
    """Return "no data" for what would otherwise be printed as None or nan."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return formats.NO_DATA if missing else value
