"""Programs that may veto a run: what they are told, and what counts as a veto."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory import Platform, replica

from faultload.errors import RefusedError
from faultload.run.consent import Consent
from faultload.run.injection import preview
from faultload.run.plan import RunPlan, prepare
from faultload.run.preflight import ask_preflight
from faultload.spec import Catalogue
from faultload.spec.guards import Preflight

ROOT = Path(__file__).parents[3]


class Asked:
    """Programs asked before a run on two replicas in memory.

    Attributes:
        folder: of the target file.
        plan, platform: the run's.
        events: text and data of each event.
    """

    def __init__(self, folder: Path) -> None:
        plan = prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=folder)
        self.folder = folder
        self.plan: RunPlan = replace(plan, target_path=folder / "target.yaml")
        self.platform = Platform(replica("a"), replica("b", inflight=3))
        self.events: list[tuple[str, dict[str, Any]]] = []

    def ask(self, *hooks: Preflight) -> None:
        """Ask them."""

        def tell(source: str, kind: str, text: str, **data: Any) -> None:
            assert (source, kind) == ("harness", "preflight")
            self.events.append((text, data))

        spec = self.plan.target.model_copy(update={"preflight": list(hooks)})
        plan = replace(self.plan, target=spec)
        hit = preview(plan, self.platform)  # type: ignore[arg-type]
        ask_preflight(plan, self.platform, hit, "run-7", tell)  # type: ignore[arg-type]

    def vetoed(self, *hooks: Preflight) -> str:
        """Ask them, and return what the refusal says."""
        with pytest.raises(RefusedError) as caught:
            self.ask(*hooks)
        return str(caught.value)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Return programs to be asked in a folder of their own."""
    return Asked(tmp_path)


def shell(script: str, **more: Any) -> Preflight:
    """Return a program of one line of shell."""
    return Preflight(name="on-call", command=["/bin/sh", "-c", script], **more)


def test_program_is_told_what_would_happen_and_no_secrets(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Experiment, target, victims, length, money and game day, as one JSON on standard input."""
    monkeypatch.setenv("THE_SECRET", "hunter22")
    asked.platform.price_usd_per_h = 36.0
    asked.plan = replace(asked.plan, consent=Consent("local", "GD-7"))

    asked.ask(shell("cat > told.json; env > env.txt; echo carry on"))

    told = json.loads((asked.folder / "told.json").read_text())
    length_s_max = asked.plan.length_s + asked.plan.steps_s_max
    assert told == {
        "run_id": "run-7",
        "experiment": "engine/replica-loss",
        "title": asked.plan.experiment.title,
        "target": {"name": "memory", "kind": "memory", "fingerprint": "0" * 16},
        "production": False,
        "danger": 3,
        "faults": [{"fault": "kill_replica", "hits": "b", "victims": told["faults"][0]["victims"]}],
        "length_s": asked.plan.length_s,
        "length_s_max": length_s_max,
        "usd_max": pytest.approx(length_s_max / 100),
        "game_day": "GD-7",
        "confirmed": "local",
    }
    assert told["faults"][0]["victims"][0]["name"] == "b"
    names = {line.partition("=")[0] for line in (asked.folder / "env.txt").read_text().splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_"}
    ((text, data),) = asked.events
    assert text == "preflight on-call: goes ahead: carry on"
    assert (data["hook"], data["exit_code"], data["veto"]) == ("on-call", 0, "")


def test_price_that_nobody_knows_is_not_made_up(asked: Asked) -> None:
    """None and not 0."""
    asked.ask(shell("cat > told.json"))
    assert json.loads((asked.folder / "told.json").read_text())["usd_max"] is None


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (
            shell("echo looking; echo; echo '  nobody is  on call '; exit 3"),
            "vetoed with 3: nobody is on call",
        ),
        (shell("exit 1"), "vetoed with 1: it said nothing"),
        (shell("kill -9 $$"), "vetoed with -9: it said nothing"),
        (shell("echo no >&2; false"), "vetoed with 1: no"),
        (
            shell("printf '\\033[2Jcleared'; exit 1"),
            "vetoed with 1: \N{REPLACEMENT CHARACTER}[2Jcleared",
        ),
        (shell("echo waiting; sleep 60", timeout_s=0.3), "did not end within 0.3 s: waiting"),
        (Preflight(name="on-call", command=["./gone.sh"]), "could not be started: No such file"),
        (Preflight(name="on-call", command=["/"]), "could not be started: Permission denied"),
        (Preflight(name="on-call", command=["a\0b"]), "could not be started: ValueError"),
        (shell("true", environment=["NOT_SET_AT_ALL"]), "wants $NOT_SET_AT_ALL, which is not set"),
    ],
)
def test_everything_but_an_exit_with_zero_in_time_is_a_veto(
    asked: Asked, hook: Preflight, said: str
) -> None:
    """With its last words, the file and its name; the event says the same."""
    text = asked.vetoed(hook)

    assert text.startswith(f"{asked.folder / 'target.yaml'}: preflight 'on-call' {said}")
    ((event, data),) = asked.events
    assert said in event
    assert data["veto"] != ""
    assert asked.platform.acts == []


def test_first_veto_counts_and_the_rest_is_not_asked(asked: Asked) -> None:
    """In the file's order, an event for each that was."""
    asked.vetoed(shell("echo fine"), shell("exit 2"), shell("touch was-asked"))

    assert [data["exit_code"] for _, data in asked.events] == [0, 2]
    assert not (asked.folder / "was-asked").exists()


def test_program_gets_what_the_file_names_and_cannot_say_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own token reaches it, and no event or error, whatever it prints."""
    monkeypatch.setenv("PAGER_TOKEN", "tok-12345")
    text = asked.vetoed(shell('echo "with $PAGER_TOKEN"; exit 1', environment=["PAGER_TOKEN"]))

    assert "vetoed with 1: with ***" in text
    assert "tok-12345" not in str(asked.events)


def test_what_it_started_ends_with_it(asked: Asked, wait_gone: Callable[[int], None]) -> None:
    """A program that hangs is ended with its children."""
    asked.vetoed(shell("sleep 60 & echo $! > child; wait", timeout_s=0.3))

    wait_gone(int((asked.folder / "child").read_text()))


def test_one_that_talks_without_end_is_quoted_in_one_line(asked: Asked) -> None:
    """However much it writes, a line of it is kept."""
    script = "import sys; sys.stdout.write('x' * 3_000_000); sys.exit(4)"
    text = asked.vetoed(Preflight(name="on-call", command=[sys.executable, "-c", script]))

    assert len(text) < 600
    assert "vetoed with 4: xxx" in text


@pytest.fixture
def wait_gone() -> Callable[[int], None]:
    """Return what waits for a process to be gone, within a bound."""

    def wait(pid: int) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.kill(pid, 0)
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (ProcessLookupError, FileNotFoundError):
                return
            if state == "Z":
                return  # nobody has asked for its exit code yet
            time.sleep(0.01)
        raise AssertionError(f"{pid} is still there, state {state}")

    return wait
