"""A made-up run to report: one of four engine replicas is killed under 24 requests/s for 75 s.

The rows are drawn from a seed, and the judgement is counted from the rows by the shortest code
that will do: these tests are about how a run is shown, not about how it is judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from faultload.judge import (
    BudgetSpent,
    Expectation,
    Finding,
    Judgement,
    PhaseResult,
    Recovery,
    TokenLedger,
    Verdict,
)
from faultload.record import (
    ALERT_SCHEMA,
    REQUEST_SCHEMA,
    SERIES_SCHEMA,
    InjectionEntry,
    InjectionStep,
    LoadSummary,
    Manifest,
    Outcome,
    Phase,
    PhaseName,
    RunDirectory,
    write_table,
)
from faultload.record.manifest import Clock
from faultload.report import write_reports
from faultload.spec import SLO, Experiment
from faultload.spec.experiment import FaultloadBlock

T0 = 1_780_000_000.25
KILL_S, READY_S, GONE_S, END_S = 30.4, 40.1, 45.2, 75.0
PHASES = [
    Phase(name=PhaseName.WARMUP, start_s=0, end_s=10),
    Phase(name=PhaseName.BASELINE, start_s=10, end_s=30),
    Phase(name=PhaseName.FAULT, start_s=30, end_s=GONE_S),
    Phase(name=PhaseName.RECOVERY, start_s=GONE_S, end_s=END_S),
]
TITLE = "Losing one engine replica is over in 20 seconds and costs users 5 streams"


@dataclass
class Run:
    """Arguments of `write_reports`, to change one by one before writing."""

    run: RunDirectory
    manifest: Manifest
    experiment: Experiment
    slos: list[SLO]
    judgement: Judgement
    requests: pd.DataFrame
    series: pd.DataFrame
    events: list[dict[str, Any]]

    def write(self) -> dict[str, str]:
        """Write the reports and return their texts by file name."""
        paths = write_reports(**vars(self))
        return {path.name: path.read_text(encoding="utf-8") for path in paths}


def make_run(folder: Path, verdict: Verdict = Verdict.FAIL) -> Run:
    """Return the made-up run, its journal and alerts on disk, with a verdict of choice."""
    run = RunDirectory.create(folder, "20260528T200640-replica-loss-7f3a")
    slos = [
        make_slo("fast-ttft", "fast", "ttft_s <= 0.25", 0.95),
        make_slo("reasoning-ttft", "reasoning", "ttft_s <= 1", 0.95),
        make_slo("served", None, "served", 0.99),
    ]
    requests = make_requests()
    write_journal(run)
    alert = {"alert": "ServedFastBurn", "severity": "page", "start_s": 37.0, "end_s": 58.0}
    found = {"slo": "served", "state": "fired", "outage_to_fire_s": 4.0, "why": ""}
    alerts = pd.DataFrame([alert | found | {"total_outage_to_fire_s": 260.0}])
    write_table(alerts, ALERT_SCHEMA, run.alerts)
    judgement = make_judgement(requests, slos, verdict)
    manifest = make_manifest(run, slos, judgement)
    return Run(
        run=run,
        manifest=manifest,
        experiment=make_experiment(),
        slos=slos,
        judgement=judgement,
        requests=requests,
        series=make_series(),
        events=make_events(),
    )


@pytest.fixture
def killed(tmp_path: Path) -> Run:
    """Return the made-up run, judged `fail`."""
    return make_run(tmp_path)


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[Verdict], Run]:
    """Return a maker of the made-up run with a verdict of choice."""
    return lambda verdict: make_run(tmp_path / verdict, verdict)


@pytest.fixture
def empty(tmp_path: Path) -> Run:
    """Return a run that stopped before anything was measured: no rows, series, events, phases."""
    run = make_run(tmp_path, Verdict.INVALID)
    run.run.injections.path.unlink()
    run.run.alerts.unlink()
    run.requests = run.requests.iloc[:0]
    run.series = run.series.iloc[:0]
    run.events = []
    run.manifest = run.manifest.model_copy(
        update={"phases": [], "load": None, "outcome": Outcome.STOPPED, "platform": {}}
    )
    run.judgement = replace(
        run.judgement,
        phases=[],
        recoveries=[],
        budgets=[],
        expectations=[],
        streams_lost=0,
        requests=0,
        tokens=TokenLedger(0, 0, 0, 0, 0, 0),
        fault_window_s=None,
    )
    return run


def make_slo(name: str, tier: str | None, good: str, target: float) -> SLO:
    """Return an SLO on request rows."""
    source = {"type": "requests", "spec": {"tier": tier, "good": good}}
    raw = {"rawType": "success", "raw": {"metricSource": source}}
    indicator = {"metadata": {"name": name}, "spec": {"ratioMetric": raw}}
    return SLO.model_validate(
        {
            "apiVersion": "openslo/v1",
            "kind": "SLO",
            "metadata": {"name": name},
            "spec": {
                "description": name,
                "service": "inference",
                "indicator": indicator,
                "timeWindow": [{"duration": "30d", "isRolling": True}],
                "budgetingMethod": "Occurrences",
                "objectives": [{"target": target}],
            },
        }
    )


def make_experiment() -> Experiment:
    """Return the experiment that the run is of."""
    block = {
        "name": "faultload",
        "scenario": "chat",
        "slos": ["chat"],
        "phases": {"warmup_s": 10, "baseline_s": 20, "recovery_s": 30},
        "blast_radius": {"component": "engine", "replicas": 1},
        "expects": {"recovery_s_max": 20, "budget_percent_max": 1, "streams_lost_max": 5},
    }
    return Experiment(
        path=Path("experiments/engine/replica-loss.yaml"),
        title=TITLE,
        description="The router notices a dead replica within two seconds and three replicas carry"
        " the load until the fourth is back. Streams on the dead replica are lost.",
        tags=("engine",),
        block=FaultloadBlock.model_validate(block),
        raw={"title": TITLE, "method": []},
    )


def make_requests() -> pd.DataFrame:
    """Return about 1,800 rows; the replica dies at KILL_S and its successor is ready at READY_S."""
    rng = np.random.default_rng(7)
    due = np.cumsum(rng.exponential(1 / 24, 2400))
    due = due[due < END_S - 0.5]
    n = len(due)
    tier = np.where(rng.random(n) < 0.7, "fast", "reasoning")
    tokens = np.where(tier == "fast", rng.integers(20, 90, n), rng.integers(80, 260, n))
    queueing = np.clip((due - KILL_S) / 3, 0, 1) * np.clip((READY_S + 4 - due) / 5, 0, 1)
    ttft = np.where(tier == "fast", 0.055, 0.16) * rng.lognormal(0, 0.28, n)
    ttft += queueing * rng.gamma(3, 0.28, n)
    first = due + ttft
    last = first + tokens * 0.02 * (1 + 0.5 * queueing)
    replica = rng.integers(0, 4, n)
    dead = (due > KILL_S) & (due < READY_S)
    replica = np.where(dead & (due > KILL_S + 1.6), rng.integers(0, 3, n), replica)
    status = np.full(n, "ok", dtype=object)
    cut = (replica == 3) & (due <= KILL_S) & (last > KILL_S)
    status[cut & (first < KILL_S)] = "cut"
    status[cut & (first >= KILL_S)] = "connect_error"
    status[(replica == 3) & dead] = "connect_error"
    status[(queueing > 0.8) & (rng.random(n) < 0.03)] = "timeout_first_token"
    status[(queueing > 0.6) & (rng.random(n) < 0.02)] = "http_error"
    no_token = np.isin(status, ["connect_error", "timeout_first_token", "http_error"])
    got = np.where(
        status == "cut", np.maximum(1, tokens * (KILL_S - first) / (last - first)), tokens
    )
    last = np.where(status == "cut", KILL_S, last)
    end = np.where(status == "timeout_first_token", due + 5, np.where(no_token, due + 0.05, last))
    frame = pd.DataFrame(
        {
            "index": np.arange(n),
            "due_s": due,
            "sent_s": due + 0.001,
            "first_token_s": np.where(no_token, np.nan, first),
            "last_token_s": np.where(no_token, np.nan, last),
            "end_s": end,
            "status": status,
            "http_status": np.where(no_token, 0, 200),
            "finish_reason": np.where(status == "ok", "length", ""),
            "tier": tier,
            "output_tokens_asked": tokens,
            "output_tokens": np.where(no_token, 0, got).astype(int),
            "served_by": [f"engine-{r}" for r in replica],
        }
    )
    return frame.reindex(columns=REQUEST_SCHEMA.names)


def make_series() -> pd.DataFrame:
    """Return samples every second; the dead replica's own are missing while it is away."""
    rows: list[tuple[str, str, float, float]] = []
    rng = np.random.default_rng(3)
    for t in np.arange(0.0, END_S):
        is_down = KILL_S < t < READY_S
        for i in range(4):
            pod = {"pod": f"engine-{i}", "uid": f"uid-{i}", "condition": "true"}
            is_ready = 0.0 if i == 3 and KILL_S + 1 < t < READY_S else 1.0
            rows.append(("kube_pod_status_ready", json.dumps(pod), t, is_ready))
            pod = {**pod, "condition": "false"}
            rows.append(("kube_pod_status_ready", json.dumps(pod), t, 1.0 - is_ready))
        for i in range(4):
            if i == 3 and is_down:
                continue
            labels = json.dumps({"instance": f"10.0.0.{i}", "replica": f"engine-{i}"})
            base = 12 if is_down else 6
            since = READY_S if i == 3 and t >= READY_S else 0
            rows.append(("vllm:num_requests_running", labels, t, base + rng.normal(0, 1.2)))
            waiting = max(0.0, rng.normal(4 if is_down else 0.1, 0.8))
            rows.append(("vllm:num_requests_waiting", labels, t, waiting))
            rows.append(("vllm:kv_cache_usage_perc", labels, t, base / 24 + rng.normal(0, 0.02)))
            rows.append(("vllm:generation_tokens_total", labels, t, 420 * (t - since)))
        rows.append(("inference_router_retries_total", "{}", t, max(0.0, min(t, 33) - KILL_S) * 6))
        rows.append(("vllm:time_to_first_token_seconds_bucket", '{"le":"0.1"}', t, 20 * t))
        rows.append(("gpu_memory_used_bytes", "{}", t, 68 * 2**30 + rng.normal(0, 2**26)))
    return pd.DataFrame(rows, columns=SERIES_SCHEMA.names)


def write_journal(run: RunDirectory) -> None:
    """Write the journal of one kill."""
    plan = {
        "victims": [{"component": "engine", "name": "engine-3", "node": "gpu-b", "uid": "u-3f"}],
        "undo": {"continue": ["engine-3"], "token": "never-to-be-shown"},
        "before": {},
    }
    steps: list[tuple[float, InjectionStep, dict[str, Any]]] = [
        (30.1, InjectionStep.PLANNED, {"plan": plan}),
        (30.3, InjectionStep.INJECTING, {}),
        (KILL_S, InjectionStep.INJECTED, {}),
        (
            31.0,
            InjectionStep.VERIFIED,
            {"evidence": {"text": "engine-3 is gone", "data": {"ready": 3}}},
        ),
        (40.2, InjectionStep.REVERTING, {}),
        (44.9, InjectionStep.REVERTED, {}),
        (
            GONE_S,
            InjectionStep.VERIFIED_REVERTED,
            {"evidence": {"text": "engine-3 is back", "data": {"waited_s": 9.7}}},
        ),
    ]
    for t, step, rest in steps:
        run.injections.append(InjectionEntry("kill-1", step, "kill_replica", T0 + t, **rest))


def make_events() -> list[dict[str, Any]]:
    """Return what five sources said."""
    said = [
        (0.0, "harness", "phase", "warm-up begins: 24 requests/s, Poisson, seed 1"),
        (10.0, "harness", "phase", "baseline begins"),
        (29.8, "harness", "steady", "steady state met: 2 of 2 probes said yes"),
        (30.3, "fault", "injecting", "kill_replica: killing engine-3 on gpu-b"),
        (31.0, "fault", "verified", "kill_replica took effect: engine-3 is gone, 3 ready"),
        (31.2, "platform", "restart", "engine-3 exited (137); restarting after 1 s"),
        (32.0, "platform", "ejected", "router: engine-3 ejected after 3 failures"),
        (40.1, "platform", "ready", "engine-3 ready after a cold start of 7.9 s"),
        (45.2, "fault", "reverted", "kill_replica is proven gone: 4 of 4 ready"),
        (45.2, "harness", "phase", "recovery begins"),
        (60.0, "load", "lag", "largest dispatch lag so far 4 ms"),
        (75.0, "harness", "sealed", "record sealed"),
    ]
    return [{"t_s": t, "source": s, "kind": k, "text": x, "data": {}} for t, s, k, x in said]


def make_manifest(run: RunDirectory, slos: list[SLO], judgement: Judgement) -> Manifest:
    """Return the manifest."""
    files = ["requests.parquet", "series.parquet", "injections.jsonl", "events.jsonl"]
    files += ["experiment.yaml", "slos.yaml", "scenario.yaml", "target.yaml", "alerts.parquet"]
    return Manifest(
        run_id=run.run_id,
        experiment="engine/replica-loss",
        title=TITLE,
        scenario="chat",
        slos=[slo.name for slo in slos],
        target="local",
        target_fingerprint="local-5d0c2f",
        seed=1,
        trace_sha256="9b2f4c61" * 8,
        repeat="faultload run engine/replica-loss --target local --seed 1",
        faultload_version="0.1.0",
        versions={"python": "3.11.9", "chaostoolkit-lib": "1.44.0", "locust": "2.47.0"},
        commit="f57be37",
        clock=Clock(t0_unix_s=T0, t0_monotonic_s=12.0, wall_drift_s=0.0004),
        phases=PHASES,
        outcome=Outcome.COMPLETED,
        steady_state_met=True,
        load=LoadSummary(
            requests_due=judgement.requests,
            requests_sent=judgement.requests,
            rows=judgement.requests,
            lag_s_p99=0.0042,
            cpu_share_max=0.31,
            workers=1,
        ),
        platform={
            "replicas": [{"name": f"engine-{i}", "component": "engine"} for i in range(4)],
            "nodes": [{"name": "gpu-a"}, {"name": "gpu-b"}],
            "platform_id": "5d0c2f",
            "config": {"cold_start_s": 8.0, "engine": {"max_num_seqs": 32}},
        },
        sha256={name: f"{i:02x}" * 32 for i, name in enumerate(files, start=17)},
    )


def make_judgement(requests: pd.DataFrame, slos: list[SLO], verdict: Verdict) -> Judgement:
    """Return a judgement whose counts are those of the rows."""
    results = [judge_phase(requests, slo, phase, verdict) for slo in slos for phase in PHASES]
    cut = int((requests["status"] == "cut").sum())
    lost = cut if verdict is Verdict.FAIL else 3
    ok = requests["status"] == "ok"
    reason, findings = {
        Verdict.PASS: (
            "Every claim held: recovered after 13.8 s, 0.21 % of the budget spent.",
            [Finding(Verdict.PASS, "served", "0.1 % bad of a budget of 1 %", "requests.parquet")],
        ),
        Verdict.FAIL: (
            f"{lost} streams were lost, the experiment claims at most 5.",
            [
                Finding(
                    Verdict.FAIL,
                    "streams_lost_max",
                    f"expected at most 5 streams lost, found {lost}",
                    "requests.parquet",
                ),
                Finding(Verdict.PASS, "fault", "proven in force and gone", "injections.jsonl"),
                Finding(Verdict.PASS, "load", "1,790 of 1,790 requests sent", "manifest.json"),
            ],
        ),
        Verdict.INCONCLUSIVE: (
            "fast-ttft cannot be decided: 3.8 % bad, interval 2.1 % to 6.2 %, budget 5 %.",
            [
                Finding(
                    Verdict.INCONCLUSIVE,
                    "fast-ttft",
                    "expected a bad ratio under 5 %, found 3.8 % (2.1 % to 6.2 %)",
                    "requests.parquet",
                )
            ],
        ),
        Verdict.INVALID: (
            "The load client was the bottleneck: it used 97 % of its core.",
            [
                Finding(
                    Verdict.INVALID,
                    "load",
                    "expected the busiest worker under 80 % of a core, found 97 %; add a worker",
                    "manifest.json",
                )
            ],
        ),
    }[verdict]
    tokens = TokenLedger(
        asked=int(requests["output_tokens_asked"].sum()),
        delivered=int(requests.loc[ok, "output_tokens"].sum()),
        lost=1874,
        wasted=1122,
        duplicated=0,
        refused=2950,
    )
    expects = {Verdict.FAIL: Verdict.FAIL}.get(verdict, Verdict.PASS)
    return Judgement(
        verdict=verdict,
        reason=reason,
        findings=findings,
        phases=results,
        recoveries=[
            Recovery("fast-ttft", 0.4, 2.1, 13.8, None, 3.7),
            Recovery("reasoning-ttft", 2.2, 4.0, 11.2, None, 3.7),
            Recovery("served", 0.0, 1.0, 9.9, None, 3.7),
        ],
        budgets=[
            BudgetSpent("fast-ttft", 0.17, 2160, 0.0079, 14.2),
            BudgetSpent("reasoning-ttft", 0.05, 2160, 0.0023, 9.1),
            BudgetSpent("served", 0.05, 432, 0.012, 22.4),
        ],
        expectations=[
            Expectation("recovery_s_max", 20, 13.8, Verdict.PASS, "every SLO is met in 20 s"),
            Expectation("budget_percent_max", 1, 0.012, Verdict.PASS, "under 1 % of the budget"),
            Expectation("streams_lost_max", 5, lost, expects, "at most 5 streams are lost"),
        ],
        streams_lost=lost,
        requests=len(requests),
        tokens=tokens,
        fault_window_s=(KILL_S, GONE_S),
    )


def judge_phase(requests: pd.DataFrame, slo: SLO, phase: Phase, verdict: Verdict) -> PhaseResult:
    """Count one SLO over one phase."""
    query = slo.source.spec
    rows = requests[requests["due_s"].between(phase.start_s, phase.end_s, inclusive="left")]
    rows = rows if query.tier is None else rows[rows["tier"] == query.tier]
    ok = rows["status"] == "ok"
    is_latency = query.condition.kind == "latency"
    ttft = (rows["first_token_s"] - rows["due_s"]).where(ok, np.inf)
    bad = int((ttft > query.condition.limit_s).sum() if is_latency else (~ok).sum())
    ratio = bad / len(rows)
    spread = 1.64 * float(np.sqrt(max(ratio, 1 / len(rows)) / len(rows)))
    found = [float(ttft.quantile(q, interpolation="higher")) for q in (0.5, 0.95, 0.99)]
    quantiles = [v if is_latency and np.isfinite(v) else None for v in found]
    is_judged = phase.name in (PhaseName.BASELINE, PhaseName.RECOVERY)
    undecided = verdict is Verdict.INCONCLUSIVE and slo.name == "fast-ttft"
    shown = Verdict.INCONCLUSIVE if undecided else Verdict.PASS
    return PhaseResult(
        slo=slo.name,
        statement=slo.statement,
        phase=phase.name,
        events=len(rows),
        bad=bad,
        bad_ratio=ratio,
        budget=slo.budget,
        interval=(max(0.0, ratio - spread), ratio + spread),
        value_s_p50=quantiles[0],
        value_s_p95=quantiles[1],
        value_s_p99=quantiles[2],
        verdict=shown if is_judged else None,
    )
