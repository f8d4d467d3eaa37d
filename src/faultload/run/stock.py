"""Stock experiments: plain Chaos Toolkit files whose actions and probes are chaosk8s's.

Their activities are replaced by ours before anything runs: what does harm by the fault that plays
it, what asks by a question that is asked on the target's own cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from faultload.errors import RefusedError, SkippedError
from faultload.faults.stock_list import ACTIONS, PROBES, refusal
from faultload.run.chaos import arguments_of
from faultload.spec import Experiment, KubernetesTargetSpec, TargetSpec

_MODULE = "faultload.faults"
_REVERT_ALL = {
    "type": "action",
    "name": "revert-all",
    "provider": {"type": "python", "module": _MODULE, "func": "revert_all"},
}

Activity = dict[str, Any]


def played_by_us(experiment: Experiment, target: TargetSpec) -> Experiment:
    """Return the experiment with what is chaosk8s's replaced; itself where there is none of that.

    Its rollbacks become one, ours: what a run did is undone from its journal.

    Raises:
        RefusedError: something of chaosk8s is not allowed, or aims beyond the target.
        SkippedError: the target is no cluster.
    """
    raw = experiment.raw
    hypothesis = raw.get("steady-state-hypothesis")
    probes = (hypothesis or {}).get("probes", [])
    rollbacks = raw.get("rollbacks", [])
    if not any(map(_function, [*probes, *raw["method"], *rollbacks])):
        return experiment
    if not isinstance(target, KubernetesTargetSpec):
        raise SkippedError(
            f"skipped: {experiment.path} is about Kubernetes, and target {target.name!r} is"
            f" {target.kind}"
        )
    for activity in rollbacks:
        _replaced(experiment, activity, target, "rollbacks")
    ours = {
        "method": [_replaced(experiment, one, target, "method") for one in raw["method"]],
        "rollbacks": [_REVERT_ALL, *(one for one in rollbacks if not _function(one))],
    }
    if hypothesis:
        at = "steady-state-hypothesis"
        asked = [_replaced(experiment, one, target, at) for one in probes]
        ours[at] = hypothesis | {"probes": asked}
    return replace(experiment, raw=raw | ours)


def _function(activity: Mapping[str, Any]) -> str:
    """Return the function of chaosk8s that an activity calls; "" for none."""
    provider = activity.get("provider") or {}
    module = str(provider.get("module", ""))
    is_theirs = module == "chaosk8s" or module.startswith("chaosk8s.")
    return f"{module}.{provider.get('func')}" if is_theirs else ""


def _replaced(
    experiment: Experiment, activity: Activity, target: KubernetesTargetSpec, section: str
) -> Activity:
    function = _function(activity)
    if not function:
        return activity
    at = f"{experiment.path}: {section}[{activity.get('name')}]"
    acts = activity.get("type") == "action" and section != "steady-state-hypothesis"
    if function not in (ACTIONS if acts else PROBES):
        raise RefusedError(f"{at}: {refusal(function)}")
    if activity.get("secrets") or activity["provider"].get("secrets"):
        raise RefusedError(
            f"{at}.secrets: which cluster it is, and with whose credentials, is said by target"
            f" {target.name!r} alone; remove them"
        )
    namespace = arguments_of(experiment, activity).get("ns", "default")
    if namespace not in target.kubernetes.namespaces:
        raise RefusedError(
            f"{at}.arguments.ns: expected a namespace of target {target.name!r}"
            f" ({', '.join(target.kubernetes.namespaces)}), found {namespace!r}"
        )
    arguments = activity["provider"].get("arguments", {})
    func = ACTIONS[function].fault if acts else "ask_chaosk8s"
    if not acts:
        arguments = {"probe": function, "arguments": arguments}
    provider = {"type": "python", "module": _MODULE, "func": func, "arguments": arguments}
    return activity | {"provider": provider}
