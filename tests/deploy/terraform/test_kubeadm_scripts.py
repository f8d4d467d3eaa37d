"""The user data of environments/kubeadm run for real, with programs that answer as AWS's do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from terraform_code import PLATFORM

_SCRIPTS = PLATFORM / "environments/kubeadm/scripts"
_TIMEOUT_S = 30


def _program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/bash\necho "{name} $*" >>"$LOG"\n{body}\n', encoding="utf-8")
    path.chmod(0o755)


def _run(
    script: str, folder: Path, **settings: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a script with the folder's programs first on PATH; return what it said, and its calls."""
    log = folder / "log"
    log.touch()
    done = subprocess.run(
        ["bash", str(_SCRIPTS / script)],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(log), **settings},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return done, log.read_text(encoding="utf-8")


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """Return a folder of programs for a worker; the parameter is what its file `parameter` says."""
    _program(tmp_path, "aws", f'cat "{tmp_path}/parameter"')
    _program(tmp_path, "sleep", "")
    return tmp_path


def _join(folder: Path, **settings: str) -> tuple[subprocess.CompletedProcess[str], str]:
    return _run(
        "worker.sh", folder, JOIN_PARAMETER="/test/join", AWS_REGION="us-east-1", **settings
    )


def test_worker_outlives_a_control_plane_that_is_gone(worker: Path) -> None:
    """A stale parameter is read again, and what a failed try left is taken back before the next."""
    (worker / "parameter").write_text("kubeadm join 10.10.0.9:6443 --token old\n")
    # A control plane that was replaced writes its own command while the worker tries the old one.
    _program(
        worker,
        "kubeadm",
        f"""case "$*" in
  *old) echo "kubeadm join 10.10.0.7:6443 --token new" >"{worker}/parameter"; exit 1 ;;
esac""",
    )
    done, calls = _join(worker)
    assert done.returncode == 0, done.stderr
    assert [line for line in calls.splitlines() if line.startswith("kubeadm")] == [
        "kubeadm join 10.10.0.9:6443 --token old",
        "kubeadm reset --force",
        "kubeadm join 10.10.0.7:6443 --token new",
    ]


def test_worker_gives_up_and_says_what_it_saw(worker: Path) -> None:
    """The wait has a bound; its error names the parameter and the last answer, not the token."""
    (worker / "parameter").write_text("kubeadm join 10.10.0.9:6443 --token secret\n")
    _program(worker, "kubeadm", 'echo "error: 10.10.0.9 does not answer" >&2; exit 1')
    done, _ = _join(worker, JOIN_TIMEOUT_S="0")
    assert done.returncode == 1
    assert "could not join by /test/join within 0 s" in done.stderr
    assert "10.10.0.9 does not answer" in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_worker_runs_no_other_command(worker: Path) -> None:
    """Whatever else stands in the parameter is refused."""
    (worker / "parameter").write_text("reboot --force\n")
    _program(worker, "reboot", "")
    done, calls = _join(worker, JOIN_TIMEOUT_S="0")
    assert done.returncode == 1
    assert "expected a kubeadm join command in /test/join" in done.stderr
    assert "reboot" not in calls


def test_control_plane_waits_for_what_is_there(tmp_path: Path) -> None:
    """Calico's kinds are made before one is waited for: `kubectl wait` fails at once without it."""
    _program(tmp_path, "kubeadm", "echo kubeadm join 10.10.0.7:6443 --token new")
    _program(tmp_path, "aws", "")
    _program(
        tmp_path,
        "kubectl",
        f"""case "$*" in
  *operator-crds.yaml) touch "{tmp_path}/kinds" ;;
  wait*) [ -e "{tmp_path}/kinds" ] || exit 1 ;;
esac""",
    )
    settings = {
        "KUBERNETES_VERSION": "1.35.0",
        "CALICO_VERSION": "v3.31.2",
        "DEVICE_PLUGIN_VERSION": "v0.18.0",
        "POD_CIDR": "192.168.0.0/16",
        "JOIN_PARAMETER": "/test/join",
        "KMS_KEY_ID": "1",
        "AWS_REGION": "us-east-1",
    }
    done, calls = _run("control-plane.sh", tmp_path, **settings)
    assert done.returncode == 0, f"{done.stderr}\n{calls}"
    made = [line.rsplit("/", 1)[-1] for line in calls.splitlines() if "create -f http" in line]
    assert made == ["operator-crds.yaml", "tigera-operator.yaml", "nvidia-device-plugin.yml"]
    assert "--value kubeadm join 10.10.0.7:6443 --token new" in calls


def test_apt_waits_for_its_locks() -> None:
    """Ubuntu's own updates hold them at first boot: installing waits, updating is tried again."""
    text = (_SCRIPTS / "node.sh").read_text(encoding="utf-8")
    installs = [line for line in text.splitlines() if "apt-get" in line and " install " in line]
    assert installs
    assert all("-o DPkg::Lock::Timeout=" in line for line in installs)
    assert "until apt-get update" in text
