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
    "command": "have the program read that",
    "inference_url": "name it in load.api_key_env",
    "prometheus_url": "name it in kubernetes.prometheus_sign_in",
    "prometheus_sign_in": "name it here: {bearer_token_env: NAME}",
}
_REMEDY = (
    "name that: in a target by load.api_key_env or kubernetes.prometheus_sign_in, in an experiment"
    " by {type: env, key: NAME}, which ${…} refers to"
)
# What stock experiments have in `secrets` beside secrets, of chaosk8s and of chaosaws.
_NO_SECRET = re.compile(
    r"(?i)(?:^|_)(?:context|namespace|host|region|profile|profile_name|file|ssl|version)$"
)


def refuse_clear_text(path: Path, document: Mapping[str, Any]) -> None:
    """Refuse a file with a credential in it; the error says its form only.

    Raises:
        SpecError: the key, and where credentials belong.
    """
    for key, form in in_clear_text(document):
        last = key.rpartition(".")[2]
        remedy = "write its NAME here" if last.endswith("_env") else _REMEDIES.get(last, _REMEDY)
        raise SpecError(
            path,
            key,
            f"a credential is written out here ({form}), and this file is copied into every record:"
            f" keep it in an environment variable, and {remedy}",
        )


def refuse_inline_secrets(path: Path, raw: Mapping[str, Any]) -> None:
    """Refuse an experiment's secrets that are written out.

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
