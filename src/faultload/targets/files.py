"""The files that a target file points at, looked for before anything starts."""

from __future__ import annotations

from pathlib import Path

from faultload.errors import SpecError
from faultload.spec.target import KubernetesTargetSpec, LocalTargetSpec, TargetSpec


def check_files(target: TargetSpec, path: Path) -> None:
    """See that a platform's configuration, or the kubeconfig that is named, is a file.

    Args:
        target: as read.
        path: where it was read; the others are relative to it.

    Raises:
        SpecError: one is not.
    """
    if isinstance(target, LocalTargetSpec):
        named_file(path, "local.config", target.local.config)
    if isinstance(target, KubernetesTargetSpec) and target.kubernetes.kubeconfig:
        named_file(path, "kubernetes.kubeconfig", target.kubernetes.kubeconfig)


def named_file(path: Path, key: str, name: str) -> Path:
    """Return the absolute path of a file that a target file names, relative to it or to a home.

    Raises:
        SpecError: there is no such file.
    """
    try:
        file = (path.parent / Path(name).expanduser()).resolve()
        is_there, is_file = file.exists(), file.is_file()
    except (OSError, RuntimeError, ValueError):  # a loop of links; the home of nobody
        raise SpecError(path, key, f"no such file: {name}; correct the path") from None
    if not is_there:
        raise SpecError(path, key, f"no such file: {file}; correct the path")
    if not is_file:
        raise SpecError(path, key, f"expected a file, found something else: {file}")
    return file
