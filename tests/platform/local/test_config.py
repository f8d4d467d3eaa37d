"""The configuration: what the shipped file says, and what every mistake is told."""

from pathlib import Path

import pytest

from inference_platform.local import config, programs, settings
from inference_platform.local.addresses import Addresses
from inference_platform.local.autoscaling import spec
from inference_platform.local.errors import ConfigError
from inference_platform.local.pod import Pod, Revision


def test_the_shipped_file_has_two_tiers_on_two_zones() -> None:
    """Experiments that lose a replica, a node or a zone need the other one."""
    shipped = config.load(config.DEFAULT_PATH)

    assert {name: tier.replicas for name, tier in shipped.tiers.items()} == {
        "fast": 2,
        "reasoning": 2,
    }
    assert len({node.zone for node in shipped.nodes.values()}) == 2
    assert shipped.first_start_s == 0
    recovery_s = shipped.scaled(shipped.restart.backoff_s + shipped.cold_start_s)
    assert recovery_s == pytest.approx(36)


def test_the_autoscaling_file_begins_small_and_names_its_triggers(tmp_path: Path) -> None:
    """One replica, and its neighbour's triggers from whatever folder it is started."""
    path = config.DEFAULT_PATH.with_name("local-autoscaling.yaml")
    small = config.load(path)

    assert small.autoscaling
    assert [tier.replicas for tier in small.tiers.values()] == [1]
    (scaled,) = spec.load(Path(small.triggers), set(small.tiers))
    assert scaled.min_replica_count == 1
    other = config.load(path, [f"triggers={tmp_path / 'other.yaml'}"])
    assert other.triggers == str(tmp_path / "other.yaml")


def test_every_field_is_documented() -> None:
    """A field without a sentence has no unit."""
    models = [m for m in vars(settings).values() if isinstance(m, type)]
    fields = {
        f"{model.__name__}.{name}": field.description
        for model in models
        if issubclass(model, settings.Model)
        for name, field in model.model_fields.items()
    }

    assert len(fields) > 50
    assert not [name for name, description in fields.items() if not description]


def test_a_value_can_be_set_from_the_command_line() -> None:
    """`--set` reads YAML, and changes nothing else."""
    changed = config.load(
        config.DEFAULT_PATH, ["tiers.fast.replicas=1", "router.extra_args=[--retries, '0']"]
    )

    assert changed.tiers["fast"].replicas == 1
    assert changed.tiers["reasoning"].replicas == 2
    assert changed.router.extra_args == ("--retries", "0")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("tiers.fsat.replicas=1", "no such key 'fsat'; did you mean 'fast'?"),
        ("tiers.fast.replica=1", "no such key 'replica'; did you mean 'replicas'?"),
        ("tiers.fast.replicas", "expected KEY=VALUE"),
        ("tiers.fast.replicas=many", "tiers.fast.replicas: Input should be a valid integer"),
        ("tiers.fast.replicas=50", "the replicas need 52 GPUs, the nodes have 8"),
        ("network=10.0.0.0/24", "expected auto, 127.0.0.1 or a loopback network"),
        ("cold_start_s=.inf", "cold_start_s: Input should be a finite number"),
        ("tiers.fast.engine.fixed_ttft_s=1", "given together or not at all"),
        ("tiers.fast.rollout.max_surge=0", "no pod could be replaced"),
        ("time_scale=0", "time_scale: Input should be greater than 0"),
        ("node_life.lunch_s=1", "no such key 'lunch_s'; did you mean 'launch_s'?"),
    ],
)
def test_a_bad_assignment_is_refused(assignment: str, message: str) -> None:
    """One line that names the key and what to do."""
    with pytest.raises(ConfigError) as refused:
        config.load(config.DEFAULT_PATH, [assignment])

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 64


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("replicas: 2", "replicsa: 2", "tiers.fast.replicsa: no such key; did you mean 'replicas'"),
        ("cold_start_s: 350", "cold_start: 11", "cold_start: no such key; did you mean 'cold_st"),
        ("capacity_type: spot", "capacity_type: sport", "nodes.node-b.capacity_type: Input should"),
        ("tiers:", "tiers: [", "cannot be read as YAML"),
    ],
)
def test_a_typo_in_the_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The line names the file, the key and the nearest known one."""
    file = tmp_path / "local.yaml"
    text = config.DEFAULT_PATH.read_text(encoding="utf-8")
    file.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        config.load(file)

    assert str(refused.value).startswith(f"{file}: ")
    assert message in str(refused.value)


def test_an_engine_is_told_scaled_durations_and_its_own_address() -> None:
    """What vLLM knows as seconds is scaled like the life around it."""
    shipped = config.load(config.DEFAULT_PATH)
    where = Addresses({}, "127.1.2").replica(3)
    revision = Revision("r1", shipped.tiers["fast"].engine)
    pod = Pod("fast-0", "fast", revision, 3, where, first=True, made=0)
    command = programs.engine(shipped, pod, startup_s=350.0, chaos_token=Path("token"))

    def flag(name: str) -> str:
        return command[command.index(f"--{name}") + 1]

    assert (flag("sim-startup-s"), flag("sim-time-scale")) == ("350.0", "0.1")
    assert flag("served-model-name") == "chat-fast"
    assert (flag("host"), flag("port")) == ("127.1.2.13", "8000")
    assert float(flag("shutdown-timeout")) == shipped.tiers["fast"].engine.shutdown_timeout_s / 10
