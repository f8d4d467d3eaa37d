"""How a platform does not start, and that none leaves a process behind, however it ends."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference_platform.local.__main__ import main

on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux ends children with their parent"
)


def test_a_missing_program_ends_with_69(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the program and the way to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FAULTLOAD_TOOLS", raising=False)
    monkeypatch.chdir(tmp_path)

    assert main(["up", "--state-dir", str(tmp_path / "state")]) == 69

    error = capsys.readouterr().err
    assert error.startswith("platform: prometheus is not on PATH")
    assert error.count("\n") == 1


def test_a_port_in_use_ends_with_69(
    tools: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the address, the part that wanted it and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        network = f"127.77.{probe.getsockname()[1] % 256}"
    try:
        taken = socket.create_server((f"{network}.1", 9090))
    except OSError:
        pytest.skip("this system has only 127.0.0.1")
    with taken:
        settings = ["--set", f"network={network}.0/24"]
        assert main(["up", "--state-dir", str(tmp_path / "state"), *settings]) == 69

    error = capsys.readouterr().err
    assert f"{network}.1:9090 for prometheus is in use" in error
    assert error.count("\n") == 1


def test_a_typo_on_the_command_line_ends_with_64(capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors are 64 everywhere, argparse's own 2 must not show."""
    assert main(["up"]) == 64
    assert main(["up", "--state-dir", "x", "--set", "tiers.fsat.replicas=1"]) == 64
    assert "did you mean 'fast'?" in capsys.readouterr().err


@pytest.mark.local
def test_a_part_that_cannot_start_is_named(local: Any, tmp_path: Path) -> None:
    """The line has the part and the last line of its log; the others are gone."""
    argv = local.command(tmp_path, "router.extra_args=[--nonsense]")

    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 69
    assert "platform: component/router ended while starting" in done.stderr
    assert "--nonsense" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "platform.json").exists()


@on_linux
@pytest.mark.local
def test_sigkill_of_the_supervisor_leaves_no_process(local: Any, tmp_path: Path) -> None:
    """The kernel ends every child, Prometheus and Redis too."""
    platform = local.start(local.command(tmp_path), tmp_path)
    pids = platform.pids()

    platform.process.kill()
    platform.process.communicate()

    assert len(pids) == 6
    local.wait_for(lambda: all(local.is_gone(pid) for pid in pids))


@on_linux
@pytest.mark.local
def test_it_ends_with_its_parent(local: Any, tmp_path: Path) -> None:
    """With --die-with-parent a harness that was killed leaves nothing behind."""
    parent = subprocess.Popen(
        ["sh", "-c", '"$@" & read _', "sh", *local.command(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        local.wait_for((tmp_path / "platform.json").exists)
        supervisor = json.loads((tmp_path / "platform.json").read_text())["pid"]
    finally:
        parent.kill()
        parent.communicate()

    local.wait_for(lambda: local.is_gone(supervisor))
    assert not (tmp_path / "platform.json").exists()
