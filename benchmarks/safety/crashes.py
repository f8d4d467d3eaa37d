"""A harness is killed at every journalled step of every fault; then all is to be as before.

    make bench-safety                              # every case; hours
    make bench-safety SAMPLE=20 SEED=$(git rev-parse HEAD)
    make bench-safety ONLY=hang_engine:verified:supervisor
    python benchmarks/safety/crashes.py --resume --for-s 170

On a local platform under a light load, each fault is played as an experiment plays it, by the real
chaos child and with the real journal. Right after the entry of a step is on the disk, the
supervisor is killed with SIGKILL, or the chaos child, or the `faultload recover` that undoes what a
killed supervisor left. Then: nothing of the run is alive; the next run is refused while something
is unreverted; `faultload recover` succeeds; machines, tiers, parts, links, capacity, weights,
engines and senders are as before, and tokens come as quickly; no state is left, and the next run is
admitted. Some cases, drawn by the seed, are of a whole `faultload run`, with load and record.

What is measured is kept in benchmarks/data/crashes.json as it comes; a sample keeps nothing. Exits
0 when every case that ran was as before, 1 when one was not, 64 for a bad argument.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from crash_cases import Case, Use, both, cases, uses  # noqa: E402  # they are the tests', too
from crash_play import Result, play  # noqa: E402
from crash_stage import Stage  # noqa: E402

from faultload.errors import ExitCode, UsageError  # noqa: E402
from faultload.record import InjectionStep  # noqa: E402
from faultload.spec import Catalogue  # noqa: E402
from faultload.spec.selection import sample  # noqa: E402

DATA = ROOT / "benchmarks" / "data" / "crashes.json"
WHOLE_SHARE = 20
"""One in so many cases is played in a whole run, too."""


@dataclass(frozen=True)
class Kept:
    """What is kept of a case.

    Attributes:
        case: its name.
        problems: empty: all was as before.
        seconds: it took, with the wait for the platform.
        date: the day, UTC.
        commit: what ran; with a `+` where the working tree was not that.
    """

    case: str
    problems: list[str]
    seconds: float
    date: str
    commit: str


def read(path: Path = DATA) -> dict[str, Kept]:
    """Return what is kept, by case."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return {row["case"]: Kept(**row) for row in rows}


def write(kept: Mapping[str, Kept], path: Path = DATA) -> None:
    """Keep one line a case, in order, those that are no more left out."""
    known = [str(one) for case in cases() for one in both(case)]
    rows = [json.dumps(asdict(kept[name])) for name in known if name in kept]
    machine = json.dumps({"cpus": os.cpu_count(), "python": platform.python_version()})
    text = f'{{"machine": {machine}, "cases": [\n' + ",\n".join(rows) + "\n]}\n"
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def whole(drawn: Sequence[Case], known: Mapping[str, Use], seed: str) -> list[Case]:
    """Return one case in `WHOLE_SHARE`, at least one if there is any, to be played in a whole run.

    Only of faults that an experiment has alone: there a step of the journal is one of theirs.
    """
    can = {str(one): one for case in drawn if known[case.fault].alone for one in both(case)[1:]}
    count = min(len(can), -(-len(drawn) // WHOLE_SHARE))
    return [can[name] for name in sample(list(can), count, seed)] if count else []


def draw(given: argparse.Namespace, known: Mapping[str, Use]) -> list[Case]:
    """Return the cases that are asked for.

    Raises:
        UsageError: a name or an argument is wrong.
    """
    if given.only:
        return [Case.named(name) for name in given.only]
    everything = cases()
    if given.sample is None:
        return everything + whole(everything, known, given.seed)
    by_name = {str(case): case for case in everything}
    drawn = [by_name[name] for name in sample(list(by_name), given.sample, given.seed)]
    drawn += whole(drawn, known, given.seed)
    random.Random(given.seed).shuffle(drawn)  # time that is up must not always cost the same ones
    return drawn


def table(results: Iterable[Result]) -> list[str]:
    """Return fault by step: how many of the cases that ran were as before."""
    cells: dict[tuple[str, str], list[bool]] = {}
    for result in results:
        fault, step, *_ = result.case.split(":")
        cells.setdefault((fault, step), []).append(result.ok)
    faults = sorted({fault for fault, _ in cells})
    width = max((len(fault) for fault in faults), default=0)
    steps = [step.value for step in InjectionStep]
    lines = ["  ".join(["fault".ljust(width), *steps])]
    for fault in faults:
        row = [_cell(cells.get((fault, step), [])).ljust(len(step)) for step in steps]
        lines.append("  ".join([fault.ljust(width), *row]).rstrip())
    return lines


def _cell(found: list[bool]) -> str:
    if not found:
        return "-"
    return f"{sum(found)} ok" if all(found) else f"{found.count(False)} FAILED"


def run(drawn: Sequence[Case], known: Mapping[str, Use], given: argparse.Namespace) -> list[Result]:
    """Play the cases one after the other, until there are none or the time is up."""
    results: list[Result] = []
    kept, commit = read(), _commit()
    began_s = time.monotonic()
    with Stage() as stage:
        for number, case in enumerate(drawn, 1):
            if given.for_s is not None and time.monotonic() - began_s > given.for_s:
                break
            result = play(stage, case, known)
            results.append(result)
            word = "as before" if result.ok else "FAILED"
            print(f"[{number}/{len(drawn)}] {case}: {word}, {result.seconds} s", flush=True)
            for line in result.problems or (result.said if given.only else []):
                print(f"    {line}", flush=True)
            if given.sample is None:
                row = Kept(
                    result.case,
                    result.problems,
                    result.seconds,
                    f"{datetime.now(UTC):%F}",
                    commit,
                )
                kept[row.case] = row
                write(kept)
    return results


def main() -> int:
    """Play what is asked for, print the table, and say how to repeat what failed."""
    given = _arguments()
    known = uses(Catalogue(ROOT))
    try:
        drawn = draw(given, known)
    except UsageError as error:
        print(error, file=sys.stderr)
        return int(ExitCode.USAGE)
    if given.resume:
        done = {name for name, row in read().items() if not row.problems}
        print(f"bench-safety: {sum(str(one) in done for one in drawn)} of {len(drawn)} were as")
        print("  before already (benchmarks/data/crashes.json)")
        drawn = [one for one in drawn if str(one) not in done]
    if given.sample is not None:
        print(f"bench-safety: {len(drawn)} cases, seed {given.seed}; the same again:")
        print(f"  make bench-safety SAMPLE={given.sample} SEED={given.seed}")
    for case in drawn if given.sample is not None or given.list else ():
        print(f"  {case}")
    if given.list:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(ExitCode.SIGTERM)))
    began_s = time.monotonic()
    results = run(drawn, known, given)
    print(*table(results), sep="\n")
    failed = [result.case for result in results if not result.ok]
    print(
        f"bench-safety: {len(results) - len(failed)} of {len(results)} cases as before,"
        f" {len(failed)} failed, {len(drawn) - len(results)} not begun (--for-s),"
        f" {time.monotonic() - began_s:.0f} s"
    )
    for name in failed:
        print(f"  make bench-safety ONLY={name}")
    return int(bool(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", help="FAULT:STEP:WHO[:run]; may be repeated")
    parser.add_argument("--sample", type=_count, help="so many of all cases, drawn by the seed")
    parser.add_argument(
        "--seed", default="", help="any text; default: drawn for a sample, and said"
    )
    parser.add_argument("--resume", action="store_true", help="leave out what is kept as good")
    parser.add_argument("--for-s", type=_count, help="begin no case after so many seconds")
    parser.add_argument("--list", action="store_true", help="name the cases and play none")
    try:
        given = parser.parse_args()
    except SystemExit as left:
        sys.exit(int(ExitCode.USAGE) if left.code else 0)
    if given.sample is not None and not given.seed:
        given.seed = secrets.token_hex(4)
    return given


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text!r}")
    return int(text)


def _commit() -> str:
    """Return the commit, with a `+` when what runs is not that commit."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    head = git("rev-parse", "--short", "HEAD").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", ".", ":!benchmarks/data").returncode
    return f"{head}+" if changed else head


if __name__ == "__main__":
    sys.exit(main())
