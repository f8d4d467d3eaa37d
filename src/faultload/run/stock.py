"""Stock experiments: plain Chaos Toolkit files, whose actions and probes are chaosk8s's.

Their activities are replaced by ours before anything runs: what does harm by the fault that plays
it, what asks by a question that is asked on the target's own cluster. They come from anywhere, so
that nothing else may be in them that acts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from faultload.errors import RefusedError
from faultload.faults import FAULTS
from faultload.faults.stock_list import ACTIONS, PROBES, refusal
from faultload.run.chaos import arguments_of
from faultload.spec import Experiment, KubernetesTargetSpec, TargetSpec
from faultload.targets import ASK_CHAOSK8S

_MODULE = "faultload.faults"
_REVERT_ALL = {
    "type": "action",
    "name": "revert-all",
    "provider": {"type": "python", "module": _MODULE, "func": "revert_all"},
}
_HYPOTHESIS = "steady-state-hypothesis"

Activity = dict[str, Any]


def played_by_us(experiment: Experiment, target: TargetSpec, *, has_block: bool) -> Experiment:
    """Return the experiment with what is chaosk8s's replaced; itself where it is no stock one.

    Its rollbacks become one, ours: what a run did is undone from its journal. What is chaosk8s's
    needs a capability that only a cluster offers.

    Args:
        experiment: as read.
        target: where it is to run.
        has_block: the file says itself what is measured. Then it is a stock one only if something
            in it is chaosk8s's.

    Raises:
        RefusedError: something is not allowed, or aims beyond the target.
    """
    sections = dict(_sections(experiment))
    theirs = any(_function(one) for section in sections.values() for one in section)
    _refuse_controls(experiment, sections)
    if has_block and not theirs:
        _refuse_others(experiment, sections)
        return experiment
    ours = {
        section: [_replaced(experiment, one, target, section) for one in activities]
        for section, activities in sections.items()
    }
    raw = experiment.raw | {"method": ours["method"], "rollbacks": [_REVERT_ALL]}
    if _HYPOTHESIS in raw:
        raw[_HYPOTHESIS] = raw[_HYPOTHESIS] | {"probes": ours[_HYPOTHESIS]}
    requires = [*experiment.block.requires, *([ASK_CHAOSK8S] if theirs else [])]
    block = experiment.block.model_copy(update={"requires": requires})
    return replace(experiment, raw=raw, block=block)


def _sections(experiment: Experiment) -> Iterator[tuple[str, list[Activity]]]:
    raw = experiment.raw
    yield _HYPOTHESIS, raw.get(_HYPOTHESIS, {}).get("probes", [])
    yield "method", raw["method"]
    yield "rollbacks", raw.get("rollbacks", [])


def _function(activity: Mapping[str, Any]) -> str:
    """Return the function of chaosk8s that an activity calls; "" for none."""
    provider = activity.get("provider") or {}
    module = str(provider.get("module", ""))
    is_theirs = module == "chaosk8s" or module.startswith("chaosk8s.")
    return f"{module}.{provider.get('func')}" if is_theirs else ""


def _refuse_controls(experiment: Experiment, sections: Mapping[str, list[Activity]]) -> None:
    """Controls are code that Chaos Toolkit calls around every step."""
    raw = experiment.raw
    places = {"": raw, _HYPOTHESIS: raw.get(_HYPOTHESIS, {})}
    for section, activities in sections.items():
        places |= {f"{section}[{one.get('name')}]": one for one in activities}
    for at, place in places.items():
        if place.get("controls"):
            key = f"{at}.controls" if at else "controls"
            raise RefusedError(
                f"{experiment.path}: {key}: an experiment brings no code of its own; remove them"
            )


def _refuse_others(experiment: Experiment, sections: Mapping[str, list[Activity]]) -> None:
    """Whatever a probe or a rollback calls can do harm as well as an action of the method.

    What those of the method call is looked at by whoever reads them as faults.
    """
    for section, activities in sections.items():
        for one in activities:
            is_fault = section == "method" and one.get("type") == "action"
            if "provider" in one and not is_fault:
                _insist_on_module(one, f"{experiment.path}: {section}[{one.get('name')}]")


def _replaced(
    experiment: Experiment, activity: Activity, target: TargetSpec, section: str
) -> Activity:
    if "provider" not in activity:
        return activity  # a `ref`, which no experiment of ours may have
    at = f"{experiment.path}: {section}[{activity.get('name')}]"
    function, provider = _function(activity), activity["provider"]
    if not function:
        _insist_on_ours(activity, at, section)
        return activity
    acts = activity.get("type") == "action" and section != _HYPOTHESIS
    if function not in (ACTIONS if acts else PROBES):
        raise RefusedError(f"{at}: {refusal(function)}")
    if activity.get("secrets") or provider.get("secrets"):
        raise RefusedError(
            f"{at}.secrets: which cluster it is, and with whose credentials, is said by target"
            f" {target.name!r} alone; remove them"
        )
    namespace = arguments_of(experiment, activity).get("ns", "default")
    if isinstance(target, KubernetesTargetSpec) and namespace not in target.kubernetes.namespaces:
        raise RefusedError(
            f"{at}.arguments.ns: expected a namespace of target {target.name!r}"
            f" ({', '.join(target.kubernetes.namespaces)}), found {namespace!r}"
        )
    arguments = provider.get("arguments", {})
    func = ACTIONS[function].fault if acts else "ask_chaosk8s"
    if not acts:
        arguments = {"probe": function, "arguments": arguments}
    provider = {"type": "python", "module": _MODULE, "func": func, "arguments": arguments}
    return activity | {"provider": provider}


def _insist_on_ours(activity: Activity, at: str, section: str) -> None:
    """Refuse what is neither chaosk8s's nor ours, and harm of ours where harm is undone."""
    _insist_on_module(activity, at)
    func = activity["provider"].get("func")
    if section == "rollbacks" and func in FAULTS:
        raise RefusedError(f"{at}: {func} does harm: it belongs into the method, as an action")


def _insist_on_module(activity: Activity, at: str) -> None:
    """Refuse what is not listed: commands, addresses, other people's modules."""
    provider = activity["provider"]
    kind, module = provider.get("type"), provider.get("module")
    if kind != "python" or module != _MODULE:
        found = f"module {module}" if kind == "python" else f"type {kind}"
        raise RefusedError(
            f"{at}.provider: expected a function of chaosk8s or of {_MODULE}, found {found}, which"
            " nobody could prove, judge or undo; docs/faults.md lists what a stock experiment may"
            " have"
        )
