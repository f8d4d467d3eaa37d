"""The local platform's network: the links before its replicas, its Redis and its model store."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from faultload.errors import FaultError
from faultload.targets.base import Mark
from faultload.targets.control import GONE, ControlApi
from faultload.targets.local_parts import PARTS
from faultload.targets.local_wire import ask, is_refused
from faultload.targets.network_acts import ANSWER_S, Disturbance

_ADDRESSES = {"name", "listen", "to"}
_UNDISTURBED = Disturbance()


class LocalNetwork:
    """The network's part of a local target. The platform keeps no marks on its links."""

    _control: ControlApi

    def partition(self, victims: Sequence[tuple[str, str]], mark: Mark) -> None:  # noqa: ARG002
        """Cut the link before each replica."""
        state = self._insist(victims)
        for name, _ in victims:
            self._set_link(state, name, {"partitioned": True})

    def join(self, victims: Sequence[tuple[str, str]], token: str) -> None:  # noqa: ARG002
        """Mend the links that are still there."""
        links = self._links()
        for name, _ in victims:
            if name in links:
                self._set_link(links, name, {"partitioned": False})

    def partitioned(self, token: str) -> Collection[str]:  # noqa: ARG002
        """Return the uids of replicas behind a cut link, whoever cut it."""
        state = self._control.call("GET", "/v1/state")
        cut = {link["name"] for link in state["links"] if link["partitioned"]}
        return {row["uid"] for row in _everybody(state) if row["name"] in cut}

    def disturb(
        self,
        victims: Sequence[tuple[str, str]],
        how: Disturbance,
        mark: Mark,  # noqa: ARG002
    ) -> None:
        """Set conditions of the link before each; one that somebody set already is refused.

        Ours could not be told from it afterwards.
        """
        links, ours = self._insist(victims), _changes(how)
        for name, _ in victims:
            for key, value in ours.items():
                found = links[name][key]
                if found not in (getattr(_UNDISTURBED, key), value):
                    raise FaultError(
                        f"{name}: the network before it has {key} {found} already, which somebody"
                        " else has set; undo that first"
                    )
        for name, _ in victims:
            self._set_link(links, name, ours)

    def mend(self, victims: Sequence[tuple[str, str]], how: Disturbance, token: str) -> None:  # noqa: ARG002
        """Take back each condition that still is as it was set."""
        links = self._links()
        for name, _ in victims:
            if name in links:
                ours = {k: v for k, v in _changes(how).items() if links[name][k] == v}
                undone = {key: getattr(_UNDISTURBED, key) for key in ours}
                self._set_link(links, name, undone)

    def disturbed(self, token: str) -> Mapping[str, Disturbance]:  # noqa: ARG002
        """Return what is wrong with each link, whoever did it, but for partitions."""
        names = [field.name for field in fields(Disturbance)]
        found = {
            link: Disturbance(**{name: conditions[name] for name in names})
            for link, conditions in self._links().items()
        }
        return {link: how for link, how in found.items() if how != _UNDISTURBED}

    def round_trip_s(self, replica: str, extra_bytes: int = 0) -> float | None:
        """Ask through the link, as the router does, or a replica that fetches its weights."""
        link = self._links().get(replica)
        if link is None:
            return None
        try:
            return _ask(link, extra_bytes)
        except OSError:
            return None

    def resets(self, replica: str, connections: int) -> tuple[int, int] | None:
        """Ask through the link, again and again."""
        link = self._links().get(replica)
        if link is None:
            return None
        reset, tried, until_s = 0, 0, time.monotonic() + ANSWER_S
        while tried < connections and time.monotonic() < until_s:
            tried += 1
            try:
                _ask(link)
            except ConnectionError:
                reset += 1
            except OSError:
                pass  # no answer: not a reset
        return reset, tried

    def refuses(self, component: str) -> bool | None:
        """Connect to where it listens itself; the router's socket is the platform's and waits."""
        if component not in PARTS or component == "router":
            return None
        rows = self._control.call("GET", "/v1/state")["components"]
        return all(is_refused(row["url"]) for row in rows if row["name"] == component)

    def _links(self) -> dict[str, dict[str, Any]]:
        links = self._control.call("GET", "/v1/state")["links"]
        return {str(link["name"]): link for link in links}

    def _insist(self, victims: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
        """Return all links.

        Raises:
            FaultError: a victim is gone or another by now, or has no link before it.
        """
        state = self._control.call("GET", "/v1/state")
        links = {str(link["name"]): link for link in state["links"]}
        there = {(row["name"], row["uid"]) for row in _everybody(state)}
        for name, uid in victims:
            if (name, uid) not in there:
                raise FaultError(f"{name} is gone, or another by now")
            if name not in links:
                raise FaultError(
                    f"{name}: the local platform has no network to disturb before it; it has links"
                    " before its engines, redis and model-store"
                )
        return links

    def _set_link(
        self, links: Mapping[str, dict[str, Any]], name: str, changes: Mapping[str, Any]
    ) -> None:
        """Change conditions of a link; the others stay. One that is gone by now needs nothing."""
        link = links[name]
        if all(link[key] == value for key, value in changes.items()):
            return
        conditions = {key: link[key] for key in link.keys() - _ADDRESSES}
        answer = self._control.ask("POST", f"/v1/links/{name}", {**conditions, **changes})
        undoes = all(value in (False, 0, None) for value in changes.values())
        if not (undoes and answer.status_code == GONE[0]):
            self._control.result(answer)


def _ask(link: Mapping[str, Any], extra_bytes: int = 0) -> float:
    host, port = link["listen"]
    return ask((str(host), int(port)), extra_bytes, redis=link["name"] == "redis")


def _changes(how: Disturbance) -> dict[str, Any]:
    """Return what a disturbance changes."""
    return {k: v for k, v in asdict(how).items() if v != getattr(_UNDISTURBED, k)}


def _everybody(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*state["replicas"], *(row for row in state["components"] if row["name"] in PARTS)]
