"""The screenshot script, without a browser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "screenshot.py"


def take(page: Path, image: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with `path` as the only folder of PATH."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(page), str(image)],
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def fake_browser(folder: Path, body: str) -> None:
    """Put a program named chromium into the folder."""
    program = folder / "chromium"
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    program.chmod(0o755)


def test_no_browser_is_one_line_and_69(tmp_path: Path) -> None:
    """Without a browser the script says which names it looked for."""
    page = tmp_path / "report.html"
    page.write_text("<p>")
    done = take(page, tmp_path / "a.png", tmp_path)

    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "chromium" in done.stderr


def test_no_page_is_one_line_and_64(tmp_path: Path) -> None:
    """A page that is not there is the user's to mend."""
    done = take(tmp_path / "none.html", tmp_path / "a.png", tmp_path)

    assert done.returncode == 64
    assert done.stderr.count("\n") == 1


def test_the_picture_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    """The browser gets a file:// address and a fresh profile; folders are made."""
    page, image = tmp_path / "report.html", tmp_path / "docs" / "images" / "a.png"
    page.write_text("<p>")
    fake_browser(
        tmp_path,
        "out = next(a for a in sys.argv if a.startswith('--screenshot=')).split('=', 1)[1]\n"
        "assert sys.argv[-1].startswith('file://') and '--no-sandbox' in sys.argv\n"
        "assert any(a.startswith('--user-data-dir=') for a in sys.argv)\n"
        "open(out, 'w').write('png')",
    )
    done = take(page, image, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert image.read_text() == "png"


def test_a_browser_that_fails_is_not_a_success(tmp_path: Path) -> None:
    """No picture means 70 and the browser's last words, and no file."""
    page, image = tmp_path / "report.html", tmp_path / "a.png"
    page.write_text("<p>")
    fake_browser(tmp_path, "sys.exit('no display')")
    done = take(page, image, tmp_path)

    assert done.returncode == 70
    assert "no display" in done.stderr
    assert not image.exists()
