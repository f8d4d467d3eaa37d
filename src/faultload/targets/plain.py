"""A plain URL that speaks OpenAI's API: what can be known of it without a target file."""

from __future__ import annotations

import os
from typing import Any

import requests

from faultload.errors import MissingError
from faultload.secrecy import keep_secret

_TIMEOUT_S = 10.0
_NO_SUCH_PAGE, _REFUSED = (404, 405), (401, 403)
_ABOUT = ("id", "root", "max_model_len", "owned_by")


class RefusesUsError(MissingError):
    """Somebody answers there, and holds something against our request: others may be served."""


def describe_endpoint(
    url: str, api_key_env: str | None = None, ca: str | None = None
) -> dict[str, Any]:
    """Return which models it offers, and which version of vLLM it says it is.

    Args:
        url: without `/v1`, or with it.
        api_key_env: name of the environment variable with its key; None: it wants none.
        ca: PEM file of the authorities to trust; None: the system's.

    Raises:
        RefusesUsError: it does not take our key, wants us to come less often, or elsewhere.
        MissingError: nobody answers there, or it fails.
    """
    base = url.rstrip("/").removesuffix("/v1")
    with requests.Session() as http:
        http.verify = ca or True
        if api_key_env is not None:
            key = os.environ.get(api_key_env, "")
            keep_secret(key)
            http.headers["Authorization"] = f"Bearer {key}"
        hint = f"the key in {api_key_env}" if api_key_env else "a request without a key"
        models = _get(http, f"{base}/v1/models", hint).get("data")
        # Many a proxy lets nobody see more than /v1.
        version = _get(http, f"{base}/version", None).get("version")
    found: dict[str, Any] = {"url": base}
    if isinstance(models, list):
        listed = [
            {k: one[k] for k in _ABOUT if k in one} for one in models if isinstance(one, dict)
        ]
        found["models"] = {str(one.get("id", "")): one for one in listed}
    if version is not None:
        found["version"] = str(version)
    return found


def _get(http: requests.Session, url: str, sent: str | None) -> dict[str, Any]:
    """Return what it answers; empty: it has no such page, or not in JSON.

    `sent`: what a refusal refuses; None: one says that there is no such page for us.
    """
    try:
        response = http.get(url, timeout=_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise MissingError(f"{url} does not answer: {type(error).__name__}") from None
    code = response.status_code
    if code in _REFUSED and sent is not None:
        raise RefusesUsError(f"{url} answers {code}: it refuses {sent} (load.api_key_env)")
    if code in (*_NO_SUCH_PAGE, *_REFUSED):
        return {}
    if code != requests.codes.ok:
        kind = MissingError if code >= requests.codes.server_error else RefusesUsError
        raise kind(f"{url} answers {code}; expected 200, or 404 where it has no such page")
    try:
        data = response.json()
    except requests.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}
