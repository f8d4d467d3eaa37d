"""`python -m inference_platform.router.discovery`: the endpoints file of a router on Kubernetes.

Asks the API for the EndpointSlices of the engines' Services, again and again, and replaces the file
whenever they changed. Labels of a Service, which its slices inherit, say tier and model. What
cannot be asked changes nothing: a router goes on with the replicas it knows, and looks after their
health itself.
"""

import argparse
import json
import logging
import os
import signal
import ssl
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

log = logging.getLogger(__name__)

TIER_LABEL = "faultload.dev/tier"
MODEL_LABEL = "faultload.io/model"
_SIGN_IN = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ANSWER_BYTES_MAX = 32 * 2**20


def endpoints_of(slices: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what an EndpointSliceList says as the router's endpoints, sorted by name.

    A pod that two slices name (as it moves from one to the other) is there once, ready if either
    says so. Slices without our tier label, and endpoints that are no pods, are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in slices.get("items") or []:
        for endpoint in _of_slice(one):
            known = found.setdefault(endpoint["name"], endpoint)
            if endpoint["ready"]:
                known |= endpoint
    return [found[name] for name in sorted(found)]


def _of_slice(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    labels = one["metadata"].get("labels", {})
    ports = [port["port"] for port in one.get("ports") or [] if port.get("port")]
    tier = labels.get(TIER_LABEL)
    if not tier or not ports:
        return
    for endpoint in one.get("endpoints") or []:
        pod = endpoint.get("targetRef") or {}
        if pod.get("kind") != "Pod":
            continue
        host = endpoint["addresses"][0]
        yield {
            "name": pod["name"],
            "uid": pod["uid"],
            "tier": tier,
            "model": labels.get(MODEL_LABEL, ""),
            "url": f"http://{f'[{host}]' if ':' in host else host}:{ports[0]}",
            # Left out means unknown, which the API asks to be read as ready.
            "ready": endpoint.get("conditions", {}).get("ready") is not False,
        }


class Follower:
    """Keeps one file up to date."""

    def __init__(self, ask: Callable[[], dict[str, Any]], path: Path) -> None:
        """`ask` returns an EndpointSliceList, or raises OSError or ValueError."""
        self._ask = ask
        self._path = path
        self._written: str | None = None
        self._problem: str | None = None

    def step(self) -> bool:
        """Ask once, and write what changed; False if it could not be asked or written."""
        try:
            endpoints = endpoints_of(self._ask())
            text = json.dumps({"endpoints": endpoints}, indent=1)
            if text != self._written:
                _replace(self._path, text)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            self._say(f"{type(error).__name__}: {error}")
            return False
        self._say(None)
        if text != self._written:
            ready = sum(endpoint["ready"] for endpoint in endpoints)
            log.info("%d replicas, %d of them ready", len(endpoints), ready)
            self._written = text
        return True

    def _say(self, problem: str | None) -> None:
        if problem is not None and problem != self._problem:
            log.warning("cannot be asked: %s; the file stays as it is", problem)
        elif problem is None and self._problem is not None:
            log.info("can be asked again")
        self._problem = problem


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def asker(
    server: str, sign_in: Path, namespace: str, selector: str, timeout_s: float
) -> Callable[[], dict[str, Any]]:
    """Return what asks the API server once, with the ServiceAccount in a folder.

    The token is read each time, as the kubelet renews it. Any version of the list will do
    (resourceVersion=0), so the server answers from memory.
    """
    url = (
        f"{server}/apis/discovery.k8s.io/v1/namespaces/{quote(namespace)}/endpointslices"
        f"?resourceVersion=0&labelSelector={quote(selector)}"
    )
    ca = sign_in / "ca.crt"
    context = ssl.create_default_context(cafile=str(ca)) if server.startswith("https:") else None
    # No proxy: the API server is inside, and the token is for nobody else.
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    opener = urllib.request.build_opener(*handlers)

    def ask() -> dict[str, Any]:
        token = (sign_in / "token").read_text(encoding="utf-8").strip()
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  # ours
        with opener.open(request, timeout=timeout_s) as answer:
            found = json.loads(answer.read(_ANSWER_BYTES_MAX))
        if not isinstance(found, dict) or found.get("kind") != "EndpointSliceList":
            raise ValueError("expected an EndpointSliceList, found something else")
        return found

    return ask


def _server() -> str:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}" if host else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference_platform.router.discovery")
    parser.add_argument("--namespace", required=True, help="of the engines")
    parser.add_argument("--selector", required=True, help="labels of the engines' Services")
    parser.add_argument("--into", type=Path, required=True, help="the router's endpoints file")
    parser.add_argument("--period-s", type=float, default=1.0, help="between two questions")
    parser.add_argument("--timeout-s", type=float, default=5.0, help="longest wait for an answer")
    parser.add_argument("--server", default=_server(), help="default: the cluster this runs on")
    parser.add_argument("--sign-in", type=Path, default=_SIGN_IN, help="folder of token and ca.crt")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Follow until SIGTERM or SIGINT; 0, 64 for a bad command line, 69 without a cluster."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as left:
        return 64 if left.code else 0
    if not options.server:
        sys.stderr.write("expected a cluster, found no KUBERNETES_SERVICE_HOST: say --server\n")
        return 64
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s discovery %(message)s"
    )
    try:
        ask = asker(
            options.server, options.sign_in, options.namespace, options.selector, options.timeout_s
        )
    except OSError as error:
        why = error.strerror or str(error)
        sys.stderr.write(f"{options.sign_in}/ca.crt: {why}; mount the pod's ServiceAccount\n")
        return 69
    follower = Follower(ask, options.into)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while True:
        follower.step()
        if ended.wait(options.period_s):
            return 0


if __name__ == "__main__":
    sys.exit(main())
