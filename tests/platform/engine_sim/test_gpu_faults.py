"""Xid errors, memory that others take, and what dcgm-exporter shows of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from inference_platform.engine_sim.core import IDLE
from inference_platform.engine_sim.dcgm import Telemetry
from inference_platform.engine_sim.device import GIB
from inference_platform.engine_sim.flags import parse
from inference_platform.engine_sim.gpu import make_gpu
from inference_platform.engine_sim.gpu_faults import FOR_EVER_S, GpuFaults, xids
from inference_platform.engine_sim.gpu_state import GpuState, read_state

BOUND_S = 10.0
TOKEN = "chaos-token"
PROFILE = ("--sim-gpu", "L4", "--sim-model-profile", "mistral-7b", "--quantization", "awq")
STEPLESS = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"


class FakeEngine:
    """Remembers what happened to it."""

    core_pid = 42

    def __init__(self) -> None:
        self.dead = False
        self.state = "serving"
        self.stats = IDLE
        self.done: list[tuple[object, ...]] = []

    def die(self, reason: str) -> None:
        self.dead, self.state = True, "dead"
        self.done.append(("die", reason))

    def hang(self, seconds: float) -> None:
        self.state = "hung"
        self.done.append(("hang", seconds))

    def slow_down(self, factor: float) -> None:
        self.done.append(("slow", factor))

    def leave_room(self, tokens: float, reason: str) -> None:
        self.done.append(("room", tokens, reason))


def make_faults(path: str | None, *argv: str) -> tuple[GpuFaults, Any]:
    """Return the faults of a GPU with nothing but a fake engine on it."""
    engine: Any = FakeEngine()
    return GpuFaults(engine, make_gpu(parse(argv)), read_state(path), path), engine


# The facts about each Xid: what it does to an engine, and whether the next one can start.
CONSEQUENCES = {
    13: ("die", True), 31: ("die", True), 43: ("die", True), 94: ("die", True),
    48: ("die", False), 64: ("die", False), 95: ("die", False), 140: ("die", False),
    79: ("die", False), 74: ("hang", True), 109: ("hang", True), 119: ("hang", True),
    120: ("hang", True), 62: ("hang", True), 63: (None, True), 92: ("slow", True),
    45: (None, True), 154: (None, True),
}  # fmt: skip


def test_the_table_of_consequences_is_complete() -> None:
    """A number that is added must say what it does."""
    assert set(CONSEQUENCES) == set(xids())


@pytest.mark.parametrize("number", CONSEQUENCES)
def test_an_xid_has_its_consequences(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the engine, to the next engine on that GPU, and in the kernel's log."""
    effect, can_start = CONSEQUENCES[number]
    path = str(tmp_path / "gpu.json")
    faults, engine = make_faults(path)
    assert faults.raise_xid(number) == (effect == "die")
    assert [done[0] for done in engine.done] == ([] if effect is None else [effect])
    if effect == "hang":
        assert engine.done[0][1] == FOR_EVER_S
    state = read_state(path)
    assert (state.xid, state.broken is None) == (number, can_start)
    form = rf"^NVRM: Xid \(PCI:0000:1b:00\): {number}, pid=42, name=VLLM::EngineCor, \S.*\n$"
    assert re.match(form, capsys.readouterr().err)
    faults.reset()
    assert read_state(path) == GpuState()


def test_an_xid_that_is_not_known_is_one_clear_line() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match="expected an Xid of 13, 31, .*found 7"):
        make_faults(None)[0].raise_xid(7)


def test_a_hog_gets_no_more_than_the_engine_left() -> None:
    """Weights and KV pool stay; what is left for activations shrinks with the hog."""
    gpu = make_gpu(parse(PROFILE))
    free = gpu.memory_bytes - gpu.held_bytes
    assert gpu.foreign_bytes(1.0) == GIB
    assert gpu.foreign_bytes(1000.0) == free
    assert gpu.step_tokens(1000.0) == 0
    assert gpu.step_tokens(0.0) > gpu.full_step_tokens  # nobody else there: any step fits
    half = (free - 0.375 * GIB) / GIB
    assert gpu.step_tokens(half) == pytest.approx(gpu.full_step_tokens / 2)


def test_given_back_memory_leaves_room_for_every_step() -> None:
    """0 undoes it."""
    faults, engine = make_faults(None, *PROFILE)
    faults.hold_memory(1000.0)
    assert engine.done[-1][1] == 0
    assert engine.done[-1][2].startswith(STEPLESS)
    faults.hold_memory(0.0)
    assert engine.done[-1][1] == float("inf")
    assert faults.state.foreign_gib == 0


def look(telemetry: Telemetry) -> dict[str, list[float]]:
    """Return every sample of the page: one value a GPU."""
    families = text_string_to_metric_families(telemetry.page())
    return {sample.name: [s.value for s in family.samples if s.name == sample.name]
            for family in families for sample in family.samples}  # fmt: skip


def make_telemetry(*argv: str) -> tuple[Telemetry, Any, GpuState]:
    """Return the telemetry of a fake engine that has not done anything."""
    engine: Any = FakeEngine()
    flags, state = parse(argv), GpuState()
    return Telemetry(flags, make_gpu(flags), engine, state), engine, state


def test_every_default_field_is_there_for_every_gpu() -> None:
    """25 fields, one series a tensor-parallel GPU, with dcgm-exporter's labels."""
    flags = (*PROFILE, "--tensor-parallel-size", "2", "--sim-pod", "serving/engine-0")
    telemetry, _, _ = make_telemetry(*flags)
    page = telemetry.page()
    names = re.findall(r"^# TYPE (\S+) (?:gauge|counter)$", page, re.MULTILINE)
    assert len(names) == 25
    for name in names:
        assert len(re.findall(rf"^{name}{{", page, re.MULTILINE)) == 2
    assert re.search(
        r'^DCGM_FI_DEV_GPU_UTIL\{gpu="1",UUID="GPU-[0-9a-f-]{36}",pci_bus_id="00000000:1C:00.0",'
        r'device="nvidia1",modelName="NVIDIA L4",hostname="[^"]+",DCGM_FI_DRIVER_VERSION="[\d.]+",'
        r'namespace="serving",pod="engine-0",container="vllm"\} 0$',
        page,
        re.MULTILINE,
    )


def test_values_follow_what_the_engine_does() -> None:
    """Busy half of a second: utilisation, power, energy and, slowly, temperature rise."""
    telemetry, engine, _ = make_telemetry(*PROFILE)
    idle = look(telemetry)
    began = telemetry._at
    engine.stats = IDLE._replace(running=8, work=(30, 0.5, 240, 30_000, 30_000))
    telemetry.look(began + 1.0)
    busy = look(telemetry)
    assert busy["DCGM_FI_DEV_GPU_UTIL"] == [50]
    assert busy["DCGM_FI_PROF_GR_ENGINE_ACTIVE"] == [0.5]
    # 30 reads of 3.89 GB and 30,000 contexts of 128 KiB, of 300 GB in a second.
    assert busy["DCGM_FI_PROF_DRAM_ACTIVE"] == [pytest.approx((116.7 + 3.93) / 300, rel=0.01)]
    assert 0 < busy["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"][0] < 0.1
    assert idle["DCGM_FI_DEV_POWER_USAGE"] == [13]
    assert 13 < busy["DCGM_FI_DEV_POWER_USAGE"][0] < 72
    energy_mj = busy["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total"]
    assert energy_mj == [pytest.approx(1000 * busy["DCGM_FI_DEV_POWER_USAGE"][0], rel=0.01)]
    warm_c = telemetry.temperature_c
    telemetry.look(began + 2.0)
    assert look(telemetry)["DCGM_FI_DEV_GPU_UTIL"] == [0]
    assert telemetry.temperature_c < warm_c


def test_memory_is_the_accounts() -> None:
    """The engine's claim while it lives, others' share always; used and free are the whole."""
    telemetry, engine, state = make_telemetry(*PROFILE)
    used = look(telemetry)["DCGM_FI_DEV_FB_USED"][0]
    assert used == pytest.approx((0.92 * 22.05 - 0.75) * 1024, abs=2)
    state.foreign_gib = 1.0
    page = look(telemetry)
    assert page["DCGM_FI_DEV_FB_USED"][0] == pytest.approx(used + 1024, abs=2)
    whole = page["DCGM_FI_DEV_FB_USED"][0] + page["DCGM_FI_DEV_FB_FREE"][0]
    assert whole == pytest.approx(22.05 * 1024, abs=2)
    engine.die("x")
    assert look(telemetry)["DCGM_FI_DEV_FB_USED"] == [1024]


def test_a_hung_gpu_is_busy_without_work_and_a_lost_one_vanishes() -> None:
    """The grey failure has a signature; a GPU off the bus has no series, its neighbour has."""
    telemetry, engine, state = make_telemetry(*PROFILE, "--tensor-parallel-size", "2")
    engine.state = "hung"
    telemetry.look(telemetry._at + 1.0)
    page = look(telemetry)
    assert page["DCGM_FI_DEV_GPU_UTIL"] == [100, 100]
    assert page["DCGM_FI_PROF_DRAM_ACTIVE"] == [0, 0]
    state.xid, state.gone = 79, True
    page = look(telemetry)
    assert page["DCGM_FI_DEV_XID_ERRORS"] == [0]


def test_an_engine_on_a_broken_gpu_dies_and_does_not_start_again(
    spawn: Callable[..., Any], tmp_path: Path
) -> None:
    """Xid 48 end to end: dead, last Xid in DCGM, the next start fails until the file is gone."""
    token, state = tmp_path / "token", tmp_path / "gpu.json"
    token.write_text(TOKEN)
    argv = ("--sim-gpu-state", str(state), "--sim-chaos-port", "0", "--sim-dcgm-port", "0")
    argv += ("--sim-chaos-token-file", str(token))
    engine = spawn(*argv)
    url = engine.url()
    ports = dict(re.findall(r"(Chaos|DCGM) port on (http://\S+)", engine.log()))
    said = requests.post(
        ports["Chaos"] + "/xid",
        json={"xid": 48},
        headers={"authorization": f"Bearer {TOKEN}"},
        timeout=BOUND_S,
    ).json()
    assert (said["state"], said["xid"]) == ("dead", 48)
    assert requests.get(url + "/health", timeout=BOUND_S).status_code == 503
    page = requests.get(ports["DCGM"] + "/metrics", timeout=BOUND_S).text
    assert re.search(r"^DCGM_FI_DEV_XID_ERRORS\{[^}]*\} 48$", page, re.MULTILINE)
    engine.process.kill()
    again = spawn(*argv)
    assert again.process.wait(BOUND_S) == 1
    assert "CUDA error: uncorrectable ECC error encountered" in again.log()
    state.unlink()
    spawn(*argv).url()


def test_a_step_that_does_not_fit_beside_a_hog_kills_the_engine(
    spawn: Callable[..., Any], tmp_path: Path
) -> None:
    """An idle engine lives on; its next step is out of memory."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    engine = spawn("--sim-chaos-port", "0", "--sim-chaos-token-file", str(token))
    url = engine.url()
    found = re.search(r"Chaos port on (http://\S+)", engine.log())
    assert found is not None
    headers = {"authorization": f"Bearer {TOKEN}"}
    said = requests.post(
        found[1] + "/memory", json={"gib": 500}, headers=headers, timeout=BOUND_S
    ).json()
    assert said["state"] == "serving"
    assert 1 < said["foreign_gib"] < 4
    body = {"messages": [{"role": "user", "content": "hi"}]}
    answer = requests.post(url + "/v1/chat/completions", json=body, timeout=BOUND_S)
    assert answer.status_code == 500
    assert engine.process.wait(BOUND_S) == 0
    assert STEPLESS in engine.log()
