"""Take a picture of a report with a headless Chromium.

    python scripts/screenshot.py reports/<run>/report.html docs/images/report.png

Exits 64 for a file that is not there, 69 without a browser, 70 when the browser fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Without these a picture may be taken before the whole page is drawn.
    "--run-all-compositor-stages-before-draw",
    "--virtual-time-budget=2000",
)
TIMEOUT_S = 60


def main() -> int:
    """Parse the command line, take the picture, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="the HTML file")
    parser.add_argument("image", type=Path, help="the PNG file to write")
    parser.add_argument("--width", type=int, default=1200, help="of the window, pixels")
    parser.add_argument("--height", type=int, default=900, help="of the window, pixels")
    parser.add_argument("--dark", action="store_true", help="as a reader with a dark desktop sees")
    options = parser.parse_args()
    if not options.page.is_file():
        return _end(64, f"{options.page}: no such file; give the path of a report.html")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return _end(69, f"no browser on PATH: expected one of {', '.join(BROWSERS)}")
    options.image.parent.mkdir(parents=True, exist_ok=True)
    return _take(browser, options)


def _take(browser: str, options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="faultload-screenshot-") as profile:
        image = Path(profile) / "image.png"
        command = [
            browser,
            *FLAGS,
            *(
                ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
                if options.dark
                else []
            ),
            f"--user-data-dir={profile}/profile",
            f"--window-size={options.width},{options.height}",
            f"--screenshot={image}",
            options.page.resolve().as_uri(),
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return _end(70, f"{browser}: no picture after {TIMEOUT_S} s")
        if done.returncode or not image.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
            return _end(70, f"{browser}: exit {done.returncode}, no picture; it said: {said[-1]}")
        shutil.copyfile(image, options.image)
    return 0


def _end(code: int, message: str) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
