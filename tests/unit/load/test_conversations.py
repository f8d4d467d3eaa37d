"""Sessions with growing context and shared prefixes: prompts that prefix caches can know."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload.errors import SpecError
from faultload.load.trace import make_trace
from faultload.spec import load_scenario
from faultload.spec.reading import parse
from faultload.spec.scenario import Scenario

ROOT = Path(__file__).parents[3]
GROWING = {"share": 0.7, "turns": 5, "context": "growing"}
SHARED = {"count": 3, "tokens": 32, "share": 0.5}


def workload(**more: Any) -> Scenario:
    """Two short tiers and two tenants, and whatever a test changes."""
    tiers = [
        {
            "tier": name,
            "model": f"m-{name}",
            "weight": 1,
            "prompt_tokens": {"median": 10, "sigma": 0.5, "max": longest},
            "output_tokens": {"median": 12, "sigma": 0.5, "max": 60},
        }
        for name, longest in (("fast", 80), ("slow", 200))
    ]
    fields = {
        "name": "s",
        "description": "d",
        "arrivals": {"kind": "poisson", "rate_rps": 20},
        "tiers": tiers,
        "tenants": ["a", "b"],
    }
    return Scenario.model_validate(fields | more)


def prompts_of(trace: pd.DataFrame) -> list[list[str]]:
    """The prompts of each session, in order."""
    inside = trace[trace["session"] != ""]
    return [list(turns) for _, turns in inside.groupby("session", sort=True)["prompt"]]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    turns=st.integers(1, 6),
    share=st.floats(0, 1),
    shared=st.none() | st.fixed_dictionaries({"count": st.integers(1, 4), "tokens": st.just(7)}),
)
def test_a_turn_begins_with_the_turn_before(
    seed: int, turns: int, share: float, shared: dict[str, int] | None
) -> None:
    """With growing context every prompt begins with the earlier one and as many words as it asked.

    The bound on the growth holds, and what is counted is what is sent.
    """
    sessions = {"share": share, "turns": turns, "context": "growing"}
    trace = make_trace(workload(sessions=sessions, shared_prefixes=shared), 6, seed)
    assert (trace["prompt"].str.split().str.len() == trace["prompt_tokens"]).all()
    longest = trace["tier"].map({"fast": 80, "slow": 200}) + (shared["tokens"] if shared else 0)
    assert (trace["prompt_tokens"] <= longest).all()
    for _, talk in trace[trace["session"] != ""].groupby("session"):
        assert len(talk) <= turns
        rows = list(talk.itertuples())
        for before, after in pairwise(rows):
            assert str(after.prompt).startswith(f"{before.prompt} ")
            assert after.prompt_tokens > before.prompt_tokens + before.output_tokens


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), short=st.floats(0.5, 8))
def test_a_longer_run_begins_with_the_shorter_one(seed: int, short: float) -> None:
    """Word for word, with everything turned on that could look ahead."""
    scenario = workload(sessions=GROWING, shared_prefixes=SHARED)
    first, whole = make_trace(scenario, short, seed), make_trace(scenario, 9, seed)
    pd.testing.assert_frame_equal(first, whole.iloc[: len(first)])


def test_own_context_moves_nothing() -> None:
    """The new keys change the prompts they are about, and no other column of the same seed."""
    plain = make_trace(workload(sessions={"share": 0.7, "turns": 1}), 20, 1)
    growing = make_trace(
        workload(sessions=GROWING | {"turns": 1}, shared_prefixes=SHARED | {"share": 0}), 20, 1
    )
    pd.testing.assert_frame_equal(plain, growing)
    longer = make_trace(workload(sessions=GROWING, shared_prefixes=SHARED), 20, 1)
    others = ["due_s", "tier", "model", "tenant", "output_tokens"]
    pd.testing.assert_frame_equal(plain[others], longer[others])


def test_old_seeds_keep_their_meaning(tmp_path: Path) -> None:
    """The demo's trace is what it was when its SLOs were tuned."""
    scenario = load_scenario(ROOT / "scenarios" / "chat-steady.yaml")
    trace = make_trace(scenario, 60, 1)
    text = trace.to_csv(index=False, lineterminator="\n")
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "4261025176e9c924f2bea7e69d3ebb6fed55640d3bc9991cf60e169939fc5ddd"


def test_a_share_of_requests_begins_with_a_shared_prefix() -> None:
    """`share` of the requests begin with one of `count` texts of `tokens` words, all in use."""
    trace = make_trace(workload(shared_prefixes=SHARED), 100, 1)
    plain = make_trace(workload(), 100, 1)
    begun = trace["prompt_tokens"] > plain["prompt_tokens"]
    assert begun.mean() == pytest.approx(0.5, abs=0.04)
    assert set(trace["prompt_tokens"] - plain["prompt_tokens"]) == {0, 32}
    heads = trace["prompt"][begun].str.split().str[:32].str.join(" ")
    assert heads.nunique() == 3
    assert heads.value_counts(normalize=True).min() > 0.25
    assert (trace["prompt"][~begun] == plain["prompt"][~begun]).all()


@pytest.mark.parametrize("context", ["own", "growing"])
def test_a_session_keeps_its_prefix(context: str) -> None:
    """A conversation has one system prompt, or none, from its first turn to its last."""
    sessions = {"share": 1, "turns": 4, "context": context}
    trace = make_trace(workload(sessions=sessions, shared_prefixes=SHARED), 30, 1)
    everybody = make_trace(workload(shared_prefixes=SHARED | {"share": 1}), 30, 1)
    known = {" ".join(prompt.split()[:32]) for prompt in everybody["prompt"]}
    begun = []
    for talk in prompts_of(trace):
        heads = {" ".join(prompt.split()[:32]) for prompt in talk}
        begun.append(heads <= known)
        assert len(heads) == 1 if begun[-1] else heads.isdisjoint(known)
    assert 0.3 < sum(begun) / len(begun) < 0.7


def test_two_processes_make_the_same_file(tmp_path: Path) -> None:
    """Nothing of a process (hash seeds, order of sets) gets into the file."""
    code = (
        "import sys; from pathlib import Path;"
        "from faultload.load.trace import make_trace, write_trace;"
        "from faultload.spec import load_scenario;"
        "spec = load_scenario(Path(sys.argv[1]));"
        "write_trace(make_trace(spec, 20, 3), Path(sys.argv[2]))"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        out = tmp_path / f"{hash_seed}.parquet"
        command = [sys.executable, "-c", code, str(ROOT / "scenarios/shared-prefix.yaml"), str(out)]
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        subprocess.run(command, env=environment, check=True, timeout=60)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sessions": {"contxt": "own"}}, "did you mean 'context'?"),
        ({"sessions": {"context": "all"}}, "'own' or 'growing'"),
        ({"shared_prefixes": {"count": 0, "tokens": 1}}, "shared_prefixes.count"),
        ({"shared_prefixes": {"tokens": 1}}, "shared_prefixes.count: this key is required"),
    ],
)
def test_bad_keys_are_one_clear_line(change: dict[str, Any], said: str) -> None:
    """Mistakes in the keys of sessions and prefixes name the key."""
    fields = workload().model_dump(mode="json") | change
    with pytest.raises(SpecError, match=said):
        parse(Scenario, fields, Path("s.yaml"))
