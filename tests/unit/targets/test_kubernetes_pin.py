"""A run stays with the cluster that was checked, whatever a kubeconfig says later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from faultload.errors import RefusedError
from faultload.targets.kubernetes.api import Api, Call

GET = Call("GET", "/version", "get /version")


class SignedIn:
    """A client of the official library, as far as `Api` uses it.

    Attributes:
        asked: URLs that were asked through it.
    """

    def __init__(self, host: str, status: int) -> None:
        self.configuration = SimpleNamespace(host=host, api_key={})
        self.user_agent = "test"
        self.asked: list[str] = []
        self.rest_client = SimpleNamespace(pool_manager=self)
        self._status = status

    def update_params_for_auth(self, *_: object) -> None:
        """Nothing is added."""

    def close(self) -> None:
        """Nothing is open."""

    def request(self, _: str, url: str, **__: Any) -> SimpleNamespace:
        self.asked.append(url)
        return SimpleNamespace(status=self._status, data=b"{}", headers={})


def api_of(*clients: SignedIn) -> Api:
    """Return an API whose kubeconfig leads to one after the other."""
    left = list(clients)
    return Api(lambda: cast("Any", left.pop(0)), "staging")


def test_renewed_credentials_of_the_same_place_are_used() -> None:
    """A token that ran out is read again, once."""
    old, new = SignedIn("https://a", 401), SignedIn("https://a", 200)
    assert api_of(old, new).ask(GET) == b"{}"
    assert new.asked == ["https://a/version"]


def test_context_that_leads_elsewhere_by_now_is_refused() -> None:
    """Which cluster it is was asked at the old place only: at the new one nothing is asked."""
    old, new = SignedIn("https://a", 401), SignedIn("https://b", 200)
    with pytest.raises(RefusedError, match="'staging' led to https://a and leads to https://b"):
        api_of(old, new).ask(GET)
    assert new.asked == []


def test_other_clients_are_held_to_it_too() -> None:
    """What a probe asks with is signed in to the same place."""
    api = api_of(SignedIn("https://a", 200), SignedIn("https://b", 200))
    with pytest.raises(RefusedError):
        api.new_client()
