"""What triggers.yaml may say: KEDA's ScaledObjects in KEDA's own field names, times in seconds.

Bounds and defaults are those of KEDA 2.20 (apis/keda/v1alpha1/scaledobject_types.go and
withtriggers_types.go) and of autoscaling/v2 (pkg/apis/autoscaling/v2/defaults.go and
validation/validation.go), so that the same text makes real ScaledObjects.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from inference_platform.local.errors import ConfigError, nearest, one_line

DEFAULT_PATH = Path(__file__).parents[4] / "observability/triggers.yaml"

Count = Annotated[int, Field(ge=0, le=1000)]


def _number(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("expected a number in quotes, like '4' or '0.8'")
    return text


# Everything under `metadata` is a string, because a ScaledObject has it as map[string]string.
Number = Annotated[str, AfterValidator(_number)]


class Model(BaseModel):
    """Frozen, spelt as in Kubernetes, and refuses keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, alias_generator=to_camel
    )


class Policy(Model):
    """How far the number of replicas may move within a period."""

    type: Literal["Pods", "Percent"]
    """Whether `value` counts replicas or percent of those there when the period began."""
    value: Annotated[int, Field(ge=1)]
    """Most replicas, or percent of them, added or removed in a period."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)]
    """How far back changes count, s."""


Policies = Annotated[tuple[Policy, ...], Field(min_length=1)]
Window = Annotated[int, Field(ge=0, le=3600)]


class ScalingRules(Model):
    """One direction of `behavior`; what is left out has the HPA's defaults."""

    stabilization_window_seconds: Window
    """How far back recommendations count, s: the lowest of them to grow, the highest to shrink."""
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    """Which policy counts: the one that allows the most, the least; or no change at all."""
    policies: Policies
    """Limits of the rate."""


class ScaleUp(ScalingRules):
    """Growing: by default at once, at most doubling or adding 4 replicas in 15 s."""

    stabilization_window_seconds: Window = 0
    policies: Policies = (
        Policy(type="Pods", value=4, periodSeconds=15),
        Policy(type="Percent", value=100, periodSeconds=15),
    )


class ScaleDown(ScalingRules):
    """Shrinking: by default to the highest recommendation of the last 5 minutes."""

    # Not in defaults.go but a flag of the controller: --horizontal-pod-autoscaler-downscale-
    # stabilization, 5 minutes.
    stabilization_window_seconds: Window = 300
    policies: Policies = (Policy(type="Percent", value=100, periodSeconds=15),)


class Behavior(Model):
    """How fast the HPA may move."""

    scale_up: ScaleUp = ScaleUp()
    """Growing."""
    scale_down: ScaleDown = ScaleDown()
    """Shrinking."""


class HpaConfig(Model):
    """What KEDA writes into the HPA that it makes."""

    behavior: Behavior
    """Required, `{}` for the defaults: without it an HPA takes an older path, not played here."""


class Advanced(Model):
    """KEDA's section of that name."""

    horizontal_pod_autoscaler_config: HpaConfig
    """The HPA."""


class Fallback(Model):
    """How many replicas when a trigger cannot be read."""

    failure_threshold: Count
    """Failed reads in a row that are borne; the next one starts the fallback."""
    replicas: Count
    """How many then."""
    behavior: Literal[
        "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
    ] = "static"
    """`replicas`, or what there is, or the higher or lower of the two."""


class Metadata(Model):
    """What a Prometheus trigger asks; the charts add `serverAddress`, which differs by cluster."""

    query: Annotated[str, Field(min_length=1)]
    """PromQL with exactly one element as its answer."""
    threshold: Number
    """Target: for each replica with AverageValue, for all of them with Value."""
    activation_threshold: Number = "0"
    """The trigger is active above this, which matters for waking from zero and for sleep only."""
    ignore_null_values: Literal["true", "false"] = "true"
    """Whether an empty, infinite or NaN answer is 0; else it is a failed read."""

    @field_validator("threshold")
    @classmethod
    def _threshold_is_positive(cls, value: str) -> str:
        # Kubernetes keeps thousandths: less would be a division by zero there.
        if float(value) < 0.001:
            raise ValueError("expected 0.001 or more")
        return value


class Trigger(Model):
    """One thing to scale on."""

    type: Literal["prometheus"]
    """Only Prometheus is played here."""
    name: str = ""
    """For people; the HPA calls trigger number i `s<i>-prometheus`."""
    metric_type: Literal["AverageValue", "Value"] = "AverageValue"
    """Whether the answer is divided by the replicas before it is compared."""
    metadata: Metadata
    """The question and its targets."""

    @property
    def target(self) -> float:
        """The threshold as a number."""
        return float(self.metadata.threshold)


class ScaleTargetRef(Model):
    """What is scaled."""

    name: Annotated[str, Field(min_length=1)]
    """The Deployment's name, which is the tier's."""


class ScaledObject(Model):
    """One tier and what it is scaled on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$")]
    """Its name; the HPA is called `keda-hpa-<name>`."""
    scale_target_ref: ScaleTargetRef
    """The tier."""
    polling_interval: Annotated[int, Field(ge=1)] = 30
    """Pause between KEDA's own looks, s: waking from zero, sleep, counting failures."""
    cooldown_period: Annotated[int, Field(ge=0)] = 300
    """From the last active look to sleep, s."""
    initial_cooldown_period: Annotated[int, Field(ge=0)] = 0
    """From the beginning to sleep when no look was ever active, s."""
    idle_replica_count: Literal[0] | None = None
    """0: sleep, in spite of `minReplicaCount`, while no trigger is active. KEDA supports only 0."""
    min_replica_count: Count = 0
    """Fewest replicas; 0: sleep while no trigger is active."""
    max_replica_count: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most replicas."""
    fallback: Fallback | None = None
    """When a trigger cannot be read; None: nothing changes until it can."""
    advanced: Advanced
    """The HPA's behaviour."""
    triggers: Annotated[tuple[Trigger, ...], Field(min_length=1)]
    """The one that wants the most replicas decides."""

    @property
    def tier(self) -> str:
        """Name of the tier it scales."""
        return self.scale_target_ref.name

    @property
    def behavior(self) -> Behavior:
        """How fast the HPA may move."""
        return self.advanced.horizontal_pod_autoscaler_config.behavior

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> ScaledObject:
        # CheckReplicaCountBoundsAreValid of KEDA.
        if self.min_replica_count > self.max_replica_count:
            raise ValueError(
                f"minReplicaCount {self.min_replica_count} is above maxReplicaCount "
                f"{self.max_replica_count}"
            )
        if self.idle_replica_count is not None and self.min_replica_count == 0:
            raise ValueError("idleReplicaCount 0 needs a minReplicaCount of 1 or more")
        return self


class TriggersFile(Model):
    """The whole file; its one key makes it a Helm values file as it stands."""

    scaled_objects: Annotated[tuple[ScaledObject, ...], Field(min_length=1)]
    """At most one for each tier."""

    @model_validator(mode="after")
    def _names_and_tiers_differ(self) -> TriggersFile:
        for what, names in (
            ("name", [scaled.name for scaled in self.scaled_objects]),
            ("scaleTargetRef.name", [scaled.tier for scaled in self.scaled_objects]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} is used more than once")
        return self


# Which keys are known below which; for the nearest one to a wrong one.
_SECTIONS: dict[str, type[Model]] = {
    "scaledObjects": ScaledObject,
    "scaleTargetRef": ScaleTargetRef,
    "fallback": Fallback,
    "advanced": Advanced,
    "horizontalPodAutoscalerConfig": HpaConfig,
    "behavior": Behavior,
    "scaleUp": ScaleUp,
    "scaleDown": ScaleDown,
    "policies": Policy,
    "triggers": Trigger,
    "metadata": Metadata,
}


def load(path: Path, tiers: Collection[str] | None = None) -> tuple[ScaledObject, ...]:
    """Read a file of scaled objects.

    Args:
        path: of the file.
        tiers: those there are; None: any name will do.

    Raises:
        ConfigError: with the file, the key and what was expected there.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {one_line(error)}") from error
    try:
        scaled_objects = TriggersFile.model_validate(raw).scaled_objects
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from error
    for scaled in scaled_objects:
        if tiers is not None and scaled.tier not in tiers:
            raise ConfigError(
                f"{path}: {scaled.name}: scaleTargetRef.name: no such tier {scaled.tier!r}"
                f"{nearest(scaled.tier, tiers)}"
            )
    return scaled_objects


def _first_problem(error: ValidationError) -> str:
    """Return the key and what is wrong with it, in one line."""
    errors = error.errors()
    # A misspelt key is missing under its right name too: say the former.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in first["loc"])
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("extra_forbidden", "missing"):
        above = [str(part) for part in first["loc"][:-1] if str(part) in _SECTIONS]
        model = _SECTIONS[above[-1]] if above else TriggersFile
        known = [str(field.alias) for field in model.model_fields.values()]
        if first["type"] == "extra_forbidden":
            problem = f"no such key{nearest(str(first['loc'][-1]), known)}"
        else:
            problem = "is missing"
    elif not isinstance(first["input"], dict):
        problem += f", found {first['input']!r}"
    return ": ".join(part for part in (key, problem) if part)
