"""The tables of docs/statistics.md about the gate, from benchmarks/data/gate.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scipy import stats

BEGIN, END = "<!-- gate: written by make bench-gate -->\n", "<!-- end of the gate -->\n"


def write(data: Mapping[str, Any], document: Path, *, only_check: bool) -> int:
    """Put the tables between their markers; return an exit code."""
    marks, remedy = (BEGIN, END), "bench.py --tables"
    return put(document, marks, tables(data), only_check=only_check, remedy=remedy)


def put(  # noqa: PLR0913  # what stands where
    document: Path,
    marks: tuple[str, str],
    text: str,
    *,
    only_check: bool,
    remedy: str,
    after: str = "",
) -> int:
    """Put a text between its marks, or look whether it is there; return an exit code.

    Args:
        document: the file.
        marks: before and after the text. Where the file has none they come with the first text
            that is not empty, and go with it.
        text: "": there is nothing to say.
        only_check: change nothing.
        remedy: the command that writes it.
        after: what stands before the marks where the file has none yet.
    """
    begin, end = marks
    found = document.read_text(encoding="utf-8")
    before, begun, rest = found.partition(begin)
    if begun:
        _, _, rest = rest.partition(end)
    elif after:
        before, _, rest = found.partition(after)
        before += after
    wanted = before + (begin + text + end if text else "") + rest
    if only_check:
        if wanted != found:
            print(f"{document} does not hold the tables of the data: run {remedy}")
        return int(wanted != found)
    document.write_text(wanted, encoding="utf-8")
    return 0


def tables(data: Mapping[str, Any]) -> str:
    """Return all of them, as Markdown."""
    return "\n".join(
        [
            "",
            *_false_alarms(data),
            "",
            *_powers(data),
            "",
            *_first_looks(data),
            "",
            *_ways(data),
            "",
            *_others(data),
            "",
        ]
    )


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson."""
    low = stats.beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return float(low), float(high)


def _share(hits: int, of: int) -> str:
    low, high = interval(hits, of)
    return f"{100 * hits / of:.2f} % ({100 * low:.2f}–{100 * high:.2f})"  # noqa: RUF001  # a range


def _brief(hits: int, of: int) -> str:
    return f"{100 * hits / of:.1f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield "|" + "--|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _counts(regime: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [count for count in regime["gates"] if count["way"] == "three looks"]


def _effect(sli: str, effect: float) -> str:
    return f"+{100 * effect:.1f} points" if sli in RATIOS else f"+{100 * effect:.0f} %"


def _false_alarms(data: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for regime in data["regimes"]:
        for count in _counts(regime):
            if count["effect"]:
                continue
            n, fails = count["gates"], count["fail"]
            high = interval(fails, n)[1]
            spread = regime["spread"][count["sli"]]
            rows.append(
                [
                    regime["name"],
                    count["sli"],
                    f"{spread:.3f}" if count["sli"] in RATIOS else f"{100 * spread:.1f} %",
                    _share(fails, n),
                    f"{count['fail_confirmed']} of {n}; ≤ {100 * high * high:.4f} %",
                    _brief(count["pass"], n),
                    _brief(count["inconclusive"], n),
                    f"{count['trials_mean']:.0f}",
                ]
            )
    yield f"Nothing got worse ({data['regimes'][0]['gates'][0]['gates']:,} gates a row):"
    yield ""
    yield from table(
        [
            "regime",
            "SLI",
            "trial noise",
            "false fail (95 %)",
            "after confirm",
            "pass %",
            "inconclusive %",
            "trials",
        ],
        rows,
    )


def _powers(data: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for regime in data["regimes"]:
        for count in _counts(regime):
            if not count["effect"]:
                continue
            n = count["gates"]
            detectable = count["effect_detectable"]
            found = "" if detectable is None else _effect(count["sli"], detectable)
            rows.append(
                [
                    regime["name"],
                    count["sli"],
                    _effect(count["sli"], count["effect"]),
                    _share(count["fail"], n),
                    _brief(count["fail_confirmed"], n),
                    _share(count["pass"], n),
                    _brief(count["inconclusive"], n),
                    found,
                    f"{count['trials_mean']:.0f}",
                ]
            )
    yield "Everything got worse:"
    yield ""
    yield from table(
        [
            "regime",
            "SLI",
            "truth",
            "fail (95 %)",
            "after confirm %",
            "pass (95 %)",
            "inconclusive %",
            "of these: detectable",
            "trials",
        ],
        rows,
    )


def _ways(data: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for regime in data["regimes"]:
        counts = [count for count in regime["gates"] if count["sli"] == "p95"]
        for way in dict.fromkeys(count["way"] for count in counts):
            of = {count["effect"]: count for count in counts if count["way"] == way}
            same, worse, worst = of[0.0], of[0.1], of[0.2]
            rows.append(
                [
                    regime["name"],
                    way,
                    _share(same["fail"], same["gates"]),
                    _brief(same["inconclusive"], same["gates"]),
                    _share(worse["fail"], worse["gates"]),
                    _share(worse["pass"], worse["gates"]),
                    _brief(worst["fail"], worst["gates"]),
                    f"{same['trials_mean']:.0f}",
                ]
            )
    yield "Other ways to run it (p95):"
    yield ""
    yield from table(
        [
            "regime",
            "way",
            "false fail",
            "inconclusive %",
            "fail at +10 %",
            "wrong pass at +10 %",
            "fail at +20 %, %",
            "trials",
        ],
        rows,
    )


def _first_looks(data: Mapping[str, Any]) -> Iterator[str]:
    yield "Whose noise the first look believes (a third of 1 % is meant to fail):"
    yield ""
    yield from table(
        ["trials differ", "noise from", "false fail", "pass %", "fail at +10 %, %", "wrong pass"],
        (
            [
                look["noise"],
                look["source"],
                _share(look["false_fail"], look["gates"]),
                _brief(look["pass"], look["gates"]),
                _brief(look["fail"], look["gates"]),
                _share(look["wrong_pass"], look["gates"]),
            ]
            for look in data["first_looks"]
        ),
    )


def _others(data: Mapping[str, Any]) -> Iterator[str]:
    yield "Other judges of the same trials: alarms in per cent when nothing got worse | at each"
    yield "worsening, for one pair of runs and for five pairs:"
    yield ""
    rows = []
    for regime in data["regimes"]:
        names = list(dict.fromkeys(other["judge"] for other in regime["others"]))
        for name in names:
            cells = []
            for pairs in (1, data["trials"]["traces"]):
                found = [o for o in regime["others"] if (o["judge"], o["pairs"]) == (name, pairs)]
                first, *rest = (_brief(o["alarms"], o["gates"]) for o in found)
                cells += [f"**{first}**", " / ".join(rest)]
            rows.append([regime["name"], name, *cells])
        gated = next(c for c in _counts(regime) if not c["effect"] and c["sli"] in GATED)
        worse = [c for c in _counts(regime) if c["effect"] and c["sli"] == gated["sli"]]
        powers = " / ".join(_brief(c["fail"], c["gates"]) for c in worse)
        alarms = _brief(gated["fail"], gated["gates"])
        rows.append([regime["name"], f"this gate, {gated['sli']}", "", "", f"**{alarms}**", powers])
    yield from table(
        [
            "regime",
            "judge",
            "one pair: false",
            "true at +5 / +10 / +20 %*",
            "five pairs: false",
            "true at +5 / +10 / +20 %*",
        ],
        rows,
    )
    yield ""
    yield "\\* errors: +0.3 / +1 / +2 points. This gate runs five pairs to fifteen."


RATIOS = ("late", "errors")
"""SLIs that are shares of requests."""
GATED = ("p95", "errors")
"""Which SLI stands next to the other judges."""
