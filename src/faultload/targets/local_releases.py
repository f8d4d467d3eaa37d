"""The local platform's releases and weights."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import requests

from faultload.errors import FaultError
from faultload.targets.base import BAD_RELEASE, ROLL_OUT, SPOIL_MODEL, Mark
from faultload.targets.control import ControlApi
from faultload.targets.release_acts import Flaw, Rollout, Spoiling

RELEASE_CAPABILITIES = frozenset({ROLL_OUT, BAD_RELEASE, SPOIL_MODEL})
_SLOWER = 4.0
"""How many times as long each step of a slow release takes: nobody takes that for a full batch."""
_CHANGES: dict[Spoiling, str] = {"missing": "empty", "corrupt": "corrupt", "truncated": "truncate"}
_FETCH_S = 5.0


class LocalReleases:
    """That part of a local target. A revision's annotation is the token of whose it is."""

    _control: ControlApi

    def rollout(self, workload: str, uid: str) -> Rollout | None:
        """Read the tier and its replicas."""
        state = self._control.call("GET", "/v1/state")
        tier = _tier(state, workload)
        if tier is None or workload != uid:
            return None
        new = [
            row
            for row in state["replicas"]
            if (row["tier"], row["revision"]) == (workload, tier["revision"])
            and row["phase"] != "stopping"
        ]
        return Rollout(
            revision=tier["revision"],
            wanted=tier["wanted"],
            updated=tier["updated"],
            updated_ready=sum(row["ready"] for row in new),
            ready=tier["ready"],
            stalled=tier["stalled"],
            token=tier["annotation"],
            max_unavailable=tier["max_unavailable"],
            waits_for=", ".join(sorted({row["waits_for"] for row in new} - {""})),
        )

    def roll_out(self, workload: str, uid: str, mark: Mark) -> None:
        """Release what runs already."""
        self._release(workload, uid, mark)

    def release(self, workload: str, uid: str, flaw: Flaw, mark: Mark) -> None:
        """Release without an image, with a flag that no engine knows, or with slow steps."""
        if flaw == "unpullable":
            self._release(workload, uid, mark, pullable=False)
        elif flaw == "crashing":
            self._release(workload, uid, mark, engine={"extra_args": ["--no-such-flag"]})
        else:
            tier = _tier(self._control.call("GET", "/v1/state"), workload) or {}
            slow = tier.get("slow_factor", 1.0) * _SLOWER
            self._release(workload, uid, mark, engine={"slow_factor": slow})

    def roll_back(self, workload: str, uid: str, token: str, revision: str) -> None:
        """Roll back, where what runs carries the token."""
        tier = _tier(self._control.call("GET", "/v1/state"), workload)
        if tier is None or workload != uid or tier["annotation"] != token:
            return
        if tier["revision"] != revision:
            self._control.call("POST", f"/v1/tiers/{workload}/rollback", {"to": revision})

    def spoil_model(self, tier: str, how: Spoiling, mark: Mark) -> None:  # noqa: ARG002
        """Have the platform change what its store holds; it keeps no marks of that."""
        self._control.call("POST", self._model_path(tier), {"change": _CHANGES[how]})

    def restore_model(self, tier: str, token: str) -> None:  # noqa: ARG002
        """Have the platform publish them again; whole ones are the same afterwards."""
        self._control.call("POST", self._model_path(tier), {"change": "restore"})

    def model_problem(self, tier: str) -> str | None:
        """Load every file of the version in service, by the way that a replica's fetch takes."""
        state = self._control.call("GET", "/v1/state")
        stores = [one["url"] for one in state["components"] if one["name"] == "model-store"]
        if not stores:
            raise FaultError("this platform has no model store; start it with model_store.enabled")
        through = [_link_url(one) for one in state["links"] if one["name"] == "model-store"]
        model = (_tier(state, tier) or {}).get("model", "")
        with requests.Session() as http:
            http.trust_env = False  # a proxy must not see loopback calls
            try:
                return _problem(http, f"{(through or stores)[0]}/models/{model}")
            except requests.RequestException:
                return None

    def _release(self, workload: str, uid: str, mark: Mark, **changes: Any) -> None:
        if workload != uid:
            raise FaultError(f"tier {workload} is another by now")
        body = {**changes, "annotation": mark.token}
        self._control.call("POST", f"/v1/tiers/{workload}/release", body)

    def _model_path(self, tier: str) -> str:
        found = _tier(self._control.call("GET", "/v1/state"), tier)
        if found is None:
            raise FaultError(f"there is no tier {tier}")
        return f"/v1/models/{found['model']}"


def _tier(state: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((row for row in state["tiers"] if row["name"] == name), None)


def _problem(http: requests.Session, model_url: str) -> str:
    """Return what is wrong with the version in service; "" for nothing.

    Raises:
        requests.RequestException: the store does not answer, or not properly.
    """
    name = "current"
    try:
        version = json.loads(_read(http, f"{model_url}/{name}"))["version"]
        name = f"{version}/manifest.json"
        files = json.loads(_read(http, f"{model_url}/{name}"))["files"]
        for file in files:
            name = f"{version}/{file['name']}"
            content = _read(http, f"{model_url}/{name}")
            if len(content) < file["size"]:
                return f"truncated: {name} has {len(content)} of {file['size']} bytes"
            found = hashlib.sha256(content).hexdigest()
            if found != file["sha256"]:
                return f"corrupt: {name} has sha256 {found}, expected {file['sha256']}"
    except FileNotFoundError:
        return f"missing: {name} is not in the store"
    except (ValueError, KeyError, TypeError):
        return f"corrupt: {name} is not what it should be"
    return ""


def _read(http: requests.Session, url: str) -> bytes:
    answer = http.get(url, timeout=_FETCH_S)
    if answer.status_code == requests.codes.not_found:
        raise FileNotFoundError(url)
    answer.raise_for_status()
    return answer.content


def _link_url(link: dict[str, Any]) -> str:
    host, port = link["listen"]
    return f"http://{host}:{port}"
