"""What can be configured about a local platform, with units; defaults are for one small machine."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
    """How long a terminated engine finishes its requests; 0 is vLLM's default. Scaled."""
    extra_args: tuple[str, ...] = ()
    """Further flags for the engine's command line, as they are."""

    @model_validator(mode="after")
    def _fixed_times_belong_together(self) -> Engine:
        if (self.fixed_ttft_s is None) != (self.fixed_tpot_s is None):
            raise ValueError("fixed_ttft_s and fixed_tpot_s are given together or not at all")
        return self


class Rollout(Model):
    """How a tier moves from one revision to the next, as a Deployment's rolling update does."""

    max_surge: Annotated[int, Field(ge=0)] = 1
    """Pods above the wanted number while it lasts."""
    max_unavailable: Annotated[int, Field(ge=0)] = 0
    """Pods below the wanted number while it lasts."""
    progress_deadline_s: PositiveSeconds = 600.0
    """No pod became ready for this long: the rollout is called stalled. Scaled."""

    @model_validator(mode="after")
    def _can_move(self) -> Rollout:
        if self.max_surge == self.max_unavailable == 0:
            raise ValueError("max_surge and max_unavailable are both 0: no pod could be replaced")
        return self


class Tier(Model):
    """One kind of service: a model and the replicas that serve it."""

    model: Annotated[str, Field(min_length=1)]
    """Served model name, what a request puts into `model`."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 2
    """How many engine replicas at the start."""
    gpus: Annotated[int, Field(ge=1)] = 1
    """GPUs that one replica takes, all of them on one node."""
    pre_stop_s: Seconds = 0.0
    """Pause between a replica's removal from the endpoints and its SIGTERM. Scaled."""
    grace_s: Seconds = 30.0
    """From the decision to stop a replica to SIGKILL, preStop included. Scaled."""
    max_disrupted: Annotated[int, Field(ge=0)] | None = None
    """Replicas that evictions may make unready at a time; None: no disruption budget."""
    rollout: Rollout = Rollout()
    """Rolling updates."""
    engine: Engine = Engine()
    """Speed and capacity of each replica."""


class Instance(Model):
    """What an EC2 instance is."""

    instance_type: Annotated[str, Field(min_length=1)]
    """EC2 instance type it stands for."""
    capacity_type: Literal["on-demand", "spot"]
    """How it is paid for, in Karpenter's words."""
    price_usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """What it costs, US dollars per hour."""
    price_typical: bool = False
    """That is a value to plan with, and nobody paid it."""
    gpus: Annotated[int, Field(ge=1)] = 4
    """GPUs on it."""


class Node(Instance):
    """A machine of a managed node group: when it is lost, the group launches it anew."""

    zone: Annotated[str, Field(min_length=1)]
    """Availability zone."""


class Pool(Instance):
    """Machines that are launched when replicas do not fit, as Karpenter's node pools are."""

    zones: Annotated[tuple[str, ...], Field(min_length=1)]
    """Where it may launch; the first zone with capacity is taken."""
    nodes_max: Annotated[int, Field(ge=0)] = 2
    """Most machines of this pool at a time."""


class NodeLife(Model):
    """How long machines take; all scaled."""

    launch_s: Seconds = 60.0
    """From the request for an instance to a ready node."""
    image_pull_s: Seconds = 60.0
    """Pull of the engine's image onto a node that was launched; the first nodes have it."""
    lost_after_s: Seconds = 50.0
    """From a machine's end until its node is gone: Kubernetes' node-monitor-grace-period."""
    empty_for_s: Seconds = 300.0
    """A launched node without replicas for this long goes, as by Karpenter's consolidation."""


class Spot(Model):
    """Interruptions of spot machines."""

    notice_s: Seconds = 120.0
    """From the notice to the end of the machine, EC2's two minutes. Scaled."""
    drain_on_notice: bool = True
    """Cordon and drain a node that has its notice, as Karpenter and managed node groups do."""
    drain_on_rebalance: bool = False
    """The same at the rebalance recommendation; managed node groups do it, Karpenter does not."""


class Restart(Model):
    """When a dead process is started again; all scaled. The defaults are Kubernetes'."""

    backoff_s: Seconds = 10.0
    """Pause before the first restart; doubles for each further one."""
    backoff_s_max: Seconds = 300.0
    """Longest pause."""
    reset_after_s: Seconds = 600.0
    """Ready for this long, and the next pause is the first one again."""


class Readiness(Model):
    """How readiness is probed: GET /health of a replica, the like for the other parts."""

    period_s: PositiveSeconds = 0.25
    """Pause between probes, s."""
    timeout_s: PositiveSeconds = 0.5
    """A probe without an answer for this long has failed, s."""
    failures: Annotated[int, Field(ge=1)] = 3
    """Failed probes in a row that make a ready process unready."""
    probe_replicas: bool = True
    """False: a replica is ready as soon as its process runs, as a pod without readinessProbe is."""


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


class ModelStore(Model):
    """The S3 bucket that engines load their weights from; moto's server plays it."""

    enabled: bool = False
    """Without it engines bring their weights along, and nothing is fetched."""
    shards: Annotated[int, Field(ge=1, le=64)] = 4
    """Weight files of a model."""
    shard_bytes: Annotated[int, Field(ge=1024)] = 65536
    """Size of each, bytes; a stand-in for gigabytes."""


class PlatformConfig(Model):
    """Everything that can be configured about a local platform.

    "Scaled" durations are those of a real cluster, multiplied by `time_scale` here. Not scaled:
    serving speed, probes, scraping, and what is about this platform's own start and end.
    """

    time_scale: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 1.0
    """What a second of Kubernetes or EC2 takes here, s: 0.1 makes two minutes of notice 12 s."""
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
    """Machines of the node groups, by name."""
    pools: dict[Name, Pool] = {}
    """What may be launched beyond them, by name, the preferred one first."""
    node_life: NodeLife = NodeLife()
    """How long machines take."""
    spot: Spot = Spot()
    """Interruptions."""
    first_start_s: Seconds = 0.0
    """Start-up of an engine when the platform comes up. Scaled."""
    cold_start_s: Seconds = 110.0
    """Start-up of every later engine: weights, compilation, graphs. Scaled."""
    endpoints_delay_s: Seconds = 1.0
    """From a replica's removal from the endpoints until the router hears of it. Scaled."""
    restart: Restart = Restart()
    """Back-off of every process."""
    readiness: Readiness = Readiness()
    """Probes of every process."""
    router: Router = Router()
    """The router."""
    prometheus: Prometheus = Prometheus()
    """The metrics server."""
    model_store: ModelStore = ModelStore()
    """Where weights come from."""
    links: bool = True
    """A relay between the router and each engine, Redis and the model store, for network faults."""
    autoscaling: bool = False
    """Scale the tiers that the triggers name."""
    triggers: str = ""
    """File of scaled objects, relative to this one; "": platform/observability/triggers.yaml."""
    ready_timeout_s: PositiveSeconds = 30.0
    """Everything must be ready this long after the start, s, or the platform gives up."""
    stop_grace_s: Seconds = 3.0
    """From SIGTERM to SIGKILL when the platform stops, s."""

    def scaled(self, seconds: float) -> float:
        """Return how long a duration of a real cluster takes here."""
        return seconds * self.time_scale

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
        wanted = sum(tier.replicas * tier.gpus for tier in self.tiers.values())
        there = sum(node.gpus for node in self.nodes.values())
        if wanted > there:
            raise ValueError(
                f"the replicas need {wanted} GPUs, the nodes have {there}; "
                "lower tiers.*.replicas or raise nodes.*.gpus"
            )
        return self
