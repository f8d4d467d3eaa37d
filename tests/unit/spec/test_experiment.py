"""Experiments: plain Chaos Toolkit files, read more strictly than Chaos Toolkit reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faultload.errors import SpecError
from faultload.spec import load_experiment

_FILE = "experiments/engine/replica-loss.yaml"
Mend = Callable[[str, str, str], Path]


def test_valid_file(project: Path) -> None:
    """What people wrote comes out under the names the run uses."""
    experiment = load_experiment(project / _FILE)
    assert experiment.name == "engine/replica-loss"
    assert experiment.title == "Losing one engine replica is over in 30 seconds"
    assert experiment.tags == ("engine",)
    assert experiment.hold_s == 4
    assert [action["name"] for action in experiment.fault_actions] == ["kill"]
    assert experiment.holding(9).hold_s == 9
    assert experiment.block.expects.recovery_s_max == 30
    assert experiment.block.expects.streams_lost_max is None


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("rollbacks:", "rollback:", "rollback", "did you mean 'rollbacks'?"),
        ("steady-state-hypothesis:", "steady_state_hypothesis:", "steady_state_hypothesis", "'ste"),
        ("  probes:", "  probs:", "steady-state-hypothesis.probs", "did you mean 'probes'?"),
        ("pauses:", "pause:", "method[0].pause", "did you mean 'pauses'?"),
        (
            "provider: {type: python, module: builtins, func: bool}\nmethod",
            "provider: {type: python, modul: builtins, func: bool}\nmethod",
            "steady-state-hypothesis.probes[0].provider.modul",
            "did you mean 'module'?",
        ),
        (
            "provider: {type: python, module: builtins, func: bool}\n    pauses",
            "provider: {type: pyton, module: builtins, func: bool}\n    pauses",
            "method[0].provider.type",
            "expected one of http, process, python, found 'pyton'",
        ),
        ("requires:", "require:", "extensions[faultload].require", "did you mean 'requires'?"),
        (
            "{recovery_s_max: 30}",
            "{recovery_max_s: 30}",
            "extensions[faultload].expects.recovery_max_s",
            "did you mean 'recovery_s_max'?",
        ),
        (
            "blast_radius: {component: engine, replicas: 1}",
            "blast_radius: {component: engine, replicas: none}",
            "extensions[faultload].blast_radius.replicas",
            "found 'none'",
        ),
        ("- name: faultload", "- name: faultlaod", "extensions", "did you mean 'faultload'?"),
        ("title: Losing", "title: ''\nx: Losing", "", ""),
        ("description: The", "contributions: The", "contributions", "expected a mapping"),
        ("tolerance: true", "tolerance: [0, 1]", "probes[0].tolerance", "expected true"),
        ("      tolerance: true\n", "", "probes[0].tolerance", "expected true"),
        ('{after: "${hold_s}"}', "{after: soon}", "method[0].pauses.after", "expected seconds"),
        ('{after: "${hold_s}"}', "{after: -1}", "method[0].pauses.after", "found -1"),
        (
            "- type: action\n    name: kill",
            "- kill\n  - type: action\n    name: k",
            "method[0]",
            "found 'kill'",
        ),
    ],
)
def test_mistake_says_where(mend: Mend, old: str, new: str, key: str, says: str) -> None:
    """Chaos Toolkit would ignore most of these without a word; here each is an error with a key."""
    path = mend(_FILE, old, new)
    with pytest.raises(SpecError) as caught:
        load_experiment(path)
    assert key in caught.value.key
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))


_BROKEN_SHAPES = [
    ("tags: [engine]", "tags: engine", "tags"),
    ("tags: [engine]", "tags: 3", "tags"),
    ("configuration: {hold_s: 4}", "configuration: 4", "configuration"),
    ("configuration: {hold_s: 4}", "configuration: [a]", "configuration"),
    ("configuration: {hold_s: 4}\n", "", "method"),
    ("configuration: {hold_s: 4}", "configuration: {hodl_s: 4}", "method"),
    ("configuration: {hold_s: 4}", "configuration: {7: 4, a: 5}", "method"),
    ('{after: "${hold_s}"}', "4", "method[0].pauses"),
    ('{after: "${hold_s}"}', "{afterwards: 4}", "method[0].pauses.afterwards"),
    ('{after: "${hold_s}"}', "{after: .nan}", "method"),
    ("title: Losing one", "title: {a: 1}\ndescription: Losing", ""),
    (
        "    provider: {type: python, module: builtins, func: bool}\n    pauses",
        "    pauses",
        "method",
    ),
    (
        "    provider: {type: python, module: builtins, func: bool}\n    pauses",
        "    provider: python\n    pauses",
        "method[0].provider",
    ),
    ("extensions:\n  -", "extensions:\n   ", "extensions"),
]


@pytest.mark.parametrize(("old", "new", "key"), _BROKEN_SHAPES)
def test_wrong_shape_is_an_error_not_a_crash(mend: Mend, old: str, new: str, key: str) -> None:
    """A value of the wrong kind is told apart where the file is read, not deep inside a run."""
    path = mend(_FILE, old, new)
    with pytest.raises(SpecError) as caught:
        load_experiment(path)
    assert caught.value.key.startswith(key)


@pytest.mark.parametrize("arguments", ["", "[a]", "a", "3"])
@pytest.mark.parametrize(
    ("after", "at"),
    [
        ("\nmethod", "steady-state-hypothesis.probes[0]"),
        ("\n    pauses", "method[0]"),
        ("\n", "rollbacks[0]"),
    ],
)
def test_arguments_are_a_mapping(mend: Mend, arguments: str, after: str, at: str) -> None:
    """Chaos Toolkit copies and substitutes them as one; where there are none, there is no key."""
    provider = "provider: {type: python, module: builtins, func: bool"
    name = "    name: undo\n    " if at.startswith("rollbacks") else ""
    old, new = f"{provider}}}{after}", f"{provider}, arguments: {arguments}}}{after}"
    with pytest.raises(SpecError, match="expected a mapping") as caught:
        load_experiment(mend(_FILE, name + old, name + new))
    assert caught.value.key == f"{at}.provider.arguments"


_PROBE = "{type: probe, name: n, provider: {type: process, path: touch, arguments: x}}"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("{hold_s: 4}", f"{{hold_s: 4, x: {_PROBE}}}", "configuration.x"),
        ("{hold_s: 4}", f"{{hold_s: 4, x: {{type: env, default: {_PROBE}}}}}", "configuration.x"),
        (
            "{hold_s: 4}",
            """{hold_s: 4, x: {type: env, env_var_type: json, default: ' {"type": "probe"}'}}""",
            "configuration.x",
        ),
        ("{hold_s: 4}", f"{{hold_s: 4}}\nsecrets: {{x: {_PROBE}}}", "secrets.x"),
        ("{hold_s: 4}", f"{{hold_s: 4}}\nsecrets: {{x: {{y: {_PROBE}}}}}", "secrets.x"),
    ],
)
def test_nothing_runs_when_values_are_read(mend: Mend, old: str, new: str, key: str) -> None:
    """Chaos Toolkit runs a value that is a probe: outside journal, proof and blast radius."""
    with pytest.raises(SpecError, match="expected a value or type: env") as caught:
        load_experiment(mend(_FILE, old, new))
    assert caught.value.key == key


def test_values_from_the_environment_stay(mend: Mend) -> None:
    """Only what would be run is refused; texts that merely look like JSON are texts."""
    new = "{hold_s: 4, x: {type: env, key: X, default: '[a'}, y: '{}'}\nsecrets: {z: {type: env}}"
    assert load_experiment(mend(_FILE, "{hold_s: 4}", new)).hold_s == 4


def test_null_sections_are_empty_ones(mend: Mend) -> None:
    """A section left blank in YAML is null: it means nothing there, as a missing one does."""
    path = mend(_FILE, "configuration: {hold_s: 4}", "configuration:\nsecrets:\ncontrols:")
    path = mend(_FILE, '{after: "${hold_s}"}', "{after: 2}")
    assert load_experiment(path).hold_s == 2
