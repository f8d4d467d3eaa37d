"""The two sides of a gate: a target, started or signed in to, or a plain URL."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from faultload.errors import MissingError, RefusedError, UsageError
from faultload.load import check_workers
from faultload.load.plan import Endpoint
from faultload.record.gate import SideName
from faultload.run.platform import start_own
from faultload.run.state import refuse_if_harmed
from faultload.spec import Catalogue, TargetSpec
from faultload.spec.target import LoadWorkers
from faultload.targets import Target, TargetLock, state_home
from faultload.targets.plain import RefusesUsError, describe_endpoint

_VOLATILE = ("platform_id", "nodes", "context", "cluster_uid", "url", "namespaces")
"""What tells two platforms apart that are configured alike."""
_VOLATILE_REPLICAS = "replicas"
_REPLICA_COUNT = re.compile(r"replicas|components\..+\.replicas")
"""Keys of environments that say how many replicas there are; flags and configuration are others."""


@dataclass(frozen=True)
class SideSpec:
    """A side as asked for, every file read.

    Attributes:
        side: which.
        name: a target, as path or name, or a URL.
        overrides: `key=value` changes to a local platform's configuration.
        path, target: of its target file; None: it is a URL.
        load: where the load comes from.
        ca: PEM file of the authorities that the load trusts; None: the system's.
    """

    side: SideName
    name: str
    overrides: Sequence[str]
    path: Path | None
    target: TargetSpec | None
    load: LoadWorkers
    ca: Path | None

    @property
    def is_local(self) -> bool:
        """Whether it is started for the gate."""
        return self.target is not None and self.target.kind == "local"


class SideGoneError(MissingError):
    """A side does not start, or its endpoint does not answer or fails: as its users would meet it.

    Attributes:
        side: which.
    """

    def __init__(self, side: SideName, problem: str) -> None:
        """Say whose; the problem names it already."""
        self.side = side
        super().__init__(problem)


class OpenSide(Protocol):
    """A side that can be asked."""

    @property
    def url(self) -> str:
        """Where requests go."""
        ...

    def environment(self) -> dict[str, str]:
        """Return what it is, flat: engine flags, images, replicas. No secrets."""
        ...


def read_side(
    catalogue: Catalogue,
    side: SideName,
    name: str,
    overrides: Sequence[str],
    *,
    load: Mapping[str, Any],
) -> SideSpec:
    """Read and check a side; nothing is started.

    Args:
        catalogue: where names are looked up.
        side: which.
        name: a target, as path or name, or `http://…`.
        overrides: of a local platform's configuration.
        load: keys of the target file's `load` that are to be others.

    Raises:
        UsageError: a file or an option is wrong.
        RefusedError: it is production.
        MissingError: the API key is not here.
    """
    if name.startswith(("http://", "https://")):
        Endpoint.of(name)
        if overrides:
            option = f"--{side}-set"
            raise UsageError(f"{option} changes a local platform, and {name} is none of ours")
        workers = LoadWorkers().model_copy(update=dict(load))
        check_workers(workers, Path.cwd() / "target")
        return SideSpec(side, name, (), None, None, workers, None)
    path, target = catalogue.target(name)
    if target.production:
        raise RefusedError(
            f"{path}: production: a gate puts load on its targets, and harms nobody but their users"
        )
    if overrides and target.kind != "local":
        raise UsageError(f"--{side}-set changes a local platform, and {name!r} is {target.kind}")
    workers = target.load.model_copy(update=dict(load))
    ca = check_workers(workers, path)
    return SideSpec(side, name, tuple(overrides), path, target, workers, ca)


@contextlib.contextmanager
def opened(
    catalogue: Catalogue, specs: Sequence[SideSpec], holder: str
) -> Iterator[dict[SideName, OpenSide]]:
    """Start or sign in to every side, and hold those on this machine against other runs.

    Raises:
        RefusedError: a run holds a target, or a fault is in force there.
        SideGoneError: one does not start, or does not answer.
        MissingError: a cluster's API does not answer, or lacks something; a URL refuses us.
    """
    with contextlib.ExitStack() as owned:
        found: dict[SideName, OpenSide] = {}
        held = set[str]()
        for spec in specs:
            if spec.target is None:
                found[spec.side] = _Url(spec)
                continue
            with _for_its_users(spec):
                target = start_own(catalogue, spec.name, list(spec.overrides))
            owned.callback(target.close)
            fingerprint = target.identity.fingerprint
            if fingerprint not in held:  # both sides may be one cluster
                owned.enter_context(TargetLock(state_home() / fingerprint, holder))
                refuse_if_harmed(fingerprint)
                held.add(fingerprint)
            if left := target.left_behind():
                raise RefusedError(f"{spec.name}: a fault is in force: {'; '.join(left)}")
            found[spec.side] = _OnTarget(spec, target)
        yield found


@contextlib.contextmanager
def _for_its_users(spec: SideSpec) -> Iterator[None]:
    """Tell a side that nobody could ask.

    What a cluster's API says is not what its users meet, nor is what is said of our key.
    """
    try:
        yield
    except RefusesUsError:
        raise
    except MissingError as error:
        if spec.target is not None and not spec.is_local:
            raise
        raise SideGoneError(spec.side, str(error)) from None


class _OnTarget:
    def __init__(self, spec: SideSpec, target: Target) -> None:
        self._spec, self._target = spec, target

    @property
    def url(self) -> str:
        return self._target.endpoints.inference_url

    def environment(self) -> dict[str, str]:
        with _for_its_users(self._spec):
            about = self._target.describe()
        return environment_of(self._target.identity.kind, about)


class _Url:
    def __init__(self, spec: SideSpec) -> None:
        self._spec = spec
        self.environment()  # nobody there: said before anything is started

    @property
    def url(self) -> str:
        return self._spec.name

    def environment(self) -> dict[str, str]:
        ca = str(self._spec.ca) if self._spec.ca else None
        with _for_its_users(self._spec):
            about = describe_endpoint(self._spec.name, self._spec.load.api_key_env, ca)
        return flat({"kind": "url", **{k: v for k, v in about.items() if k not in _VOLATILE}})


def environment_of(kind: str, about: Mapping[str, Any]) -> dict[str, str]:
    """Return what a target says of itself without what tells two of one configuration apart."""
    nodes = sorted(str(node.get("instance_type", "")) for node in about.get("nodes", []))
    kept = {key: value for key, value in about.items() if key not in _VOLATILE}
    if isinstance(kept.get(_VOLATILE_REPLICAS), list):  # how many there are, not which
        kept[_VOLATILE_REPLICAS] = len(kept[_VOLATILE_REPLICAS])
    return flat({"kind": kind, "instance_types": nodes, **kept})


def flat(value: Any, key: str = "") -> dict[str, str]:
    """Return nested data as one level: `config.tiers.fast.replicas` → `2`."""
    if isinstance(value, Mapping):
        parts = [(f"{key}.{name}" if key else str(name), one) for name, one in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{key}[{number}]", one) for number, one in enumerate(value)]
    else:
        return {key: str(value)}
    return {k: v for name, one in parts for k, v in sorted(flat(one, name).items())}


def lost_replicas(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Return whether all that differs between two environments is that there are fewer replicas.

    Of a component that has none any more, nothing else can be seen either.
    """
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    counts = {key for key in changed if _REPLICA_COUNT.fullmatch(key)}
    fewer = {key for key in counts if int(new.get(key, 0)) < int(old.get(key, 0))}
    none = {key for key in fewer if new.get(key) == "0" and key.endswith(".replicas")}
    empty = tuple(key.removesuffix("replicas") for key in none)
    unseen = {key for key in changed - counts if key not in new and key.startswith(empty)}
    return bool(fewer) and changed == fewer | unseen


def differences(old: Mapping[str, str], new: Mapping[str, str], most: int = 8) -> list[str]:
    """Return what differs between two environments, a clause each; the rest is counted."""
    found = [
        f"{key}: {old.get(key, 'nothing')} → {new.get(key, 'nothing')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return [*found[:most], *more]
