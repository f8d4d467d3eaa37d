"""Target files: where a run happens and what may be done to it there."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from faultload.errors import MissingError, SpecError, nearest
from faultload.secrecy import keep_secret
from faultload.spec.fields import (
    ClusterUid,
    FileStem,
    LabelKey,
    LengthS,
    MetricLabel,
    Namespace,
    Selector,
    Url,
    VariableName,
)
from faultload.spec.guards import Freeze, Preflight
from faultload.spec.reading import Spec, parse, read_document
from faultload.spec.stop import Stop
from faultload.spec.wording import found

_DANGER_MAX, _DANGER_MAX_PRODUCTION = 4, 2


class PhaseLengths(Spec):
    """Lengths that replace an experiment's own on this target. None: keep the experiment's."""

    warmup_s: float | None = Field(default=None, ge=0, le=86400)
    baseline_s: LengthS | None = None
    hold_s: float | None = Field(default=None, ge=0, le=86400)
    recovery_s: LengthS | None = None


class LocalPlatform(Spec):
    """How to start the embedded platform."""

    config: str
    """The platform's own file, relative to the target file."""
    start_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest wait for it to be ready."""


class LoadWorkers(Spec):
    """Where the load of a run comes from, and how it gets in."""

    workers: int = Field(default=1, ge=1, le=100)
    """Locust workers; with one, everything is one process."""
    listen: str | None = None
    """`HOST:PORT` that workers on other machines connect to (`faultload load worker`); None: the
    workers are started here."""
    ca: str | None = None
    """PEM file of the authorities to trust for an https endpoint, relative to the target file.
    None: the system's."""
    api_key_env: VariableName | None = None
    """Name of the environment variable that holds the endpoint's API key; never the key. None: the
    endpoint needs none."""


class PrometheusSignIn(Spec):
    """How to sign in to Prometheus: by a bearer token, or by a user's name and password."""

    bearer_token_env: VariableName | None = None
    """Name of the environment variable that holds the token; never the token."""
    username: str | None = None
    password_env: VariableName | None = None
    """Name of the environment variable that holds the password; never the password."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        basic = (self.username is not None, self.password_env is not None)
        if (self.bearer_token_env is not None, *basic) not in (
            (True, False, False),
            (False, True, True),
        ):
            raise ValueError("expected bearer_token_env, or username and password_env")
        return self

    def headers(self) -> dict[str, str]:
        """Return what to send with every query; the secret in it is registered as one.

        Raises:
            MissingError: the variable is not set.
        """
        variable = self.bearer_token_env or self.password_env or ""
        held = os.environ.get(variable, "").strip()
        if not held or not held.isprintable():
            raise MissingError(
                f"the environment variable {variable} (to sign in to Prometheus with) is not set,"
                " or not to one line of text"
            )
        keep_secret(held)
        if self.username is None:
            return {"Authorization": f"Bearer {held}"}
        pair = f"{self.username}:{held}"
        keep_secret(pair)
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class KubernetesComponent(Spec):
    """Which pods are the replicas of a component."""

    selector: Selector
    """A label selector, as kubectl takes it."""
    namespace: str = ""
    """One of the target's; "": its first."""
    tier_label: LabelKey = ""
    """The pod label whose value is the replica's tier; "": there are no tiers."""


class KubernetesCluster(Spec):
    """Which cluster, and what may be touched in it."""

    kubeconfig: str = ""
    """Relative to the target file; "": KUBECONFIG, else the user's own."""
    context: str = Field(min_length=1)
    """The context of it to use; the current one, which other commands change, is never used."""
    cluster_uid: ClusterUid
    """UID of the namespace kube-system: names may be given to another cluster, this may not."""
    namespaces: list[Namespace] = Field(min_length=1)
    """Where we may act. Each must be labelled `faultload.dev/opt-in=true` too, and has its own
    lock."""
    components: dict[str, KubernetesComponent] = Field(min_length=1)
    inference_url: Url
    """OpenAI-compatible, without `/v1`."""
    prometheus_url: Url
    prometheus_sign_in: PrometheusSignIn | None = None
    """None: it answers anybody."""
    prometheus_labels: dict[MetricLabel, str] = Field(default_factory=dict)
    """What every series of this cluster bears, where one Prometheus has several clusters."""
    namespace_label: MetricLabel | None = "namespace"
    """The label by which pods' series are told from other namespaces'; None: they bear none, and
    whatever that Prometheus has is taken for ours."""
    shared_nodes: bool = False
    """Machines with GPUs serve other namespaces, too: billed are those that held pods of ours."""


class TargetSpec(Spec):
    """What every target file holds."""

    name: FileStem
    kind: str
    description: str = ""
    phases: PhaseLengths = PhaseLengths()
    load: LoadWorkers = LoadWorkers()
    blast_radius_share_max: float = Field(default=0.5, gt=0, le=1)
    """Largest share of a component's ready replicas any experiment may hit here."""
    expendable: list[str] = Field(default_factory=list)
    """Components that may be hit whole all the same: those there is only one of, and whose loss is
    to be tried."""
    healthy_min: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Component → how many of its replicas must stay ready whatever is hit; absent: no such
    limit."""
    scrape_interval_s: float = Field(default=1.0, gt=0, le=3600)
    """How often its Prometheus scrapes: what coverage is judged against."""
    stop: Stop = None
    """What ends any run here early. A target that is not local must say it, or `none`, unless the
    experiment does."""
    production: bool = False
    """Nothing is broken here unless a person says the target's name, or a game day."""
    danger_max: int | None = Field(default=None, ge=1, le=4)
    """Most dangerous fault that may act here. None: 2 in production, else 4."""
    freeze: list[Freeze] = Field(default_factory=list)
    """When nothing is broken."""
    preflight: list[Preflight] = Field(default_factory=list)
    """Programs that may veto a run, asked in this order, once its victims are known."""

    @property
    def danger_allowed(self) -> int:
        """The most dangerous fault that may act here, 1-4."""
        return self.danger_max or (_DANGER_MAX_PRODUCTION if self.production else _DANGER_MAX)


class LocalTargetSpec(TargetSpec):
    """The embedded platform."""

    kind: Literal["local"]
    local: LocalPlatform


class KubernetesTargetSpec(TargetSpec):
    """A platform on a Kubernetes cluster."""

    kind: Literal["kubernetes"]
    kubernetes: KubernetesCluster


_LOCAL_COMPONENTS = ("engine", "router", "redis", "prometheus", "model-store")
_KINDS: dict[str, type[TargetSpec]] = {"local": LocalTargetSpec, "kubernetes": KubernetesTargetSpec}


def load_target(path: Path) -> TargetSpec:
    """Read one target file.

    Raises:
        SpecError: the file, the key and the remedy.
    """
    document = read_document(path)
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        near = nearest(str(kind), _KINDS)
        raise SpecError(path, "kind", f"expected {' or '.join(_KINDS)}, found {found(kind)}{near}")
    target = parse(_KINDS[kind], document, path)
    _check_names(path, target)
    return target


def _check_names(path: Path, target: TargetSpec) -> None:
    """What is said of a component that there is not would protect nobody."""
    known = set(_LOCAL_COMPONENTS)
    if isinstance(target, KubernetesTargetSpec):
        known = set(target.kubernetes.components)
        _check_namespaces(path, target.kubernetes)
    given = {f"expendable[{index}]": name for index, name in enumerate(target.expendable)}
    for key, name in (given | {f"healthy_min.{name}": name for name in target.healthy_min}).items():
        if name not in known:
            near = nearest(name, known)
            problem = f"expected one of {', '.join(sorted(known))}, found {name!r}{near}"
            raise SpecError(path, key, problem)


def _check_namespaces(path: Path, cluster: KubernetesCluster) -> None:
    names = cluster.namespaces
    if len(set(names)) < len(names):
        problem = f"expected each namespace once, found {', '.join(names)}"
        raise SpecError(path, "kubernetes.namespaces", problem)
    for name, component in cluster.components.items():
        if component.namespace not in ("", *names):
            problem = f"expected one of kubernetes.namespaces, found {component.namespace!r}"
            raise SpecError(path, f"kubernetes.components.{name}.namespace", problem)
