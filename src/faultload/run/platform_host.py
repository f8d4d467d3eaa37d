"""The host process of a platform left up: owns platform and load, and ends both when told to.

python -m faultload.run.platform_host ROOT TARGET_FILE SCENARIO [KEY=VALUE ...]
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from faultload.errors import FaultloadError, Interrupted, UsageError
from faultload.faults import SessionFile
from faultload.load import LoadGenerator, check_workers, make_trace, write_trace
from faultload.record.directory import write_json
from faultload.run.platform import LOAD_READY_TIMEOUT_S, PlatformUp, platform_folder
from faultload.run.signals import SignalGuard
from faultload.run.state import STANDING, RunState
from faultload.secrecy import guard_process, private_files
from faultload.spec import Catalogue, LocalTargetSpec, load_target
from faultload.targets import LocalTarget, TargetLock

_LOAD_S = 3600.0
"""How long the load lasts beside a platform left up; the platform itself stays."""


def host(catalogue: Catalogue, target_path: Path, scenario: str, overrides: list[str]) -> None:
    """Own a platform, and a load if asked for, until a signal comes."""
    spec = load_target(target_path)
    if not isinstance(spec, LocalTargetSpec):
        raise UsageError(f"{target_path}: kind: expected local, found {spec.kind}")
    folder, signals = platform_folder(spec.name), SignalGuard()
    with signals.installed(), TargetLock(folder, "platform host"), ExitStack() as owned:
        try:
            with signals.listening():
                platform = LocalTarget.start(spec, target_path, overrides, logs=folder)
                owned.callback((folder / "up.json").unlink, missing_ok=True)
                owned.callback(platform.close)
                about = _set_up(catalogue, scenario, target_path, platform, folder, owned)
                write_json(folder / "up.json", asdict(about))
                while True:
                    signal.pause()
        except Interrupted:
            return


def _set_up(  # noqa: PLR0913  # what a host owns
    catalogue: Catalogue,
    scenario: str,
    target_path: Path,
    platform: LocalTarget,
    folder: Path,
    owned: ExitStack,
) -> PlatformUp:
    """Write the session that stock `chaos run` finds, and start the load if one is asked for."""
    # Faults of stock `chaos run` are journalled where `faultload recover` looks.
    state = RunState.create(platform.identity.fingerprint, STANDING, None)
    owned.callback(state.remove)
    spec = load_target(target_path)
    shutil.copyfile(target_path, folder / "target.yaml")
    session = SessionFile(
        target_file=str(folder / "target.yaml"),
        attachment=dict(platform.attachment()),
        injections=str(state.journal.path),
    )
    if scenario:
        load, session = _start_load(catalogue, scenario, target_path, platform, folder, session)
        owned.callback(load.stop, 0.0)
    session.write(state.session_path)
    session.write(folder / "session.json")
    return PlatformUp(
        target=spec.name,
        pid=os.getpid(),
        inference_url=platform.endpoints.inference_url,
        prometheus_url=platform.endpoints.prometheus_url,
        load=scenario,
        state=platform.attachment()["state"],
    )


def _start_load(  # noqa: PLR0913  # what a load beside a platform is made of
    catalogue: Catalogue,
    scenario: str,
    target_path: Path,
    platform: LocalTarget,
    folder: Path,
    session: SessionFile,
) -> tuple[LoadGenerator, SessionFile]:
    path, spec = catalogue.scenario(scenario)
    here = load_target(target_path).load.model_copy(update={"workers": 1, "listen": None})
    ca = check_workers(here, target_path)
    work = folder / "load"
    work.mkdir(exist_ok=True)
    for old in work.iterdir():
        old.unlink()
    write_trace(make_trace(spec, _LOAD_S, spec.seed, path.parent), work / "trace.parquet")
    load = LoadGenerator(
        work / "trace.parquet",
        spec,
        platform.endpoints.inference_url,
        work,
        folder,
        api_key_env=here.api_key_env,
        ca=ca,
    )
    load.start()
    load.wait_ready(LOAD_READY_TIMEOUT_S)
    t0_unix_s = time.time()
    load.go(t0_unix_s)
    slos = folder / "slos.yaml"
    files = catalogue.slo_paths()
    slos.write_text("\n---\n".join(f.read_text(encoding="utf-8") for f in files), encoding="utf-8")
    return load, replace(session, rows=str(work), slos=str(slos), t0_unix_s=t0_unix_s)


def main() -> int:
    """Host until told to end; what goes wrong is the log's last line."""
    _, root, target_file, scenario, *overrides = sys.argv
    try:
        with private_files():
            host(Catalogue(Path(root)), Path(target_file), scenario, overrides)
    except FaultloadError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    guard_process()
    sys.exit(main())
