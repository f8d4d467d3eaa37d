#!/usr/bin/env python3
"""Ask every query of dashboards, rules and triggers on the local platform, under load.

    python scripts/ask_dashboards.py                          # say what is not answered; exit 1
    python scripts/ask_dashboards.py --table FILE --pictures FOLDER

Starts a local platform with autoscaling and a load, and beside it a Prometheus that scrapes the
same targets and evaluates the shipped rules every five seconds instead of every minute. Exits 69
where one of them cannot be had.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from panels import Drawn, page, panels_of, red_line

from faultload.errors import FaultloadError, MissingError
from faultload.measure import PrometheusReader
from faultload.measure.metric_answers import Answer, answers, silent, table
from faultload.measure.queries import read_queries
from faultload.run.platform import PlatformUp, down, up
from faultload.spec import Catalogue
from faultload.spec.metrics import load_metrics

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "platform/observability"
# Rates look back a minute; what alerts look back for longer works on what there is.
LOADED_S = 70.0
ANSWERED_WITHIN_S = 60.0
READY_WITHIN_S = 20.0
STEP_S = 2.0
PICTURED = {
    "vllm-metrics": ["Requests running", "Tokens", "Time to first token", "Time per output token"],
    "gpu-utilization": ["Memory bandwidth in use", "Free memory", "Clock", "Power"],
    "cost-tracking": ["US dollars an hour", "US dollars of GPU time for a thousand tokens, now"],
    "autoscaling": ["Replicas wanted and serving", "Requests waiting, a replica"],
    "router": ["Requests by outcome", "Time to first token", "Requests open", "Session affinity"],
    "slo-error-budget": ["Burn rate over an hour", "Error budget left, 30 days"],
}
"""Panels that say most, by dashboard."""


def main() -> int:
    """Start everything, ask, and write down what came."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, help="write a Markdown page of what was answered")
    parser.add_argument("--pictures", type=Path, help="write a PNG a dashboard into this folder")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="faultload-ask-") as scratch:
            os.environ["XDG_STATE_HOME"] = scratch  # not the platform that somebody left up
            with _platform() as about, _prometheus(about, Path(scratch)) as url:
                return _ask(url, options.table, options.pictures)
    except FaultloadError as error:
        print(f"ask_dashboards: {error}", file=sys.stderr)
        return int(error.exit_code)


def _ask(url: str, page_path: Path | None, pictures: Path | None) -> int:
    reader = PrometheusReader(url)
    time.sleep(LOADED_S)
    found = _answered(reader)
    if page_path is not None:
        page_path.write_text(_document(found), encoding="utf-8")
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for board in sorted((HOME / "dashboards").glob("*.json")):
            _picture(reader, board, pictures / f"dashboard-{board.stem}.png")
    amiss = silent(found)
    for one in amiss:
        print(one)
    print(f"{len(found)} queries asked, {len(amiss)} of them not answered")
    return 1 if amiss else 0


def _answered(reader: PrometheusReader) -> list[Answer]:
    queries, metrics = read_queries([HOME]), load_metrics(HOME / "metrics.yaml")
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    while silent(found := answers(queries, metrics, reader)) and time.monotonic() < deadline:
        time.sleep(5)
    return found


@contextmanager
def _platform() -> Iterator[PlatformUp]:
    about = up(Catalogue(ROOT), "local", "chat-steady", ["autoscaling=true"])
    try:
        yield about
    finally:
        down("local")


@contextmanager
def _prometheus(about: PlatformUp, scratch: Path) -> Iterator[str]:
    folder = Path(about.state) / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    for job in config["scrape_configs"]:
        for files in job.get("file_sd_configs", []):
            files["files"] = [str(folder / name) for name in files["files"]]
        if "authorization" in job:
            token = folder / job["authorization"]["credentials_file"]
            job["authorization"]["credentials_file"] = str(token.resolve())
    rules = scratch / "rules"
    rules.mkdir()
    for path in (HOME / "rules").glob("*.yaml"):
        text = re.sub(r"(?m)^ +interval: .*\n", "", path.read_text(encoding="utf-8"))
        (rules / path.name).write_text(text, encoding="utf-8")
    config["rule_files"] = [f"{rules}/*.yaml"]
    config["global"]["evaluation_interval"] = "5s"
    file = scratch / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    found = shutil.which("prometheus") or shutil.which("prometheus", path=str(ROOT / ".tools/bin"))
    if found is None:
        raise MissingError("prometheus is not on PATH nor in .tools/bin; run: make setup")
    words = [f"--config.file={file}", f"--storage.tsdb.path={scratch / 'data'}"]
    with (scratch / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [found, *words, f"--web.listen-address={address}"], stdout=log, stderr=log
        )
    try:
        _wait_until_ready(server, address, scratch / "prometheus.log")
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait_until_ready(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not PrometheusReader(f"http://{address}", retries=0).ready():
        if server.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
            raise MissingError(f"Prometheus is not ready; its last words: {last}")
        time.sleep(0.2)


def _document(found: list[Answer]) -> str:
    return f"{_HEAD}\n{table(found)}\n"


_HEAD = """# What every query returned

Made by `make dashboards-asked`: a local platform with four engines, autoscaling and the load of
`scenarios/chat-steady.yaml`, and a Prometheus that has scraped it for about two minutes. No data is
never fine: where a query returned nothing, `platform/observability/metrics.yaml` says why.
[Observability](observability.md) has the rest.
"""


def _picture(reader: PrometheusReader, board: Path, image: Path) -> None:
    by_name = {(q.name, q.text): q.promql for q in read_queries([board])}
    now = time.time()
    drawn = []
    shown = PICTURED[board.stem]
    for panel in (one for one in panels_of(board) if one["title"] in shown):
        lines: dict[str, list[tuple[float, float]]] = {}
        for target in panel["targets"]:
            promql = by_name[panel["title"], target["expr"]]
            for labels, at, value in reader.range(promql, now - LOADED_S, now, STEP_S):
                legend = re.sub(
                    r"\{\{(\w+)\}\}",
                    lambda m, labels=labels: labels.get(m[1], ""),
                    target["legendFormat"],
                )
                line = lines.setdefault(legend, [])
                if line and at - now - line[-1][0] > 1.5 * STEP_S:
                    line.append((at - now - STEP_S, math.nan))  # a gap is to be seen
                line.append((at - now, value))
        unit = panel["fieldConfig"]["defaults"]["unit"]
        drawn.append(Drawn(panel["title"], unit, red_line(panel), lines))
    with tempfile.TemporaryDirectory(prefix="faultload-picture-") as folder:
        file = Path(folder) / "page.html"
        file.write_text(
            page(json.loads(board.read_text(encoding="utf-8"))["title"], drawn), encoding="utf-8"
        )
        script = [sys.executable, str(ROOT / "scripts/screenshot.py")]
        height = "540" if len(drawn) > 2 else "290"
        subprocess.run([*script, str(file), str(image), "--height", height], check=True)


if __name__ == "__main__":
    sys.exit(main())
