"""Try every experiment on a well-configured local platform and on badly configured ones.

    make catalogue                                  # what docs/experiments.jsonl lacks
    make catalogue CATALOGUE_ARGS='--jobs 2 --redo --experiment engine/core-kill'
    make catalogue CATALOGUE_ARGS=--render          # the table alone

Each experiment runs on the platform that ships (`good`), then on one with every entry of
platform/misconfigurations.yaml (`all`). What is not green there is tried with one entry at a time,
so that the table can say which of them alone is enough. Each result is kept as it comes: a run that
was interrupted goes on where it was. An experiment runs on the target that one of its tags names,
`local` where none does. Keys of tiers that the platform of that target does not have are left out
of a misconfiguration there: what is left is what can be wrong with it.

Exits 0; 1 when a run ended without a result, which the next call tries again; 64 for a bad
argument.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from faultload.errors import ExitCode, UsageError, nearest
from faultload.spec import Catalogue, Experiment, load_experiment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "experiments.jsonl"
TABLE = ROOT / "docs" / "experiments.md"
MISCONFIGURATIONS = ROOT / "platform" / "misconfigurations.yaml"
GOOD, ALL = "good", "all"
ANY = "any"
TIMEOUT_S = 900.0
GREEN = ("pass", "skipped")
VERDICTS = ("pass", "fail", "inconclusive", "invalid", "skipped", "refused")
NOT_RESULTS = ("error", "interrupted")
WORDS = {
    int(ExitCode.INVALID): "invalid",
    int(ExitCode.REFUSED): "refused",
    int(ExitCode.SIGINT): "interrupted",
    int(ExitCode.SIGTERM): "interrupted",
}
"""Verdicts of runs that wrote none."""
TOP = """\
# The experiments, and what each of them catches

Made by `make catalogue`, which runs every experiment on the local platform as it ships and on
badly configured ones, and keeps what it found in [experiments.jsonl](experiments.jsonl). One run
each: a verdict is about that run. An experiment that is green on a good platform and red on a bad
one is worth running; one that nothing turns red would say the same of any platform.

[`platform/misconfigurations.yaml`](../platform/misconfigurations.yaml) says what each
misconfiguration is in the real world. On the *bad* platform all of them are in force. *Caught* are
those that alone make the claim fail. One with another word behind its name proves nothing
(`invalid`: two replicas cannot be evicted where there is one) or was not possible (`refused`).

"""
COLUMNS = ("experiment", "claim", "faults", "good platform", "bad platform", "caught", "measured")


@dataclass(frozen=True)
class Result:
    """How one experiment ended on one platform.

    Attributes:
        experiment: its name.
        variant: `good`, `all`, or the name of one misconfiguration.
        verdict: pass, fail, inconclusive or invalid; skipped or refused.
        reason: one sentence.
        seconds: the whole command, with the platform's start.
        date: the day, UTC.
        commit: what ran; with a `+` where the working tree was not that.
    """

    experiment: str
    variant: str
    verdict: str
    reason: str
    seconds: int
    date: str
    commit: str


Key = tuple[str, str]
"""Experiment and variant."""
Results = dict[Key, Result]


def misconfigurations(path: Path = MISCONFIGURATIONS) -> dict[str, list[str]]:
    """Return the `--set` assignments of each variant but `good`; `all` joins their lists."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    single: dict[str, dict[str, Any]] = {name: entry["set"] for name, entry in document.items()}
    joined: dict[str, Any] = {}
    for keys in single.values():
        for key, value in keys.items():
            joined[key] = joined.get(key, []) + value if isinstance(value, list) else value
    variants = {**single, ALL: joined}
    return {
        name: [f"{key}={json.dumps(value)}" for key, value in keys.items()]
        for name, keys in variants.items()
    }


def target_of(experiment: Experiment, targets: Iterable[str]) -> str:
    """Return the target that a tag names, else `local`."""
    return next((tag for tag in experiment.tags if tag in set(targets)), "local")


def tiers_of(target: str) -> set[str] | None:
    """Return the tiers of a target's platform; None: it is none of ours, and has no such keys."""
    path, spec = Catalogue(ROOT).target(target)
    if spec.kind != "local":
        return None
    config = yaml.safe_load((path.parent / spec.local.config).read_text(encoding="utf-8"))
    return set(config["tiers"])


def settable(overrides: Sequence[str], tiers: set[str] | None) -> list[str]:
    """Return the assignments without those of tiers that are not there: they would be refused."""
    found = list[str]()
    for one in overrides:
        section, *rest = one.partition("=")[0].split(".")
        if tiers is None or section != "tiers" or rest[0] in tiers:
            found.append(one)
    return found


def read(path: Path = RESULTS) -> Results:
    """Return what was found so far; of two results for the same the later counts."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    return {(one.experiment, one.variant): one for one in results}


def keep(result: Result, path: Path = RESULTS) -> None:
    """Append a result at once: a later interrupt must not cost it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def tidy(results: Results, known: Iterable[str], path: Path = RESULTS) -> Results:
    """Write one line a result, in order, without experiments that are gone; return those."""
    names = set(known)
    kept = {key: results[key] for key in sorted(results) if key[0] in names}
    text = "".join(json.dumps(asdict(one)) + "\n" for one in kept.values())
    path.write_text(text, encoding="utf-8")
    return kept


def plan(names: Sequence[str], singles: Sequence[str], results: Results) -> Iterator[Key]:
    """Yield what there is to run, as far as what was found until now says it."""
    yield from ((name, GOOD) for name in names)
    yield from ((name, ALL) for name in names)
    for name in names:
        worst = results.get((name, ALL))
        if worst is not None and worst.verdict not in GREEN:
            yield from ((name, single) for single in singles)


def run(name: str, variant: str, target: str, overrides: Sequence[str], commit: str) -> Result:
    """Run an experiment in a process of its own, with reports that nobody keeps."""
    words = [word for one in overrides for word in ("--set", one)]
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faultload-catalogue-") as reports:
        command = [
            *(sys.executable, "-m", "faultload", "run", name, "--target", target, "--json"),
            *("--root", str(ROOT), "--reports", reports, *words),
        ]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
            verdict, reason = understand(done.returncode, done.stdout, done.stderr)
        except subprocess.TimeoutExpired:
            verdict, reason = "error", f"no end within {TIMEOUT_S:g} s"
    seconds = round(time.monotonic() - started_s)
    return Result(name, variant, verdict, reason, seconds, f"{datetime.now(UTC):%F}", commit)


def understand(code: int, out: str, err: str) -> tuple[str, str]:
    """Return the verdict and the reason of a command that has ended."""
    if WORDS.get(code) != "interrupted":  # its verdict is about the interrupt
        with suppress(ValueError, KeyError, TypeError):
            found = json.loads(out)
            if "skipped" in found:
                return "skipped", str(found["skipped"])
            return str(found["verdict"]), str(found["reason"])
    said = (err.strip() or out.strip() or "it said nothing").splitlines()[-1]
    return WORDS.get(code, "error"), said.removeprefix("faultload: ")


def render(experiments: Sequence[Experiment], results: Results, singles: Sequence[str]) -> str:
    """Return docs/experiments.md."""
    rows = [_row(experiment, results, singles) for experiment in experiments]
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + "--|" * len(COLUMNS)]
    table = [f"| {' | '.join(row)} |" for row in rows]
    return TOP + "\n".join([*head, *table]) + "\n"


def _row(experiment: Experiment, results: Results, singles: Sequence[str]) -> list[str]:
    name = experiment.name
    mine: Mapping[str, Result] = {v: one for (e, v), one in results.items() if e == name}
    faults = dict.fromkeys(f"`{action['provider']['func']}`" for action in experiment.fault_actions)
    measured = sorted({f"{one.date} {one.commit}" for one in mine.values()})
    return [
        f"[{name}](../experiments/{name}.yaml)",
        _cell(experiment.title),
        ", ".join(faults),
        _verdict(mine.get(GOOD)),
        _verdict(mine.get(ALL)),
        _caught(mine, singles),
        "; ".join(measured),
    ]


def _verdict(result: Result | None) -> str:
    if result is None:
        return "not measured yet"
    if result.verdict == "pass":
        return f"pass ({result.seconds} s)"
    return f"**{result.verdict}**: {_cell(result.reason)}"


def _caught(mine: Mapping[str, Result], singles: Sequence[str]) -> str:
    """Name what alone turns the claim red, and what was not tried yet.

    "" where nothing can be said: the bad platform was not tried, or the good one is not green.
    """
    best, worst = mine.get(GOOD), mine.get(ALL)
    if "skipped" in {one.verdict for one in (best, worst) if one is not None}:
        return "not applicable"
    if worst is None or best is None or best.verdict != "pass":
        return ""
    if worst.verdict == "pass":
        return "nothing"
    tried = [mine[name] for name in singles if name in mine]
    red = [one for one in tried if one.verdict not in GREEN]
    words = [o.variant if o.verdict == "fail" else f"{o.variant} ({o.verdict})" for o in red]
    if len(tried) < len(singles):
        return ", ".join([*words, "not attributed yet"])
    return ", ".join(words) or "only together"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _commit() -> str:
    """Return the commit, with a `+` when what runs is not that commit."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    head = git("rev-parse", "--short", "HEAD").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", ".", ":!docs").returncode
    return f"{head}+" if changed else head


def _jobs(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text!r}")
    return int(text)


def _arguments(singles: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiment", action="append", help="only this one; may be repeated")
    parser.add_argument(
        "--variant",
        action="append",
        choices=[GOOD, ALL, *singles],
        help="only on this platform; may be repeated",
    )
    parser.add_argument("--jobs", type=_jobs, default=1, help="runs at a time (default 1)")
    parser.add_argument(
        "--redo",
        nargs="?",
        const=ANY,
        choices=[ANY, *VERDICTS],
        metavar="VERDICT",
        help="run what has a result, too; with a verdict: what has this one, like invalid",
    )
    parser.add_argument("--render", action="store_true", help="write the table alone")
    try:
        return parser.parse_args()
    except SystemExit as left:
        sys.exit(int(ExitCode.USAGE) if left.code else 0)


def _measure(
    experiments: Sequence[Experiment], overrides: Mapping[str, list[str]], given: argparse.Namespace
) -> bool:
    """Run what is asked for and has no result; say whether each run ended with one."""
    by_name = {experiment.name: experiment for experiment in experiments}
    names = given.experiment or list(by_name)
    for name in set(names) - by_name.keys():
        raise UsageError(f"no experiment {name!r} in experiments/{nearest(name, by_name)}")
    singles = [variant for variant in overrides if variant not in (GOOD, ALL)]
    results, tried = read(), set[Key]()
    targets, commit = Catalogue(ROOT).names("targets"), _commit()

    def one(key: Key) -> bool:
        name, variant = key
        target = target_of(by_name[name], targets)
        sets = settable(overrides[variant], tiers_of(target))
        result = run(name, variant, target, sets, commit)
        print(f"{name} on {variant}: {result.verdict}, {result.seconds} s. {result.reason}")
        if result.verdict in NOT_RESULTS:
            return False
        keep(result)
        results[key] = result
        return True

    whole = True
    while True:
        left = [
            key
            for key in plan(names, singles, results)
            if key not in tried
            and key[1] in (given.variant or overrides)
            and (key not in results or given.redo in (ANY, results[key].verdict))
        ]
        if not left:
            return whole
        tried.update(left)
        with ThreadPoolExecutor(given.jobs) as pool:
            try:
                whole = all(list(pool.map(one, left))) and whole
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def main() -> int:
    """Run what is asked for and has no result yet, then write the table."""
    single = misconfigurations()
    overrides = {GOOD: list[str](), ALL: single.pop(ALL), **single}
    given = _arguments(list(single))
    experiments = [load_experiment(path) for path in Catalogue(ROOT).experiment_paths()]
    try:
        whole = given.render or _measure(experiments, overrides, given)
    except UsageError as error:
        print(error, file=sys.stderr)
        return int(ExitCode.USAGE)
    except KeyboardInterrupt:
        whole = False
    results = tidy(read(), [experiment.name for experiment in experiments])
    TABLE.write_text(render(experiments, results, list(single)), encoding="utf-8")
    return int(not whole)


if __name__ == "__main__":
    sys.exit(main())
