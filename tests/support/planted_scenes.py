"""Kinds of places where a secret gets in, and everything that writes, played with them."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from loads import made_trace, workload
from planted import ProcessList

from faultload.cli import invoke
from faultload.errors import FaultloadError
from faultload.load import LoadGenerator
from faultload.record import InjectionEntry, InjectionStep, Outcome, RunDirectory
from faultload.report.series import Entry, Summary, write_summary
from faultload.run.chaos import ChaosChild
from faultload.run.events import EventLog, RunClock
from faultload.run.judging import judge_and_report
from faultload.run.plan import prepare
from faultload.run.sealing import first_manifest, save_inputs, seal_run
from faultload.run.state import RunState
from faultload.spec import Catalogue, LocalTargetSpec, load_target
from faultload.spec.target import PrometheusSignIn
from faultload.targets import LocalTarget
from faultload.targets.base import Endpoints
from faultload.targets.kubernetes import evidence
from faultload.targets.kubernetes.api import Api, ApiError, Patience
from faultload.targets.kubernetes.resources import NAMESPACES, Ref
from faultload.targets.kubernetes.signin import sign_in

ROOT = Path(__file__).parents[2]
_BOUND_S = 30.0


def value_of(number: int) -> str:
    """Return a secret that occurs nowhere else."""
    return f"c4nary{number:02d}-Zq9xT"


# place → artefact that it comes to, and what stands there instead; a * in the path is any name.
_HIDDEN = "***"
PLACES = {
    "password in the inference_url of a target": ("said/target-0.txt", "load.api_key_env"),
    "token in the prometheus_url of a target": ("said/target-1.txt", "prometheus_sign_in"),
    "key instead of the name of its variable": ("said/target-2.txt", "the NAME of the environment"),
    "unknown key of a target": ("said/target-3.txt", "is written out here"),
    "value of the wrong type in a target": ("said/target-4.txt", "is written out here"),
    "configuration of an experiment": ("said/experiment-0.txt", "is written out here"),
    "secrets of an experiment": ("said/experiment-1.txt", "type: env"),
    "header of a probe": ("said/experiment-2.txt", "is written out here"),
    "value of an extension": ("said/experiment-3.txt", "is written out here"),
    "argument of a command": ("said/argument.txt", "http://***@"),
    "value of --set": ("said/set.txt", "expected no credential here"),
    "exception with a URL, its traceback": ("said/defect.txt", "?api_key=***"),
    "variable like OPENAI_API_KEY, in an exception": ("said/defect.txt", "with *** in it"),
    "proxy with a password": ("said/defect.txt", "via http://***@"),
    "secret of an experiment, echoed by an endpoint": ("run/record/journal.json", "who is Bea"),
    "query of a probe that cannot connect": ("run/record/journal.json", "?q=***"),
    "variable printed by a program": ("run/record/journal.json", "printed ***"),
    "variable returned by a probe": ("run/record/logs/chaos.jsonl", '"output": "***"'),
    "exception inside of Chaos Toolkit": ("run/record/logs/chaos.log", "No module named '***'"),
    "API key, echoed in a body": ("load/requests.parquet", '"error": "403 Bearer ***'),
    "control token in a log": ("run/record/logs/platform/router.log", "token ***"),
    "variable in the log of a container": ("run/record/logs/platform/engine.log", "HF_TOKEN=***"),
    "flag in the log of a container": ("run/record/logs/platform/engine.log", "--api-key ***"),
    "private key in a log": ("run/record/logs/platform/engine.log", "PRIVATE KEY-----***"),
    "JSON web token in a log": ("run/record/logs/platform/engine.log", "cookie jwt ***"),
    "Secret object in a log": ("run/record/logs/platform/engine.log", '"password": "***"'),
    "environment in the log of a pod": ("pods/engine-0_vllm.log", "WANDB_API_KEY=***"),
    "text for an alias in YAML": ("said/alias.txt", "quote a text that begins with *"),
    "event of the platform": ("run/record/events.jsonl", "http://***@registry"),
    "configuration of the platform": ("run/record/manifest.json", '"api_key": "***"'),
    "label of a series": ("run/record/series.parquet", "https://***@blackbox"),
    "warning of Prometheus, echoing its token": ("run/record/events.jsonl", "signed in as Bea"),
    "problem of a fault": ("run/record/injections.jsonl", "access_token=***"),
    "evidence of a fault": ("run/record/injections.jsonl", "Authorization: Bearer ***"),
    "undo of a fault": ("run/record/injections.jsonl", '"client_secret": "***"'),
    "reason for which a run ended": ("run/report.html", "reached http://***@"),
    "command that repeats a run": ("run/record/manifest.json", "--set store=http://***@"),
    "reason in a summary of several": ("run/summary-*.md", "password=***"),
    "token of a kubeconfig": ("said/cluster-token.txt", "who is Bearer ***?"),
    "password of a kubeconfig": ("said/cluster-password.txt", "who is Basic ***?"),
    "token of the plugin of a kubeconfig": ("said/cluster-plugin.txt", "who is Bearer ***?"),
    "kubeconfig that is none": ("said/cluster-broken.txt", "cannot be read"),
}
VALUES = {place: value_of(number) for number, place in enumerate(PLACES)}


@dataclass
class Scene:
    """Where things are planted, and where their traces would be.

    Attributes:
        folder: given to what is played: its files are not searched, they hold what was planted.
        left: what is left behind by it.
        url: of a server that tells what it is told.
        patch: undone at the end.
    """

    folder: Path
    left: Path
    url: str
    patch: pytest.MonkeyPatch
    processes: ProcessList = field(default_factory=ProcessList)

    def said(self, name: str, act: Callable[[], object]) -> None:
        """Keep what an act says on both streams, or the error that it raises."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                act()
            except FaultloadError as error:
                out.write(str(error))
        path = self.left / "said" / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(out.getvalue(), encoding="utf-8")

    def file(self, name: str, document: Any) -> Path:
        """Write a file that holds what is planted."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = document if isinstance(document, str) else yaml.safe_dump(document)
        path.write_text(text, encoding="utf-8")
        return path


def _shipped(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return document


def files_are_refused(scene: Scene) -> None:
    """Targets and experiments with something written out, given to the command."""
    v = VALUES
    changes: list[dict[str, Any]] = [
        {"inference_url": f"https://eva:{v['password in the inference_url of a target']}@llm"},
        {"prometheus_url": f"https://prom/?token={v['token in the prometheus_url of a target']}"},
        {"prometheus_sign_in": {"bearer_token_env": v["key instead of the name of its variable"]}},
        {"prometheus_password": v["unknown key of a target"]},
        {"prometheus_url": {"password": v["value of the wrong type in a target"]}},
    ]
    for number, change in enumerate(changes):
        document = _shipped("targets/staging.example.yaml")
        document["kubernetes"] |= change
        path = scene.file(f"target-{number}.yaml", document)
        words = ["run", "engine/replica-loss", "--target", str(path), "--root", str(ROOT)]
        scene.said(path.stem, partial(invoke, words))
    header = {"type": "http", "url": "http://h", "headers": {"X-Api-Key": v["header of a probe"]}}
    probe = {"type": "probe", "name": "p", "tolerance": True, "provider": header}
    extension = {"name": "theirs", "webhook": {"secret": v["value of an extension"]}}
    edits: list[Callable[[dict[str, Any]], object]] = [
        lambda d: d["configuration"].update(password=v["configuration of an experiment"]),
        lambda d: d.update(secrets={"api": {"pin": v["secrets of an experiment"]}}),
        lambda d: d["steady-state-hypothesis"]["probes"].append(probe),
        lambda d: d["extensions"].append(extension),
    ]
    for number, edit in enumerate(edits):
        document = _shipped("experiments/engine/replica-loss.yaml")
        edit(document)
        path = scene.file(f"experiment-{number}.yaml", document)
        words = ["run", str(path), "--target", "local", "--root", str(ROOT)]
        scene.said(path.stem, partial(invoke, words))
    target = f"http://eva:{v['argument of a command']}@host"
    alias = scene.file("alias.yaml", f"name: t\nload: {{x: *{v['text for an alias in YAML']}}}\n")
    scene.said("alias", partial(load_target, alias))
    override = f"router.url=http://eva:{v['value of --set']}@host"
    words = ["run", "engine/replica-loss", "--root", str(ROOT), "--set", override]
    scene.said("set", partial(invoke, words))
    scene.said("argument", lambda: invoke(["run", "--all", "--list", "--target", target]))


def a_defect_is_told(scene: Scene) -> None:
    """A traceback is asked for, of an exception such as HTTP clients raise."""
    url = f"/v1/models?api_key={VALUES['exception with a URL, its traceback']}"
    key = VALUES["variable like OPENAI_API_KEY, in an exception"]
    proxy = f"http://eva:{VALUES['proxy with a password']}@proxy:3128"

    def fail(*_: object) -> None:
        raise RuntimeError(f"Max retries exceeded with url: {url} with {key} in it via {proxy}")

    scene.patch.setenv("FAULTLOAD_TRACEBACK", "1")
    scene.patch.setattr("faultload.run.doctor.examine", fail)
    scene.said("defect", lambda: invoke(["doctor"]))


def chaos_toolkit_plays(scene: Scene, directory: RunDirectory) -> ChaosChild:
    """Probes of the child process: answers, failures and programs that tell."""

    def probe(name: str, **provider: Any) -> dict[str, Any]:
        return {"type": "probe", "name": name, "provider": {**provider, "secrets": ["api"]}}

    def variable(place: str) -> dict[str, str]:
        name = f"PLANTED_{list(PLACES).index(place)}"
        scene.patch.setenv(name, VALUES[place])
        return {"type": "env", "key": name}

    scene.patch.setenv("PRINTED_TOKEN", VALUES["variable printed by a program"])
    scene.patch.setenv("RETURNED_SECRET", VALUES["variable returned by a probe"])
    api = {
        "pin": variable("secret of an experiment, echoed by an endpoint"),
        "q": variable("query of a probe that cannot connect"),
        "module": variable("exception inside of Chaos Toolkit"),
    }
    headers = {"Authorization": "Bearer ${pin}"}
    shell = "-c 'echo printed $PRINTED_TOKEN'"
    method = [
        probe("echo", type="http", url=scene.url, headers=headers),
        probe("dead", type="http", url="http://127.0.0.1:1/?q=${q}"),
        probe("print", type="process", path="sh", arguments=shell),
        probe("get", type="python", module="os", func="getenv")
        | {"provider": _python("os", "getenv", key="RETURNED_SECRET")},
        probe("raise") | {"provider": _python("importlib", "import_module", name="${module}")},
    ]
    method[-1]["provider"]["secrets"] = ["api"]
    document = {"title": "t", "description": "d", "secrets": {"api": api}, "method": method}
    session = scene.file("session.json", "{}")
    path = scene.file("played.yaml", document)
    child = ChaosChild(path, directory.journal, session, directory.logs)
    child.release()
    return child


def _python(module: str, func: str, **arguments: str) -> dict[str, Any]:
    return {"type": "python", "module": module, "func": func, "arguments": arguments}


def load_is_made(scene: Scene) -> LoadGenerator:
    """A load whose endpoint tells the key that it got."""
    scene.patch.setenv("PLANTED_KEY", VALUES["API key, echoed in a body"])
    trace = made_trace(scene.folder / "trace.parquet", 0.3)
    out = scene.left / "load"
    load = LoadGenerator(trace, workload(), scene.url, out, out, api_key_env="PLANTED_KEY")
    load.start()
    return load


class Local(LocalTarget):
    """A local platform whose Prometheus wants to be signed in to."""

    @property
    def endpoints(self) -> Endpoints:
        """The same, with a way to sign in."""
        at = super().endpoints
        sign_in_by = PrometheusSignIn(bearer_token_env="PLANTED_PROM")
        return Endpoints(at.inference_url, at.prometheus_url, prometheus_sign_in=sign_in_by)


def platform_of(scene: Scene) -> Local:
    """A platform whose log files and configuration hold what they should not."""
    v = VALUES
    scene.patch.setenv("PLANTED_PROM", v["warning of Prometheus, echoing its token"])
    token = v["control token in a log"]
    about = {
        "platform_id": "planted",
        "token_file": str(scene.file("platform/token", token)),
        "control_url": scene.url,
        "router_url": scene.url,
        "prometheus_url": scene.url,
        "pid": os.getpid(),
        "config": {"engine": {"api_key": v["configuration of the platform"]}},
    }
    scene.file("platform/platform.json", json.dumps(about))
    claims = f'{{"sub": "{v["JSON web token in a log"]}"}}'
    claims = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
    scene.file("platform/logs/router.log", f"401 for token {token}\n")
    scene.file(
        "platform/logs/engine.log",
        f"HF_TOKEN={v['variable in the log of a container']} VLLM_PORT=1\n"
        f"serve m --api-key {v['flag in the log of a container']} --port 1\n"
        f"-----BEGIN PRIVATE KEY-----\n{v['private key in a log']}\n-----END PRIVATE KEY-----\n"
        f"cookie jwt eyJhbGciOiJIUzI1NiJ9.{claims}.c2lnbmF0dXJl\n"
        f'{{"stringData": {{"password": "{v["Secret object in a log"]}"}}}}\n',
    )
    spec = load_target(ROOT / "targets" / "local.yaml")
    assert isinstance(spec, LocalTargetSpec)
    return Local(spec, scene.folder / "platform")


def answers() -> dict[str, tuple[int, Any]]:
    """What the platform and its Prometheus answer."""
    event = {"time_unix": time.time(), "reason": "Failed", "object": "pod/engine-0"}
    event["message"] = f"pull from http://eva:{VALUES['event of the platform']}@registry failed"
    url = f"https://eva:{VALUES['label of a series']}@blackbox"
    series = {"metric": {"instance": url}, "value": [time.time(), "1"]}
    result = {"resultType": "vector", "result": [series]}
    return {
        "/v1/state": (200, {"nodes": [], "replicas": []}),
        "/v1/events": (200, [event]),
        "/api/v1/query": (200, {"status": "success", "data": result}),
        "/api/v1/query_range": (200, {"status": "success", "data": result}),
    }


def run_is_recorded(scene: Scene, directory: RunDirectory, platform: Local) -> None:
    """What the supervisor writes of a run, in its record and its state; then every report."""
    v, fingerprint = VALUES, platform.identity.fingerprint
    plan = prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=scene.left)
    save_inputs(plan, directory)
    state = RunState.create(fingerprint, directory.run_id, directory.path)
    undo = {"client_secret": v["undo of a fault"]}
    evidence = {"text": f"sent Authorization: Bearer {v['evidence of a fault']}", "data": {}}
    problem = f"verify: 503 at /?access_token={v['problem of a fault']}"
    entries: list[tuple[InjectionStep, dict[str, Any]]] = [
        (InjectionStep.PLANNED, {"plan": {"victims": [], "undo": undo}}),
        (InjectionStep.INJECTING, {}),
        (InjectionStep.VERIFIED, {"evidence": evidence}),
        (InjectionStep.FAILED, {"problem": problem}),
    ]
    for step, more in entries:
        state.journal.append(InjectionEntry("k-1", step, "kill_replica", time.time(), **more))
    reason = f"nobody reached http://eva:{v['reason for which a run ended']}@llm"
    repeat = f"faultload run x --set store=http://eva:{v['command that repeats a run']}@s3"
    draft = first_manifest(plan, platform, directory.run_id, RunClock.starting_in(-5.0))
    draft = draft.model_copy(
        update={"reason": reason, "repeat": repeat, "outcome": Outcome.STOPPED}
    )
    state.save_draft(draft)
    EventLog(directory.events).add(0.0, "harness", "ended_early", reason, error=OSError(reason))
    seal_run(directory, draft, state.journal, None, platform, 5.0)
    judge_and_report(directory)
    entry = Entry("a/b", "A claim", "not run", f"password={v['reason in a summary of several']}", 3)
    write_summary(Summary([entry], 3, "local", repeat), directory.path)
    state.journal.path.unlink()  # at a clean end: what undoes a fault has to be kept until then
    for name, words in {
        "again": ["report", str(directory.path)],
        "list": ["runs", "list", "--reports", str(directory.path.parent)],
    }.items():
        scene.said(name, partial(invoke, words))


def pods_log(scene: Scene) -> None:
    """What a container of a cluster printed, as the record keeps it."""
    text = f"WANDB_API_KEY={VALUES['environment in the log of a pod']} PORT=1\n"
    about = {"name": "engine-0", "namespace": "llm", "uid": "u-0"}
    pod = {"metadata": about, "spec": {}, "status": {"containerStatuses": [{"name": "vllm"}]}}
    cluster: Any = SimpleNamespace(
        spec=SimpleNamespace(components=["engine"]),
        pods=lambda _: [pod],
        api=SimpleNamespace(ask=lambda *_: text.encode()),
    )
    evidence.save_logs(cluster, scene.left / "pods")


def cluster_refuses(scene: Scene) -> None:
    """An API server that tells what it got, signed in to in every way a kubeconfig knows."""
    v = VALUES
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    credential["status"] = {"token": v["token of the plugin of a kubeconfig"]}  # type: ignore[assignment]
    printed = scene.file("credential.json", json.dumps(credential))
    plugin = {"apiVersion": credential["apiVersion"], "command": "cat", "args": [str(printed)]}
    users: dict[str, Any] = {
        "token": {"token": v["token of a kubeconfig"]},
        "password": {"username": "eva", "password": v["password of a kubeconfig"]},
        "plugin": {"exec": plugin | {"interactiveMode": "Never"}},
    }
    patience = Patience(attempts=1)
    for name, user in users.items():
        config = {
            "clusters": [{"name": "c", "cluster": {"server": scene.url}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        }
        path = scene.file(f"kubeconfig-{name}", config)

        def ask(path: Path = path) -> None:
            api = Api(lambda: sign_in(str(path), "test", path), "test", patience)
            with pytest.raises(ApiError) as raised:
                api.get(Ref(NAMESPACES, "", "llm"))
            sys.stdout.write(str(raised.value))
            api.close()

        scene.said(f"cluster-{name}", ask)
    broken = scene.file("kubeconfig-broken", f"users: [token: {v['kubeconfig that is none']}: ]]")
    scene.said("cluster-broken", lambda: sign_in(str(broken), "test", broken))


def finish(child: ChaosChild, load: LoadGenerator, left: Path) -> None:
    """Let both play to their end, and collect the load's rows."""
    load.wait_ready(_BOUND_S)
    load.go(time.time())
    until_s = time.monotonic() + _BOUND_S
    while child.exit_code() is None or not load.poll():
        assert time.monotonic() < until_s, f"still playing: {child.last_words()}"
        time.sleep(0.05)
    child.end()
    load.stop(5.0)
    load.collect(left / "load" / "requests.parquet", 0.2)
