"""The local platform's control API: asked with its token, told apart when it is gone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from faultload.errors import FaultError, MissingError, TargetGoneError

GONE = (404, 409)
"""Statuses of an order about something that is gone, or another by now."""
_CALL_TIMEOUT_S = 5.0
_LEASE = "Lease"
"""The header that names an order's lease, and the one of a refusal because it is over."""


class ControlApi:
    """One platform's control API.

    Attributes:
        lease: under which orders are given: what they change ends with it. "": under none.
    """

    def __init__(
        self, about: Mapping[str, Any], token: str, timeout_s: float = _CALL_TIMEOUT_S
    ) -> None:
        """Ask nothing yet.

        Args:
            about: what `platform.json` says.
            token: the bearer token.
            timeout_s: of each call: to connect, and between two bytes of the answer.
        """
        self.lease = ""
        self._about, self._timeout_s = about, timeout_s
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy must not see loopback calls
        self._http.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """Return what it answers, as JSON.

        Raises:
            FaultError: it refused, because what was asked about is gone or another by now, or
                because the lease is over.
            MissingError: it does not answer, or not properly.
            TargetGoneError: nor is its process there.
        """
        return self.result(self.ask(method, path, body, params))

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Return its response, whatever the status; errors as `call`'s but for refusals.

        Raises:
            FaultError: the lease is over: whatever was ordered, it does not happen.
        """
        url = f"{self._about['control_url']}{path}"
        headers = {_LEASE: self.lease} if self.lease else None
        try:
            response = self._http.request(
                method, url, json=body, params=params, headers=headers, timeout=self._timeout_s
            )
        except requests.RequestException as error:
            problem = type(error).__name__
            gone = "" if self._is_alive() else ", and its process is gone"
            raise (TargetGoneError if gone else MissingError)(
                f"the local platform does not answer at {url}: {problem}{gone}"
            ) from None
        if _LEASE in response.headers:
            raise FaultError(f"the local platform refused {method} {path}: {reason_of(response)}")
        return response

    def result(self, response: requests.Response) -> Any:
        """Return what a response says, as JSON; errors as `call`'s."""
        asked = f"{response.request.method} {response.request.path_url}"
        if response.status_code in GONE:
            raise FaultError(f"the local platform refused {asked}: {reason_of(response)}")
        try:
            response.raise_for_status()
            return response.json()
        except requests.RequestException as error:
            raise MissingError(f"{asked} was not answered properly: {error}") from None

    def _is_alive(self) -> bool:
        """Tell whether the platform's process exists, by pid and by what it runs."""
        try:
            os.kill(self._about["pid"], 0)
            return b"inference_platform" in self._command_line()
        except ProcessLookupError:
            return False
        except (OSError, KeyError, TypeError):
            return True  # it cannot be told, so nothing may be concluded

    def _command_line(self) -> bytes:
        path = Path(f"/proc/{self._about['pid']}/cmdline")
        return path.read_bytes() if path.exists() else b"inference_platform"


def reason_of(response: requests.Response) -> str:
    """Return what a refusal says, without the JSON around it."""
    try:
        return str(response.json()["error"])[:300]
    except (requests.JSONDecodeError, KeyError, TypeError):
        return response.text[:300]
