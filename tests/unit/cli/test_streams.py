"""Streams that are closed, full or read by nobody change no exit code but a lost answer's."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap

import pytest

from faultload.cli.output import complain, lost, say
from faultload.errors import ExitCode
from faultload.run.progress import LiveStats, Terminal, make_progress

_COMMAND = f"{sys.executable} -m faultload"


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("{} prices list >&-", ExitCode.PASS, ""),
        ("{} prices list --json 2>&1 | head -c 1", ExitCode.PASS, "{"),
        ("{} prices list >/dev/full", ExitCode.MISSING, "No space left on device"),
        ("{} no-such-command 2>/dev/full", ExitCode.USAGE, ""),
    ],
)
def test_exit_code_is_the_commands_own(shell: str, code: ExitCode, said: str) -> None:
    """Whatever becomes of its words; only an answer that its reader did not get is no success."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell.format(_COMMAND)}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_file_that_is_opened_first_is_not_taken_for_a_stream() -> None:
    """With all three closed, what a run writes goes where it belongs, and words go nowhere."""
    code = textwrap.dedent("""
        import os, sys, tempfile
        from faultload.run.streams import hold_streams
        hold_streams()
        with tempfile.TemporaryFile() as file:
            kept = os.dup(file.fileno())
            print("words"); sys.stderr.write("words"); sys.stdout.flush()
            os._exit(3 if file.fileno() < 3 or os.fstat(kept).st_size else 0)
    """)
    command = f'exec {sys.executable} -c "$0" <&- >&- 2>&-'

    assert subprocess.run(["bash", "-c", command, code], check=False).returncode == 0


def test_run_goes_on_when_its_terminal_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The live line and the notes fall silent; so does the summary, and that is nobody's loss."""
    lost.clear()
    ours, theirs = pty.openpty()
    terminals = [os.fdopen(os.dup(theirs), "w", buffering=1) for _ in range(2)]
    os.close(theirs)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminals[0])
        patch.setattr(sys, "stderr", terminals[1])
        progress = make_progress(plain=False)
        assert isinstance(progress, Terminal)
        progress.phase("baseline", 10.0)
        os.close(ours)

        for left_s in (9.0, 8.0, 7.0):
            progress.tick(left_s, LiveStats(1.0, 0.1, 0, 10))
            progress.note("harm is taken back")
        progress.close()
        say("the verdict")
        complain("the reason")

    for terminal in terminals:
        terminal.close()
    assert lost == []
