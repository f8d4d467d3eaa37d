"""Stock experiments are read as ours; what they may not have is refused before it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import ROOT

from faultload.cli import invoke
from faultload.errors import ExitCode, RefusedError, SpecError, UsageError
from faultload.run.plan import RunPlan, prepare
from faultload.spec import Catalogue, GivenBlock
from faultload.targets import ASK_CHAOSK8S, TERMINATE_PODS, offers

GIVEN = GivenBlock("chat-steady", ["chat"])
TERMINATE = "chaosk8s.pod.actions.terminate_pods"
SCALE = "chaosk8s.deployment.actions.scale_deployment"


def activity(function: str, kind: str = "action", **arguments: Any) -> dict[str, Any]:
    """Return an activity that calls a function of chaosk8s."""
    module, _, func = function.rpartition(".")
    provider = {"type": "python", "module": module, "func": func, "arguments": arguments}
    return {"type": kind, "name": func, "provider": provider}


def stock(folder: Path, *method: dict[str, Any], **sections: Any) -> Catalogue:
    """Write `stock.yaml` and a target `cluster`; return a catalogue with what the options say."""
    document = {
        "title": "Losing a pod is not seen",
        "description": "A controller replaces it.",
        "configuration": {"where": "llm"},
        "method": list(method),
    }
    (folder / "stock.yaml").write_text(yaml.safe_dump(document | sections), encoding="utf-8")
    for name in ("scenarios", "slos", "experiments"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "targets").mkdir()
    example = (ROOT / "targets" / "staging.example.yaml").read_text(encoding="utf-8")
    target = yaml.safe_load(example)
    target["kubernetes"]["namespaces"] = ["llm"]
    (folder / "targets" / "cluster.yaml").write_text(yaml.safe_dump(target), encoding="utf-8")
    (folder / "targets" / "local.yaml").symlink_to(ROOT / "targets" / "local.yaml")
    return Catalogue(folder, GIVEN)


def prepared(catalogue: Catalogue, target: str = "cluster") -> RunPlan:
    """Return the plan of a run of it."""
    return prepare(catalogue, "stock.yaml", target)


def test_its_activities_become_ours(tmp_path: Path) -> None:
    """Actions are faults, probes are asked on the target's cluster, and the rollback is ours."""
    probe = activity(
        "chaosk8s.pod.probes.pods_in_phase", "probe", label_selector="app=vllm", ns="${where}"
    )
    catalogue = stock(
        tmp_path,
        activity(TERMINATE, label_selector="app=vllm", ns="${where}"),
        probe,
        rollbacks=[activity(SCALE, name="vllm", replicas=2, ns="llm")],
        **{"steady-state-hypothesis": {"title": "Fine", "probes": [probe | {"tolerance": True}]}},
    )
    plan = prepared(catalogue)

    ((name, intent),) = plan.faults
    assert (name, getattr(intent, "label_selector", "")) == ("terminate_pods", "app=vllm")
    raw = plan.experiment.raw
    for asked in (raw["method"][1], *raw["steady-state-hypothesis"]["probes"]):
        assert asked["provider"]["func"] == "ask_chaosk8s"
        assert asked["provider"]["arguments"]["probe"] == "chaosk8s.pod.probes.pods_in_phase"
    assert [one["provider"]["func"] for one in raw["rollbacks"]] == ["revert_all"]
    assert "chaosk8s" not in str([one["provider"]["module"] for one in raw["method"]])


def test_the_options_stand_in_for_the_block(tmp_path: Path) -> None:
    """Scenario, SLOs, phases and blast radius; and the command that repeats the run says them."""
    plan = prepared(stock(tmp_path, activity(SCALE, name="vllm", replicas=1, ns="llm")))

    assert plan.scenario.name == "chat-steady"
    assert (plan.warmup_s, plan.baseline_s, plan.recovery_s) > (0, 0, 0)
    assert plan.limits.radius is not None
    assert plan.limits.radius["engine"].replicas_max == 1
    assert "--scenario chat-steady --slos chat --blast-radius=engine=1" in plan.repeat


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (activity("chaosk8s.node.actions.drain_nodes", name="n"), "use drain_node"),
        (activity("chaosk8s.pod.actions.exec_in_pods", cmd="true"), "Allowed are chaosk8s.pod"),
        (activity("chaosk8s.secret.actions.delete_secret", name="s"), "not on the list"),
        (activity(TERMINATE, "probe", label_selector="a=b", ns="llm"), "is refused"),
        (activity(TERMINATE, label_selector="app=vllm"), "found 'default'"),
        (activity(TERMINATE, label_selector="app=vllm", ns="kube-system"), "found 'kube-system'"),
        (
            activity(TERMINATE, label_selector="app=vllm", ns="llm") | {"secrets": ["k8s"]},
            "remove them",
        ),
        (activity("chaosk8s.pod.probes.count_pods", "probe", label_selector="a=b"), "count_min"),
    ],
)
def test_what_is_not_found_sound_is_refused(
    tmp_path: Path, method: dict[str, Any], said: str
) -> None:
    """Off the list, a probe that acts, another namespace, credentials of its own: 75, and why."""
    with pytest.raises(RefusedError, match=said):
        prepared(stock(tmp_path, method))


def test_a_rollback_is_held_to_the_list_too(tmp_path: Path) -> None:
    """It is replaced by ours, but what it meant to do is not to be silently dropped."""
    catalogue = stock(
        tmp_path,
        activity(TERMINATE, label_selector="app=vllm", ns="llm"),
        rollbacks=[activity("chaosk8s.node.actions.uncordon_node", name="n")],
    )
    with pytest.raises(RefusedError, match="cordons that others set"):
        prepared(catalogue)


def foreign(kind: str = "probe", **provider: Any) -> dict[str, Any]:
    """Return an activity of nobody we know."""
    return {"type": kind, "name": "theirs", "provider": provider}


KUBECTL = {"type": "process", "path": "true", "arguments": "delete pods --all"}
SHELL = {"type": "python", "module": "os", "func": "system", "arguments": {"command": "true"}}
HTTP = {"type": "http", "url": "http://127.0.0.1:1/", "method": "DELETE"}
KILL = {"type": "python", "module": "faultload.faults", "func": "kill_replica"}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"rollbacks": [foreign("action", **KUBECTL)]}, r"rollbacks\[theirs\].*found type process"),
        ({"rollbacks": [foreign(**HTTP)]}, r"rollbacks\[theirs\].*found type http"),
        ({"rollbacks": [foreign("action", **SHELL)]}, r"rollbacks\[theirs\].*found module os"),
        ({"rollbacks": [foreign("action", **KILL)]}, "belongs into the method"),
        ({"method": [foreign(**SHELL)]}, r"method\[theirs\].*found module os"),
        ({"method": [foreign(**KUBECTL)]}, r"method\[theirs\].*found type process"),
        (
            {
                "steady-state-hypothesis": {
                    "title": "Fine",
                    "probes": [foreign(**KUBECTL) | {"tolerance": True}],
                }
            },
            r"steady-state-hypothesis\[theirs\].*found type process",
        ),
    ],
)
@pytest.mark.parametrize("theirs", [True, False], ids=["chaosk8s", "ours"])
def test_nothing_else_may_act(
    tmp_path: Path, sections: dict[str, Any], said: str, *, theirs: bool
) -> None:
    """A file from anywhere brings no commands, addresses or modules, wherever they stand."""
    action = activity(SCALE, name="vllm", replicas=1, ns="llm")
    if not theirs:
        action = foreign("action", **KILL)
    method = [action, *sections.get("method", [])]
    with pytest.raises(RefusedError, match=said):
        prepared(stock(tmp_path, **sections | {"method": method}))


@pytest.mark.parametrize(
    "at", ["controls", r"method\[.*\].controls", "steady-state-hypothesis.controls"]
)
def test_controls_are_refused(tmp_path: Path, at: str) -> None:
    """They are code that is called around every step."""
    provider = {"type": "python", "module": "chaoslib.control"}
    controls = {"controls": [{"name": "c", "provider": provider}]}
    action = activity(SCALE, name="vllm", replicas=1, ns="llm")
    sections: dict[str, Any] = {}
    if at == "controls":
        sections = controls
    elif at.startswith("method"):
        action |= controls
    else:
        sections = {"steady-state-hypothesis": {"title": "Fine", "probes": [], **controls}}
    with pytest.raises(RefusedError, match=f"{at}: an experiment brings no code"):
        prepared(stock(tmp_path, action, **sections))


@pytest.mark.parametrize("section", [[], [activity(SCALE, name="vllm", replicas=2, ns="llm")]])
def test_its_one_rollback_is_ours(tmp_path: Path, section: list[dict[str, Any]]) -> None:
    """Whether it had allowed ones or none: what a run did is undone from its journal."""
    action = activity(SCALE, name="vllm", replicas=1, ns="llm")
    plan = prepared(stock(tmp_path, action, rollbacks=section))
    assert [one["provider"]["func"] for one in plan.experiment.raw["rollbacks"]] == ["revert_all"]


def test_a_referenced_activity_is_written_out(tmp_path: Path) -> None:
    """What a `ref` calls would not be checked."""
    with pytest.raises(SpecError, match="ref"):
        prepared(stock(tmp_path, {"ref": "elsewhere"}))


def test_a_namespace_from_an_environment_that_lacks_it_is_an_error(tmp_path: Path) -> None:
    """Stock files often take it from there: one line says which variable is missing."""
    where = {"where": {"type": "env", "key": "NO_SUCH_NAMESPACE"}}
    action = activity(TERMINATE, label_selector="app=vllm", ns="${where}")
    with pytest.raises(SpecError, match="NO_SUCH_NAMESPACE"):
        prepared(stock(tmp_path, action, configuration=where))


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        (activity(TERMINATE, label_selector="app=vllm", ns="llm"), {TERMINATE_PODS, ASK_CHAOSK8S}),
        (
            activity("chaosk8s.pod.probes.count_min_pods", "probe", label_selector="a", ns="llm"),
            {ASK_CHAOSK8S},
        ),
    ],
)
def test_it_needs_a_cluster(tmp_path: Path, method: dict[str, Any], needs: set[str]) -> None:
    """The local platform has no pods: one of a series is skipped, and ends nothing before it."""
    plan = prepared(stock(tmp_path, method), "local")
    assert plan.capabilities == needs
    assert not plan.capabilities & offers()["local"]
    assert plan.capabilities <= offers()["kubernetes"]


def test_a_block_and_the_options_contradict(tmp_path: Path) -> None:
    """Which of them counts is not guessed; and without either, both ways are named."""
    catalogue = stock(tmp_path, activity(TERMINATE, label_selector="app=vllm", ns="llm"))
    with pytest.raises(SpecError, match="has a block named faultload"):
        prepare(catalogue, "engine/replica-loss", "cluster")
    with pytest.raises(SpecError, match="--scenario and --slos"):
        prepare(Catalogue(tmp_path), "stock.yaml", "cluster")


@pytest.mark.parametrize(
    ("scenario", "slos", "blast_radius", "said"),
    [
        ("chat-steady", [], [], "--scenario and --slos together"),
        (None, ["chat"], [], "--scenario and --slos together"),
        ("chat-steady", ["chat"], ["engine"], "COMPONENT=REPLICAS, found 'engine'"),
        ("chat-steady", ["chat"], ["engine=0"], "found 'engine=0'"),
        ("chat-steady", ["chat"], ["engine=1", "engine=5"], "found engine=1 and engine=5"),
    ],
)
def test_half_of_the_options_is_an_error(
    scenario: str | None, slos: list[str], blast_radius: list[str], said: str
) -> None:
    """Each says what was expected."""
    with pytest.raises(UsageError, match=said):
        GivenBlock.of(scenario, slos, blast_radius)


def test_without_options_files_say_it_all() -> None:
    """Nothing given stands in for nothing."""
    assert GivenBlock.of(None, [], []) is None
    given = GivenBlock.of("chat-steady", ["a,b", "c"], ["router=1"])
    assert given is not None
    assert (list(given.slos), given.blast_radius) == (["a", "b", "c"], {"router": 1})


def test_the_command_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """75, and nothing was asked of any cluster."""
    stock(tmp_path, activity("chaosk8s.node.actions.drain_nodes", name="n"))
    words = ["run", "stock.yaml", "--root", str(tmp_path), "--target", "cluster"]
    assert invoke([*words, "--scenario", "chat-steady", "--slos", "chat"]) == ExitCode.REFUSED
    assert "drain_nodes is refused" in capsys.readouterr().err
