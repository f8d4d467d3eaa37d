"""A small corpus of runs: between them they need every part of the judge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scenes import (
    END,
    GONE,
    HARM,
    PHASES,
    health,
    journal,
    load,
    outage,
    rows,
    scene,
    slo,
    steady,
)

from faultload.judge import Evidence, ReplicaCounts
from faultload.record import ALERT_SCHEMA, InjectionEntry, InjectionStep, Outcome, PhaseName
from faultload.record.fleet import Fleet, Machine
from faultload.spec.experiment import Expects

GOOD = ('done_total{outcome="ok"}', "done_total")


def fleet(usd_per_h: float | None = 3.6) -> Fleet:
    """Return one machine of four GPUs that is busy for half of each second."""
    edges = np.arange(0.0, END + 1, 1.0)
    cells = np.ones(len(edges) - 1)
    machine = Machine(
        node="a",
        provider_id="i-1",
        instance_type="g6.12xlarge",
        capacity_type="spot",
        zone="us-east-1a",
        gpus=4,
        usd_per_h=usd_per_h,
        start_s=0.0,
        end_s=END,
        began=True,
        ended=False,
        error_s=1.0,
        busy_gpu_s=2.0 * cells,
        cold_gpu_s=0.5 * cells,
    )
    return Fleet(edges, [machine])


def alerts() -> pd.DataFrame:
    """Return one replayed alert that fired after the harm."""
    row = ("Burn", "page", HARM + 3, np.nan, "quick", "fired", 40.0, 52.0, "")
    return pd.DataFrame([row], columns=ALERT_SCHEMA.names)


def mixed(seed: int = 1) -> pd.DataFrame:
    """Return an outage among requests of every kind of ending, with streams across the harm."""
    draw = np.random.default_rng(seed)
    due = steady()
    harmed = (due >= HARM - 1) & (due < HARM + 6)
    endings = np.array(["cut", "http_error", "unfinished", "ok", "timeout_gap"], dtype=object)
    status = np.where(harmed, draw.choice(endings, len(due)), "ok").astype(object)
    status[-40:] = "unfinished"
    began = (status != "http_error") & (draw.random(len(due)) < 0.97) | (status == "ok")
    first = np.where(began, due + draw.gamma(4, 0.02, len(due)), np.nan)
    last = first + draw.gamma(4, 0.05, len(due))
    end = np.where(began, last + 0.01, due + 0.05)
    return rows(
        due,
        status=status,
        first_token_s=first,
        last_token_s=last,
        end_s=np.where(status == "unfinished", np.maximum(end, due + 0.7), end),
        http_status=np.where(status == "http_error", 503, 200),
        output_tokens=np.where(status == "cut", 5, 21),
        gap_s_max=np.where(draw.random(len(due)) < 0.01, 1.5, 0.02),
        tokens_missing=(draw.random(len(due)) < 0.001).astype(int),
        retries=(harmed & (np.arange(len(due)) % 3 == 0)).astype(int),
        served_by=np.where(due < HARM, "r0", "r1").astype(object),
    )


def counted(back_s: float = HARM + 8, more_s: float = GONE + 20) -> dict[str, ReplicaCounts]:
    """Return a tier that loses a replica and gets it back, and one that grows and shrinks."""
    times = [t + 0.5 for t in range(int(END))]
    lost = [(t, 1.0 if HARM + 1 < t < back_s else 2.0) for t in times]
    wish = [(t, 3.0 if HARM + 2 < t < more_s else 2.0) for t in times]
    grown = [(t, 3.0 if HARM + 6 < t < more_s + 2 else 2.0) for t in times]
    return {
        "a/lost": ReplicaCounts([(t, 2.0) for t in times], lost),
        "b/grown": ReplicaCounts(wish, grown),
    }


def with_data(step: InjectionStep, **data: Any) -> list[InjectionEntry]:
    """Return a journal with evidence on one step."""
    return [
        dataclasses.replace(entry, evidence={"data": data}) if entry.step is step else entry
        for entry in journal()
    ]


def partitioned(**changes: Any) -> list[InjectionEntry]:
    """Return the journal of a partition of r0."""
    plan = {"victims": [{"name": "r0"}]}
    return [
        dataclasses.replace(entry, fault="partition_replica", plan=plan, evidence={}, **changes)
        for entry in journal()
    ]


LATENCIES = [
    slo("ttft", "ttft_s <= 0.2"),
    slo("tpot", "tpot_s <= 0.012"),
    slo("e2e", "e2e_s <= 0.6"),
    slo("gap", "gap_s_max <= 1", tier="fast"),
    slo("whole", "intact", target=0.995),
]
EVERY_CLAIM = Expects(
    recovery_s_max=30,
    budget_percent_max=1,
    streams_lost_max=5,
    revert_s_max=5,
    scale_up_s_max=10,
    scale_down_s_max=40,
    refused_max=3,
)
HISTORY = {"availability": [math.log(0.03) + x for x in np.linspace(-0.3, 0.3, 20)]}
UNEVEN = {"availability": [math.log(0.01), math.log(0.0001)] * 12}
NONE_DUE = [phase for phase in PHASES if phase.name is not PhaseName.FAULT]

CORPUS: dict[str, Callable[[], Evidence]] = {
    "pass": scene,
    "every claim": lambda: scene(
        mixed(),
        slos=[slo(), *LATENCIES],
        expects=EVERY_CLAIM,
        replicas=counted(),
        usable={"r": [(float(t), 2.0 if t < HARM + 1 else 1.0) for t in range(int(END))]},
        injections=with_data(InjectionStep.VERIFIED_REVERTED, refused_requests=1, senders=[]),
    ),
    "too late": lambda: scene(
        outage(end=HARM + 80),
        expects=EVERY_CLAIM.model_copy(update={"revert_s_max": 0.5}),
        replicas=counted(back_s=END + 1, more_s=END + 1),
    ),
    "never": lambda: scene(outage(end=END), replicas={"a": ReplicaCounts([], [])}),
    "relapse": lambda: scene(
        rows(steady(), (steady() >= HARM) & (steady() % 50 < 8) & (np.arange(6400) % 2 == 0))
    ),
    "slow return": lambda: scene(
        rows(
            steady(),
            np.random.default_rng(3).random(6400)
            < np.where(steady() < HARM, 0.01, 0.01 + 0.6 * np.exp(-(steady() - HARM) / 12)),
        )
    ),
    "at its budget": lambda: scene(
        rows(steady(), (steady() >= HARM) & ((steady() < GONE) | (np.arange(6400) % 20 == 0))),
        slos=[slo(target=0.9495)],
    ),
    "burst before": lambda: scene(rows(steady(), (steady() >= 20) & (steady() < 22.2))),
    "after": lambda: scene(outage(start=GONE + 5, end=END, share=0.09), expects=Expects()),
    "history": lambda: scene(
        rows(steady(), np.arange(6400) % 29 == 0), expects=Expects(), history=HISTORY
    ),
    "uneven history": lambda: scene(
        rows(steady(), np.arange(6400) % 200 == 0), expects=Expects(), history=UNEVEN
    ),
    "nothing bad, history": lambda: scene(rows(steady()), expects=Expects(), history=HISTORY),
    "moved tail": lambda: scene(
        rows(
            steady(),
            first_token_s=steady()
            + 0.05
            + 0.001 * (np.arange(6400) % 7)
            + 0.1 * ((steady() > HARM) & (np.arange(6400) % 9 == 0)),
            last_token_s=steady() + 0.4,
            end_s=steady() + 0.4,
        ),
        slos=LATENCIES[:1],
        expects=Expects(),
    ),
    "silent to the end": lambda: scene(
        rows(
            steady(),
            first_token_s=np.where(steady() < 140, steady() + 0.05, np.nan),
            last_token_s=np.where(steady() < 140, steady() + 0.3, np.nan),
            status=np.where(steady() < 140, "ok", "unfinished").astype(object),
            end_s=np.where(steady() < 140, steady() + 0.3, END),
        ),
        expects=EVERY_CLAIM,
    ),
    "few": lambda: scene(rows(np.arange(0.5, END, 10.0)), load=load(16), expects=Expects()),
    "no slo": lambda: scene(slos=[]),
    "aborted": lambda: scene(outcome=Outcome.ABORTED, reason="burn rate"),
    "aborted before": lambda: scene(outcome=Outcome.ABORTED, injections=[]),
    "crashed": lambda: scene(outcome=Outcome.CRASHED),
    "no baseline": lambda: scene(phases=NONE_DUE, expects=Expects()),
    "unsteady": lambda: scene(steady_state_met=False),
    "unproven": lambda: scene(injections=journal(*list(InjectionStep)[:3])),
    "senders": lambda: scene(
        injections=with_data(InjectionStep.VERIFIED_REVERTED, senders=[{"why": "crashed"}, None])
    ),
    "other clock": lambda: scene(
        injections=[
            dataclasses.replace(entry, time_unix_s=entry.time_unix_s + 8) for entry in journal()
        ]
    ),
    "late client": lambda: scene(load=load(6400, lag_s_p99=0.5)),
    "late worker": lambda: scene(
        load=load(6400, health=[health(lag_s_p99=0.5, stall_s_max=3.0, clock_step_s_max=1.0)])
    ),
    "stepped": lambda: scene(clock_drift_s=1.0),
    "impossible": lambda: scene(rows(steady(), sent_s=steady() - 1.0)),
    "partition": lambda: scene(mixed(), injections=partitioned()),
    "partition ordered": lambda: scene(
        mixed().assign(served_by="r2"),
        injections=[
            dataclasses.replace(entry, evidence={"data": {"states": [{"ready": True}]}})
            if entry.step is InjectionStep.VERIFIED
            else entry
            for entry in partitioned()
        ],
    ),
    "prometheus": lambda: scene(
        slos=[slo("server", promql=GOOD, target=0.9)],
        counted={("server", phase.name): (900.0, 960.0) for phase in PHASES},
        coverage={"done_total": 0.5, "up": 1.0, "other": 0.2},
        expects=Expects(budget_percent_max=0.01),
    ),
    "prometheus gap": lambda: scene(
        slos=[slo("server", promql=GOOD)],
        counted={("server", PhaseName.BASELINE): (100.0, 100.0)},
        gaps=["done_total"],
        coverage={"done_total": 0.1, "up": 1.0},
        expects=Expects(),
    ),
    "prometheus away": lambda: scene(coverage={"a": 0.0, "b": 0.6}),
    "holes": lambda: scene(
        expects=EVERY_CLAIM,
        replicas={
            "a": ReplicaCounts(
                [(t, n) for t, n in counted()["b/grown"].wanted if not HARM < t < HARM + 20],
                counted()["b/grown"].ready[: int(HARM) + 10],
            )
        },
    ),
    "paid for": lambda: scene(mixed(), expects=Expects(usd_per_1m_tokens_max=0.1), fleet=fleet()),
    "of unknown price": lambda: scene(mixed(), fleet=fleet(usd_per_h=None)),
    "of unknown use": lambda: scene(
        mixed(), fleet=dataclasses.replace(fleet(), parts_problem="no engine was seen")
    ),
    "paged": lambda: scene(mixed(), alerts=alerts()),
    "a release, rolled back": lambda: scene(
        injections=[dataclasses.replace(entry, fault="bad_release") for entry in journal()]
    ),
    "a roll-out": lambda: scene(
        mixed(), injections=[dataclasses.replace(e, fault="roll_out") for e in journal()]
    ),
}
"""By name: a run that needs some part of the judge."""
