"""Reads local.yaml, applies `--set` to it, and says in one line what is wrong with either."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from inference_platform.local import settings
from inference_platform.local.errors import ConfigError, nearest, one_line
from inference_platform.local.settings import Model, PlatformConfig

DEFAULT_PATH = Path(__file__).parents[3] / "local.yaml"


def load(path: Path, overrides: Iterable[str] = ()) -> PlatformConfig:
    """Read a file and apply `--set` values such as `tiers.fast.replicas=1` to it.

    Raises:
        ConfigError: with the file, the key and what was expected there.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {one_line(error)}") from error
    config = _validated(raw, str(path))
    if config.triggers:  # a file names its neighbours; `--set` speaks as the shell does
        config = config.model_copy(update={"triggers": str(path.parent / config.triggers)})
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
            raise ConfigError(f"--set {assignment}: no such key {key!r}{nearest(key, known)}")
        if key is not last:
            where = where[key]
    try:
        where[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: {one_line(error)}") from error


def _validated(raw: Any, source: str) -> PlatformConfig:
    try:
        return PlatformConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            problem = f"no such key{nearest(str(first['loc'][-1]), _siblings(first['loc']))}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        found = "" if isinstance(first["input"], dict) else f", found {first['input']!r}"
        if first["type"] == "extra_forbidden":
            found = ""
        text = ": ".join(part for part in (source, key, problem + found + more) if part)
        raise ConfigError(text) from error


def _siblings(location: tuple[int | str, ...]) -> Iterable[str]:
    """Return the keys that are known where an unknown one was found."""
    by_section: dict[str, type[Model]] = {
        "engine": settings.Engine,
        "tiers": settings.Tier,
        "rollout": settings.Rollout,
        "nodes": settings.Node,
        "pools": settings.Pool,
        "node_life": settings.NodeLife,
        "spot": settings.Spot,
        "restart": settings.Restart,
        "readiness": settings.Readiness,
        "router": settings.Router,
        "prometheus": settings.Prometheus,
        "model_store": settings.ModelStore,
    }
    sections = [by_section[str(part)] for part in location[:-1] if str(part) in by_section]
    return (sections[-1] if sections else PlatformConfig).model_fields
