"""Secrets and the files that people write: named there, never written out.

Such files are copied into every record, and a record is there to be shown around.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faultload.errors import SpecError
from faultload.secrecy import in_clear_text, keep_password_of, keep_secret, names_secret

_REMEDIES = {
    "inference_url": "name it in load.api_key_env",
    "prometheus_url": "name it in kubernetes.prometheus_sign_in",
}
_REMEDY = (
    "name that: in a target by load.api_key_env or kubernetes.prometheus_sign_in, in an experiment"
    " by {type: env, key: NAME} in `secrets`, which ${…} refers to"
)
_REFERENCE = re.compile(r"\$\{(\w+)\}")
# What stock experiments have in `secrets` beside secrets, of chaosk8s and of chaosaws.
_NO_SECRET = re.compile(
    r"(?i)(?:^|_)(?:context|namespace|host|region|profile|profile_name|file|ssl|version)$"
)


def refuse_clear_text(path: Path, document: Mapping[str, Any]) -> None:
    """Refuse a file with a credential in it; the error does not say which.

    Raises:
        SpecError: the key, and where credentials belong.
    """
    for key in in_clear_text(document):
        last = key.rpartition(".")[2]
        remedy = "write its NAME here" if last.endswith("_env") else _REMEDIES.get(last, _REMEDY)
        raise SpecError(
            path,
            key,
            "a credential is written out here, and this file is copied into every record: keep it"
            f" in an environment variable, and {remedy}",
        )


def refuse_inline_secrets(path: Path, raw: Mapping[str, Any]) -> None:
    """Refuse an experiment's secrets that are written out, or end up in a process list.

    Raises:
        SpecError: the key, and what to do.
    """
    for key, value in _leaves(raw.get("secrets", {}), "secrets"):
        name = key.rpartition(".")[2]
        if isinstance(value, str) and "${" not in value and not _NO_SECRET.search(name):
            raise SpecError(
                path,
                key,
                "expected {type: env, key: NAME}: what stands here is copied into every record",
            )
        if isinstance(value, Mapping) and isinstance(value.get("default"), str):
            problem = "a secret's default is copied into every record: leave it out"
            raise SpecError(path, f"{key}.default", problem)
    names = {key.rpartition(".")[2] for key, _ in _leaves(raw.get("secrets", {}), "")}
    names |= {name for name in raw.get("configuration", {}) if names_secret(str(name))}
    for key, arguments in _process_arguments(raw):
        shown = sorted(names & set(_REFERENCE.findall(str(arguments))))
        if shown:
            raise SpecError(
                path,
                key,
                f"everybody on the machine sees a program's arguments, and ${{{shown[0]}}} is a"
                " secret: have the program read it from the environment",
            )


def keep_experiment_secrets(
    raw: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> None:
    """Register what an experiment takes from the environment and calls a secret.

    All of `secrets`, and of `configuration` what has a secret's name; the password of any URL.

    Args:
        raw: the document, as Chaos Toolkit runs it.
        environment: None: that of this process.
    """
    variables = os.environ if environment is None else environment
    for section in ("secrets", "configuration"):
        for key, value in _leaves(raw.get(section) or {}, ""):
            if isinstance(value, Mapping):
                held = variables.get(str(value.get("key")), "")
                keep_password_of(held)
                if section == "secrets" or names_secret(key.rpartition(".")[2]):
                    keep_secret(held)


def _leaves(section: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys, and values or what says where a value is to be taken from."""
    for name, value in section.items() if isinstance(section, Mapping) else ():
        key = f"{at}.{name}" if at else str(name)
        if isinstance(value, Mapping) and "type" not in value:
            yield from _leaves(value, key)
        else:
            yield key, value


def _process_arguments(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    hypothesis = raw.get("steady-state-hypothesis") or {}
    sections = {"method": raw.get("method"), "rollbacks": raw.get("rollbacks")}
    sections["steady-state-hypothesis.probes"] = hypothesis.get("probes")
    for section, activities in sections.items():
        for index, activity in enumerate(activities if isinstance(activities, list) else ()):
            provider = activity.get("provider") if isinstance(activity, Mapping) else None
            if isinstance(provider, Mapping) and provider.get("type") == "process":
                yield f"{section}[{index}].provider.arguments", provider.get("arguments")
