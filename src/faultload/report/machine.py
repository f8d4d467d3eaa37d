"""`verdict.json`: the judgement for machines.

Its keys are a contract: while `schema_version` stays 1 keys are added, none is renamed or removed.

schema_version   1
run_id           name of the run's directory
experiment       `folder/name`
title            the claim
verdict          pass, fail, inconclusive or invalid
reason           the first thing a person should read, one sentence
exit_code        0 pass, 1 fail, 2 inconclusive, 3 invalid
outcome          how the run itself ended: completed, stopped, aborted, interrupted or crashed
started_utc      ISO 8601
paths            files beside this one, relative to it: report, postmortem, junit, record
judgement        everything the verdict rests on, `faultload.judge.Judgement` field by field:
  verdict, reason    as above
  findings           worst first: verdict, subject, text, evidence
  phases             one SLO over one phase: slo, statement, phase, events, bad, bad_ratio, budget,
                     interval, value_s_p50, value_s_p95, value_s_p99, verdict, between_runs
                     (interval and verdict hold for runs such as this one, not this one only)
  recoveries         slo, impact_s, detect_s, recovery_s, censored_at_s, error_s
  budgets            slo, bad_minutes, budget_minutes, budget_percent, burn_rate_max
  expectations       name, limit, found, verdict, text
  streams_lost       streams that began and did not finish, from the first harm on
  requests           rows judged
  tokens             asked, delivered, lost, wasted, duplicated, refused, stalled, unneeded, open,
                     unsent
  fault_window_s     [first harm, proven end] since the start
  alerts             the shipped alert rules replayed on the record: alert, severity, slo, state
                     (fired, quiet, not_replayed), fires_s, resolves_s, fires_after_impact_s,
                     outage_to_fire_s, total_outage_to_fire_s (null: never), why; empty: none was
  cost               US dollars of machines with GPUs, null: nobody looked;
                     `faultload.judge.cost_model.Cost` field by field:
    problem, parts_problem   why the bill, or what became of it, is not known; "": it is
    usd, error_usd
    shares           one a phase and the whole run (`run`): part, seconds, usd, busy_usd, idle_usd,
                     cold_usd, wasted_usd, output_tokens, good_tokens, usd_per_1k_good_tokens
    prompt_tokens, output_tokens, good_tokens
    usd_per_1k_output_tokens, usd_per_1k_good_tokens, usd_per_1m_tokens
    usd_per_1k_equivalent_tokens, input_weight
    node_hours, spot_share, usd_all_on_demand, usd_all_spot
    other_typical    one of these two rests on a typical price
    fault_usd, fault_lost_usd   beyond the baseline's rate
    time_scale       of the platform's starting and waiting
    prices           instance_type, region, capacity_type, usd_per_hour, as_of, source, typical
  stages             the way from harm to health: name (detect, reroute, capacity, warm), reached_s
                     (null: not known, text says why), took_s, error_s, text, evidence
  degraded           of a pass, tails that moved: slo, share (0.95: p95), before_s, before_s_max,
                     after_s (null: infinite), after_s_min
  goodput            by phase: phase, requests, good, requests_per_s, tokens_per_s
  scorecard          the platform's targets: name, title, limit, measured, met (null: not known),
                     text, evidence
load             what the load client says of itself, null: no load was measured; null inside: not
                 recorded. `faultload.record.LoadSummary` field by field:
  loop               open, or closed: users waited, so a slow platform was asked less often
                     (coordinated omission) and latencies look better than they are
  requests_due, requests_sent, rows, workers, workers_lost, rows_lost
  lag_s_p50, lag_s_p99, lag_s_max   sent minus due
  cpu_share_max      of one core, over a second, the busiest worker's
  spread_s_max       longest stall of a worker's event loop
  health             one entry a worker: worker, requests_sent, lag_s_p50, lag_s_p99, lag_s_max,
                     cpu_share_mean, cpu_share_max, stall_s_max, stalls, stalled_share,
                     clock_step_s_max, clock_error_s, streams_max, connections_reused_share,
                     rows_lost

Times are seconds, ratios 0-1. `null` is "no data" or, in latency quantiles, "not a latency" or
"infinite"; NaN and Infinity never occur.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from faultload.errors import ExitCode
from faultload.judge import Verdict
from faultload.report import formats
from faultload.report.facts import Facts

SCHEMA_VERSION = 1

EXIT_CODES = {
    Verdict.PASS: ExitCode.PASS,
    Verdict.FAIL: ExitCode.FAIL,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Verdict.INVALID: ExitCode.INVALID,
}


def verdict_json(facts: Facts) -> dict[str, Any]:
    """Return the data of `verdict.json`, safe for any strict JSON reader."""
    manifest, judgement = facts.manifest, facts.judgement
    data = {
        "schema_version": SCHEMA_VERSION,
        "run_id": manifest.run_id,
        "experiment": manifest.experiment,
        "title": manifest.title,
        "verdict": str(judgement.verdict),
        "reason": judgement.reason,
        "exit_code": int(EXIT_CODES[judgement.verdict]),
        "outcome": str(manifest.outcome),
        "started_utc": formats.timestamp(manifest.clock.t0_unix_s),
        "paths": {
            "report": "report.html",
            "postmortem": "postmortem.md",
            "junit": "junit.xml",
            "record": "record",
        },
        "judgement": judgement.as_json(),
        "load": manifest.load.model_dump() if manifest.load else None,
    }
    found: dict[str, Any] = strict(data)
    return found


def strict(value: Any) -> Any:
    """Return plain JSON data: numpy scalars as Python's, and None for NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)
