"""What docs/statistics.md says of real trials, from benchmarks/data/gate-live-drawn.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from live_pool import CASES, POOL, WHOLE, sha256
from tables import END as AFTER
from tables import put, table

ROOT = Path(__file__).parents[2]
DRAWN = POOL.with_name("gate-live-drawn.json")
DOCUMENT = ROOT / "docs" / "statistics.md"
BEGIN = "<!-- gate on real trials: written by benchmarks/gate/live.py -->\n"
END = "<!-- end of real trials -->\n"
_SHARES = ("bad share", "good share")
_SAME, _MIXED, _WORSE = CASES


def keep(drawn: Mapping[str, Any], path: Path = DRAWN) -> None:
    """Keep what was drawn, a line a row."""
    blocks = []
    for key, value in drawn.items():
        text = json.dumps(value)
        if key in ("noise", "rows"):
            text = "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
        blocks.append(f"{json.dumps(key)}: {text}")
    path.write_text("{" + ",\n".join(blocks) + "}\n", encoding="utf-8")


def write(
    *, only_check: bool, pool: Path = POOL, drawn: Path = DRAWN, document: Path = DOCUMENT
) -> int:
    """Put the section between its markers, or look whether it is there; return an exit code."""
    text = ""
    if drawn.exists():
        data = json.loads(drawn.read_text(encoding="utf-8"))
        if not pool.exists() or sha256(pool) != data["pool_sha256"]:
            print(f"{drawn} was not drawn from {pool} as it is: run live.py")
            return 1
        text = "\n".join(["", *section(data), ""])
    remedy = "live.py --tables"
    return put(document, (BEGIN, END), text, only_check=only_check, remedy=remedy, after=AFTER)


def section(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the section, as Markdown."""
    yield "### How often it is wrong on real trials"
    yield ""
    yield from _pool(data)
    yield ""
    yield from _noise(data)
    yield ""
    yield from _same(data)
    yield ""
    yield from _worse(data)
    yield ""
    yield from _others(data)


def _pool(data: Mapping[str, Any]) -> Iterator[str]:
    pool, settings = data["pool"], data["pool"]["settings"]
    counts = ", ".join(f"{count} of *{arm}*" for arm, count in pool["trials"].items())
    machines = "; ".join(f"{m['cpus']} CPUs, Python {m['python']}" for m in pool["machines"])
    commits = ", ".join(one[:9] + "+" * one.endswith("+") for one in pool["commits"])
    low, high = pool["requests"]
    yield "`python benchmarks/gate/live.py --measure` runs real trials on three local platforms:"
    yield "*a* and *a again* are configured alike, and a decode step of *slower* takes 20 % longer."
    yield f"There are {counts}; {pool['spoilt']} more were spoilt and do not count. Each plays one"
    yield f"of {len(settings['traces'])} fixed traces of `{settings['scenario']}` at"
    yield f"{settings['rate_rps']:g} requests a second, {settings['warmup_s']:g} s dropped and"
    yield f"{settings['trial_s']:g} s measured: {low} to {high} requests, and"
    yield f"{pool['trial_took_s']:g} s in all. The order was drawn and balanced. Platforms started"
    yield f"{pool['openings']} times in {pool['session_h']:g} hours from"
    yield f"{pool['begun'][:16].replace('T', ' ')} UTC ({machines}; load average before a start"
    yield f"{pool['load_average_max']:g} at most; commit {commits}). The trials are in"
    yield "[gate-live.json](../benchmarks/data/gate-live.json)."
    yield ""
    yield f"From this pool {data['gates']:,} gates of each kind were drawn"
    yield "(`python benchmarks/gate/live.py`) and judged by the code that judges a live one,"
    yield "without history, no trial twice in a gate:"
    yield "; ".join(f"*{mode}* {_looks(own)}" for mode, own in data["modes"].items()) + "."
    yield "*Confirmed*: a repetition on other trials of the pool fails, too; a live gate opens"
    yield "fresh platforms for it, the pool's trials may share theirs."
    if few := [mode for mode, can in data["confirms"].items() if not can]:
        yield f"The pool has too few trials to confirm a gate that is {' or '.join(few)}."
    yield "A drawn gate mixes trials of the whole session, so that drift counts as noise; those of"
    yield "a live gate lie closer together. Intervals are 95 %, of a cluster bootstrap:"
    yield f"{data['resamples']} pools of as many trials, drawn with replacement within arm and"
    yield f"trace, and {data['gates_resampled']} gates from each, with the luck of so few. The arms"
    yield "of such pools lie further apart than the pool's own, which makes the interval of a false"
    yield "fail wide where they are kept apart. What no trial of the pool met, no interval holds."


def _looks(rounds: Sequence[int]) -> str:
    """Return how often each trace is played, in words."""
    upto = [sum(rounds[: stage + 1]) for stage in range(len(rounds))]
    return f"looks after {' and '.join(map(str, upto))} trials a side under each trace"


def _noise(data: Mapping[str, Any]) -> Iterator[str]:
    yield "Trial noise is how a trial deviates from others of its arm and trace, by the median"
    yield "(robust) and by squares (plain). Drift is Theil's and Sen's line through what is left of"
    yield "the trials, from the first to the last. The last two columns: all trials against all, in"
    yield "one look (its interval is of 90 %)."
    yield ""
    heads = ["SLI", "noise, robust", "plain", "drift"]
    yield from table(
        [*heads, "*a again* against *a*", "*slower* against *a*"],
        (
            [
                one["sli"],
                *(_three(one["unit"], one[key]) for key in ("robust", "plain")),
                _three(one["unit"], one["drift"], sign="+"),
                *(_effect(one["unit"], one[arm]) for arm in ("a again", "slower")),
            ]
            for one in data["noise"]
        ),
    )


def _same(data: Mapping[str, Any]) -> Iterator[str]:
    """Say what gates of equal sides say."""
    yield "A against A again, per cent of gates (an SLI as if it alone were gated); then with both"
    yield "sides drawn from the trials of both, so that noise is all that tells them apart:"
    yield ""
    heads = ["case", "mode", "what", "false fail", "confirmed", "pass", "inconclusive", "trials"]
    yield from table(
        [*heads, "detectable"],
        (
            [case, mode, name, *_verdicts(one), _detectable(data, name, one)]
            for case in (_SAME, _MIXED)
            for mode, name, one in _rows(data, case)
        ),
    )
    yield ""
    yield "*Detectable*: the smallest worsening that such a gate would find in 95 of 100 cases, on"
    yield "average over gates."


def _worse(data: Mapping[str, Any]) -> Iterator[str]:
    """Say what gates of a slower candidate say."""
    yield "A against slower, likewise. A pass is wrong (bold) of the whole gate, and of an SLI that"
    yield "all trials together show to be worse by more than is tolerated:"
    yield ""
    wrong = {
        one["sli"]
        for one in data["noise"]
        if one["slower"]["effect"] is not None and one["slower"]["effect"] >= one["tolerated"]
    }
    rows = []
    for mode, name, one in _rows(data, _WORSE):
        fail, confirmed, passed, *rest = _verdicts(one)
        if name in wrong | {WHOLE}:
            passed = f"**{passed}**"
        rows.append([mode, name, fail, confirmed, passed, *rest])
    yield from table(["mode", "what", "fail", "confirmed", "pass", "inconclusive", "trials"], rows)


def _others(data: Mapping[str, Any]) -> Iterator[str]:
    found = {tuple(row["of"]): row["found"] for row in data["rows"] if "trials" not in row["found"]}
    yield "Other judges of the same draws, all trials of a gate pooled; alarms, per cent:"
    yield ""
    yield from table(
        ["judge", "trials from", *(f"{case}: false" for case in (_SAME, _MIXED)), _WORSE],
        (
            [name, mode, *(_percent(found[each, mode, name]["fail"]) for each in CASES)]
            for case, mode, name in found
            if case == _SAME
        ),
    )


def _rows(
    data: Mapping[str, Any], wanted: str
) -> Iterator[tuple[str, str, Mapping[str, Sequence[float]]]]:
    for row in data["rows"]:
        case, mode, name = row["of"]
        if case == wanted and "trials" in row["found"]:
            yield mode, name, row["found"]


def _verdicts(one: Mapping[str, Sequence[float]]) -> list[str]:
    shares = [_percent(one.get(key)) for key in ("fail", "confirmed", "pass", "inconclusive")]
    return [*shares, f"{one['trials'][0]:.1f}"]


def _detectable(data: Mapping[str, Any], name: str, one: Mapping[str, Sequence[float]]) -> str:
    unit = next((noise["unit"] for noise in data["noise"] if noise["sli"] == name), "")
    return _number(unit, one["detectable"][0], "+") if "detectable" in one else ""


def _percent(one: Sequence[float] | None) -> str:
    if one is None:
        return ""
    value, low, high = (100 * x for x in one)
    return f"{value:.1f} ({low:.1f}–{high:.1f})"  # noqa: RUF001  # a range


def _number(unit: str, value: float, sign: str = "") -> str:
    return f"{_bare(unit, value, sign)} {_says(unit)}"


def _three(unit: str, one: Sequence[float], sign: str = "") -> str:
    value, low, high = (_bare(unit, x, sign) for x in one)
    return f"{value} ({low} to {high}) {_says(unit)}"


def _bare(unit: str, value: float, sign: str) -> str:
    return f"{100 * value:{sign}.{2 if unit in _SHARES else 1}f}"


def _says(unit: str) -> str:
    return "points" if unit in _SHARES else "%"


def _effect(unit: str, one: Mapping[str, Any]) -> str:
    if one["effect"] is None:
        return str(one["verdict"])
    return f"{_three(unit, [one['effect'], *one['interval']], '+')}: {one['verdict']}"
