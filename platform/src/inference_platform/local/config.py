"""What can be configured; defaults here are for one small machine, the values in local.yaml."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from inference_platform.local.errors import ConfigError

DEFAULT_PATH = Path(__file__).parents[3] / "local.yaml"

# A name becomes part of a file name, a metric label and a replica's name.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Model(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Engine(Model):
    """How fast the simulated engine of a tier is, and how much it takes at once."""

    step_base_s: Seconds = 0.008
    """Cost of one engine step, s."""
    step_per_seq_s: Seconds = 0.0002
    """Added to a step for every decoding request, s."""
    prefill_per_token_s: Seconds = 0.00005
    """Added to a step for every prompt token computed in it, s."""
    fixed_ttft_s: Seconds | None = None
    """Known timing: first token this long after arrival, s. None: the step costs above decide."""
    fixed_tpot_s: Seconds | None = None
    """Known timing: each next token this long after the last, s. Set with fixed_ttft_s or not."""
    slow_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Multiplies every step; 1 is the speed above, 2 is half of it."""
    max_num_seqs: Annotated[int, Field(ge=1)] = 32
    """Most requests in one batch."""
    shutdown_timeout_s: Seconds = 0.0
    """How long a terminated engine finishes its requests, s; 0 is vLLM's default."""
    extra_args: tuple[str, ...] = ()
    """Further flags for the engine's command line, as they are."""

    @model_validator(mode="after")
    def _fixed_times_belong_together(self) -> Engine:
        if (self.fixed_ttft_s is None) != (self.fixed_tpot_s is None):
            raise ValueError("fixed_ttft_s and fixed_tpot_s are given together or not at all")
        return self


class Tier(Model):
    """One kind of service: a model and the replicas that serve it."""

    model: Annotated[str, Field(min_length=1)]
    """Served model name, what a request puts into `model`."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 2
    """How many engine replicas."""
    engine: Engine = Engine()
    """Speed and capacity of each replica."""


class Node(Model):
    """One machine that replicas are placed on, as an EC2 instance in a cluster would be."""

    zone: Annotated[str, Field(min_length=1)]
    """Availability zone."""
    instance_type: Annotated[str, Field(min_length=1)]
    """EC2 instance type it stands for."""
    capacity_type: Literal["on-demand", "spot"]
    """How it is paid for, in Karpenter's words."""
    price_usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """What it costs, US dollars per hour."""
    gpus: Annotated[int, Field(ge=1)] = 4
    """GPUs on it; a replica takes one."""


class Restart(Model):
    """When a dead process is started again."""

    backoff_s: Seconds = 1.0
    """Pause before the first restart, s; doubles for each further one."""
    backoff_s_max: Seconds = 30.0
    """Longest pause, s."""
    reset_after_s: Seconds = 10.0
    """Ready for this long, s, and the next pause is the first one again."""


class Readiness(Model):
    """How readiness is probed: GET /health of a replica, the like for the other parts."""

    period_s: PositiveSeconds = 0.25
    """Pause between probes, s."""
    timeout_s: PositiveSeconds = 0.5
    """A probe without an answer for this long has failed, s."""
    failures: Annotated[int, Field(ge=1)] = 3
    """Failed probes in a row that make a ready process unready."""


class Router(Model):
    """The one router in front of all tiers."""

    extra_args: tuple[str, ...] = ()
    """Further flags for the router's command line, as they are."""


class Prometheus(Model):
    """The metrics server."""

    scrape_interval_s: PositiveSeconds = 1.0
    """Pause between scrapes, and the longest a scrape may take, s."""
    retention_s: PositiveSeconds = 86400.0
    """How long samples are kept, s."""


class PlatformConfig(Model):
    """Everything that can be configured about a local platform."""

    network: str = "auto"
    """`auto`: a random loopback /24, or free ports where the system has only 127.0.0.1.
    `127.x.y.0/24`: this network. `127.0.0.1`: free ports on it."""
    namespace: Name = "inference"
    """What the series for kube-state-metrics carry as their namespace."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the engines' words; each replica adds its number."""
    tiers: Annotated[dict[Name, Tier], Field(min_length=1)]
    """Tiers by name."""
    nodes: Annotated[dict[Name, Node], Field(min_length=1)]
    """Nodes by name."""
    first_start_s: Seconds = 0.0
    """Start-up of an engine when the platform comes up, s."""
    cold_start_s: Seconds = 11.0
    """Start-up of an engine that was restarted, s: image, weights, graphs."""
    restart: Restart = Restart()
    """Back-off of every process."""
    readiness: Readiness = Readiness()
    """Probes of every process."""
    router: Router = Router()
    """The router."""
    prometheus: Prometheus = Prometheus()
    """The metrics server."""
    ready_timeout_s: PositiveSeconds = 30.0
    """Everything must be ready this long after the start, s, or the platform gives up."""
    stop_grace_s: Seconds = 3.0
    """From SIGTERM to SIGKILL when the platform stops, s."""

    @field_validator("network")
    @classmethod
    def _network_is_loopback(cls, value: str) -> str:
        if value in {"auto", "127.0.0.1"}:
            return value
        try:
            network = ipaddress.IPv4Network(value)
        except ValueError:
            network = None
        if network is None or network.prefixlen != 24 or not network.is_loopback:
            raise ValueError("expected auto, 127.0.0.1 or a loopback network like 127.3.2.0/24")
        return value

    @model_validator(mode="after")
    def _replicas_fit(self) -> PlatformConfig:
        wanted = sum(tier.replicas for tier in self.tiers.values())
        there = sum(node.gpus for node in self.nodes.values())
        if wanted > there:
            raise ValueError(
                f"{wanted} replicas need as many GPUs, the nodes have {there}; "
                "lower tiers.*.replicas or raise nodes.*.gpus"
            )
        return self


def load(path: Path, overrides: Iterable[str] = ()) -> PlatformConfig:
    """Read a file and apply `--set` values such as `tiers.fast.replicas=1` to it.

    Raises:
        ConfigError: with the file, the key and what was expected there.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {_one_line(error)}") from error
    config = _validated(raw, str(path))
    data = config.model_dump(mode="json")
    assignments = list(overrides)
    if not assignments:
        return config
    for assignment in assignments:
        _assign(data, assignment)
    return _validated(data, f"{path} with --set {' --set '.join(assignments)}")


def _assign(data: dict[str, Any], assignment: str) -> None:
    """Set one existing key; its value is read as YAML."""
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"--set {assignment}: expected KEY=VALUE, like tiers.fast.replicas=1")
    *parents, last = path.strip().split(".")
    where: Any = data
    for key in (*parents, last):
        if not isinstance(where, dict) or key not in where:
            known = where if isinstance(where, dict) else ()
            raise ConfigError(f"--set {assignment}: no such key {key!r}{_nearest(key, known)}")
        if key is not last:
            where = where[key]
    try:
        where[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: {_one_line(error)}") from error


def _validated(raw: Any, source: str) -> PlatformConfig:
    try:
        return PlatformConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            problem = f"no such key{_nearest(str(first['loc'][-1]), _siblings(first['loc']))}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        found = "" if isinstance(first["input"], dict) else f", found {first['input']!r}"
        if first["type"] == "extra_forbidden":
            found = ""
        text = ": ".join(part for part in (source, key, problem + found + more) if part)
        raise ConfigError(text) from error


def _siblings(location: tuple[int | str, ...]) -> Iterable[str]:
    """Return the keys that are known where an unknown one was found."""
    by_section: dict[str, type[Model]] = {
        "engine": Engine,
        "tiers": Tier,
        "nodes": Node,
        "restart": Restart,
        "readiness": Readiness,
        "router": Router,
        "prometheus": Prometheus,
    }
    sections = [by_section[str(part)] for part in location[:-1] if str(part) in by_section]
    return (sections[-1] if sections else PlatformConfig).model_fields


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(names)}" if names else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
