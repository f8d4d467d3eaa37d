"""A real Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler.

There is no kubelet: nothing runs the pods. `kubelet.Kubelet` says that they run.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from certificates import Authority, Pair, write_key
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from kube_binaries import Binaries, Command

from faultload.targets.processes import end, spawn

ISSUER = "https://kubernetes.default.svc.cluster.local"
READY_TIMEOUT_S = 120.0  # a loaded machine; docs/testing-on-kubernetes.md has measured times
_STOP_GRACE_S = 3.0
# Nothing here sends heartbeats, and the controller manager must not take that for a loss.
_NODE_GRACE = "24h"


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane.

    Attributes:
        url: of the API server.
        ca_file: who signed its certificate.
        admin_kubeconfig: signs in as a member of system:masters, by certificate.
        version, etcd_version: v1.36.3 and 3.4.23 for one.
        started_s: from nothing to ready, without the build.
        built_s: None: found ready.
        controllers: there are a controller manager and a scheduler.
        source: where the programs come from, for people.
        pids: by part.
        home: a folder for more kubeconfigs.
    """

    url: str
    ca_file: Path
    admin_kubeconfig: Path
    version: str
    etcd_version: str
    started_s: float
    built_s: float | None
    controllers: bool
    source: str
    pids: Mapping[str, int]
    home: Path

    def signed_again(self, token: str, end_s: float) -> str:
        """Return a service account's token with another end, signed by the control plane's key.

        TokenRequest gives none that ends within ten minutes, and the API server takes every token
        for one minute longer.

        Args:
            token: from TokenRequest.
            end_s: seconds from now, negative for a token that has ended.
        """
        head, claims, _ = token.split(".")
        decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        now = int(time.time())
        earlier = min(decoded["iat"], now + int(end_s) - 1)
        decoded |= {"exp": now + int(end_s), "nbf": earlier, "iat": earlier}
        signed = f"{head}.{_base64url(json.dumps(decoded).encode())}"
        key = serialization.load_pem_private_key((self.home / "sa.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@contextlib.contextmanager
def running(binaries: Binaries, home: Path) -> Iterator[ControlPlane]:
    """Start a control plane in `home`, yield it when it is ready, and end it.

    It also ends when this process is killed (Linux only).

    Raises:
        RuntimeError: a part ended or was not ready in time; has the last lines of its log.
    """
    begin = time.monotonic()
    home.chmod(0o700)
    authority = Authority(home)
    serving = authority.serving("serving")
    admin = authority.client("admin", "test-admin", "system:masters")
    write_key(home / "sa.key", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    etcd, peer, secure = _free_ports(3)
    url, store = f"https://127.0.0.1:{secure}", f"http://127.0.0.1:{etcd}"
    tls = ssl.create_default_context(cafile=str(authority.ca_file))
    tls.load_cert_chain(admin.certificate, admin.key)

    with contextlib.ExitStack() as stack:
        # Its log is 64 MB from the first second, and pytest keeps the folders of three sessions.
        stack.callback(shutil.rmtree, home / "etcd", ignore_errors=True)
        parts = _Parts(home, stack, tls)
        flags = [*_etcd_flags(home, store, peer), *_no_fsync(binaries.etcd)]
        parts.start("etcd", binaries.etcd, flags)
        flags = _apiserver_flags(home, store, secure, authority, serving)
        parts.start("kube-apiserver", binaries.apiserver, flags)
        parts.wait("kube-apiserver", f"{url}/readyz")

        _start_controllers(parts, binaries, authority, serving, url)

        file = home / "admin.kubeconfig"
        yield ControlPlane(
            url=url,
            ca_file=authority.ca_file,
            admin_kubeconfig=write_kubeconfig(
                file, url, authority.ca_file, certificate_user(admin)
            ),
            version=json.loads(_get(f"{url}/version", tls))["gitVersion"],
            etcd_version=json.loads(_get(f"{store}/version", tls))["etcdserver"],
            started_s=time.monotonic() - begin,
            built_s=binaries.built_s,
            controllers=None not in (binaries.controller_manager, binaries.scheduler),
            source=binaries.source,
            pids={name: process.pid for name, (process, _) in parts.running.items()},
            home=home,
        )


def _start_controllers(
    parts: _Parts, binaries: Binaries, authority: Authority, serving: Pair, url: str
) -> None:
    """Start controller manager and scheduler, those that there are, and wait until they work."""
    home = parts.home
    manager, scheduler = _free_ports(2)
    controllers = [
        ("kube-controller-manager", binaries.controller_manager, manager, _manager_flags(home)),
        ("kube-scheduler", binaries.scheduler, scheduler, []),
    ]
    for name, command, port, more in controllers:
        if command:
            user = certificate_user(authority.client(name, f"system:{name}"))
            file = home / f"{name}.kubeconfig"
            config = write_kubeconfig(file, url, authority.ca_file, user)
            parts.start(name, command, [*_controller_flags(config, port, serving), *more])
    for name, command, port, _ in controllers:
        if command:
            parts.wait(name, f"https://127.0.0.1:{port}/healthz")
    if binaries.controller_manager:
        # It is healthy before its controllers have begun.
        account = "api/v1/namespaces/default/serviceaccounts/default"
        parts.wait("kube-controller-manager", f"{url}/{account}")


def write_kubeconfig(
    path: Path, url: str, ca_file: Path, user: Mapping[str, str], namespace: str = "default"
) -> Path:
    """Write a kubeconfig that only we may read (JSON, which is YAML); return its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "test",
                "cluster": {"server": url, "certificate-authority": str(ca_file)},
            }
        ],
        "users": [{"name": "test", "user": dict(user)}],
        "contexts": [
            {
                "name": "test",
                "context": {"cluster": "test", "user": "test", "namespace": namespace},
            }
        ],
        "current-context": "test",
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(config, file, indent=1)
    return path


def certificate_user(pair: Pair) -> dict[str, str]:
    """Return a kubeconfig's user that signs in by certificate."""
    return {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}


def _etcd_flags(home: Path, store: str, peer_port: int) -> list[str]:
    peer = f"http://127.0.0.1:{peer_port}"
    return [
        f"--data-dir={home / 'etcd'}",
        f"--listen-client-urls={store}",
        f"--advertise-client-urls={store}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def _no_fsync(etcd: Command) -> list[str]:
    """Return the flag that spares the disk, where this etcd knows it (its help may not say so)."""
    flag = "--unsafe-no-fsync"
    tried = subprocess.run([*etcd, flag, "--version"], capture_output=True, check=False, timeout=30)
    return [flag] if tried.returncode == 0 else []


def _apiserver_flags(
    home: Path, store: str, port: int, authority: Authority, serving: Pair
) -> list[str]:
    """Return what a cluster's installer would set; admission plugins are those on by default."""
    return [
        f"--etcd-servers={store}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={authority.ca_file}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={home / 'sa.key'}",
        f"--service-account-signing-key-file={home / 'sa.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        # The service `kubernetes` would need an address that is not loopback; nobody uses it here.
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
    ]


def _controller_flags(config: Path, port: int, serving: Pair) -> list[str]:
    return [
        f"--kubeconfig={config}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        "--leader-elect=false",
    ]


def _manager_flags(home: Path) -> list[str]:
    return [
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={home / 'sa.key'}",
        f"--root-ca-file={home / 'ca.crt'}",
        f"--node-monitor-grace-period={_NODE_GRACE}",
        # The default of 20 a second spreads the start of its controllers over five seconds.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


class _Parts:
    """The processes of a control plane, ended with the stack in the opposite order."""

    def __init__(self, home: Path, stack: contextlib.ExitStack, tls: ssl.SSLContext) -> None:
        self.home = home
        self._tls = tls
        self._stack = stack
        self.running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def start(self, name: str, command: Command, flags: list[str]) -> None:
        log = self.home / f"{name}.log"
        process = spawn([*command, *flags], log)
        self._stack.callback(end, process, _STOP_GRACE_S)
        self.running[name] = (process, log)

    def wait(self, name: str, url: str) -> None:
        """Wait until a part answers 200."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                _get(url, self._tls)
            except OSError as error:
                seen = str(error)
            else:
                return
            for part, (process, log) in self.running.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{part} ended with {process.returncode}:\n{_tail(log)}")
            if time.monotonic() > deadline:
                log = self.running[name][1]
                raise RuntimeError(
                    f"{name} was not ready within {READY_TIMEOUT_S:.0f} s; {url} last said"
                    f" {seen}; its log ends:\n{_tail(log)}"
                )
            time.sleep(0.05)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _get(url: str, tls: ssl.SSLContext) -> bytes:
    """GET past any proxy; an error has the answer's body, as /readyz says there what is amiss."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )
    try:
        with opener.open(url, timeout=5) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise OSError(f"{error}: {error.read(2000).decode(errors='replace')}") from error


def _free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
