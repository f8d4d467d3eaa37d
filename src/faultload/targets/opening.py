"""From a target file to the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from faultload.errors import DefectError, UsageError
from faultload.spec.target import KubernetesTargetSpec, LocalTargetSpec, TargetSpec
from faultload.targets.base import AUTOSCALING, Target
from faultload.targets.local import LOCAL_CAPABILITIES, LocalTarget


def connect(
    spec: TargetSpec, path: Path, overrides: Sequence[str] = (), *, to_undo: bool = False
) -> Target:
    """Return a target to run on: a local platform is started, a cluster is signed in to.

    Args:
        spec: the target file.
        path: where it was read.
        overrides: `key=value` changes to a local platform's configuration.
        to_undo: only to take harm back, which a namespace needs not have opted in to.

    Raises:
        UsageError: the file is wrong, or overrides were given for a cluster.
        MissingError: it does not start, or does not let us in.
        RefusedError: it is not the cluster that the file names.
    """
    if isinstance(spec, LocalTargetSpec):
        return LocalTarget.start(spec, path, overrides)
    if overrides:
        raise UsageError(f"--set changes the local platform, and {spec.name!r} is a {spec.kind}")
    if isinstance(spec, KubernetesTargetSpec):
        from faultload.targets.kubernetes import KubernetesTarget

        return KubernetesTarget.connect(spec, path, to_undo=to_undo)
    raise DefectError(f"no target of kind {spec.kind!r}")


def attach(spec: TargetSpec, attachment: Mapping[str, str], *, to_undo: bool = False) -> Target:
    """Return the target that another process of this run described with `Target.attachment`.

    `to_undo` as in `connect`.

    Raises:
        MissingError: it is gone, or does not let us in.
        RefusedError: it is not the cluster that the file names.
    """
    if isinstance(spec, LocalTargetSpec):
        # Harm that is taken back late is taken back all the same, whatever became of the lease.
        lease = "" if to_undo else attachment.get("lease", "")
        return LocalTarget(spec, Path(attachment["state"]), lease=lease)
    if isinstance(spec, KubernetesTargetSpec):
        from faultload.targets.kubernetes import KubernetesTarget

        return KubernetesTarget.attach(spec, attachment, to_undo=to_undo)
    raise DefectError(f"no target of kind {spec.kind!r}")


def offers() -> Mapping[str, frozenset[str]]:
    """Return kind of target → the capabilities that one of its kind can offer; none is opened."""
    from faultload.targets.kubernetes.rights import KUBERNETES_CAPABILITIES

    return {"local": LOCAL_CAPABILITIES | {AUTOSCALING}, "kubernetes": KUBERNETES_CAPABILITIES}
