"""An explanation as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from faultload.judge.explain import Explanation, Number
from faultload.report import formats


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """Yield the lines: verdict, then each finding with its numbers and the rows behind them."""
    yield f"{str(explanation.verdict).upper()}  {_line(explanation.reason)}"
    for finding in explanation.findings:
        yield ""
        yield f"{finding.verdict!s:<13} {finding.subject}: {_line(finding.text)}"
        if not finding.numbers:
            yield f"    stated in {finding.evidence}"
        told = ""
        for number in finding.numbers:
            yield f"    {number.name} = {_value(number.value)}  ({_line(number.how)})"
            rows = "" if number.count is None else f", {formats.plural(number.count, 'row')}"
            named = f"        {number.file}{rows}: {number.rows}"
            yield "        the same rows" if named == told else named
            told = named
            yield from _worst_lines(number)


def _worst_lines(number: Number) -> Iterator[str]:
    if number.worst:
        slowest = ", ".join(
            f"{one['index']} ({one['status']}, due {one['due_s']:.2f} s,"
            f" {formats.seconds(one['took_s'])})"
            for one in number.worst
        )
        yield f"        longest, by index: {slowest}".replace(formats.THIN, " ")
    if number.seconds:
        most = ", ".join(f"{second} s ({count})" for second, count in number.seconds)
        yield f"        most in the seconds: {most}"


def _value(value: object) -> str:
    if value is None:
        return formats.NO_DATA
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _line(text: str) -> str:
    return " ".join(formats.clean(text).split())
