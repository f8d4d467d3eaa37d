"""What the harness's chart makes: rights as the code has them, files that it reads, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from charts import CHARTS, Object, containers, only, pod_templates, render, selects
from moto.server import ThreadedMotoServer
from platform_tools import ROOT

from faultload.spec.catalogue import Catalogue
from faultload.spec.gameday import check_gameday, load_gameday
from faultload.spec.target import KubernetesTargetSpec, load_target
from faultload.targets.kubernetes import RIGHTS, rules_for
from faultload.targets.kubernetes.signin import sign_in

_CAPABILITIES = sorted(set(RIGHTS) - {"every run"})
_WAIT_S = 60.0
_LAYERS = [(), ("staging",), ("sweeper-only",)]
each_layer = pytest.mark.parametrize(
    "layers", _LAYERS, ids=["-".join(one) or "none" for one in _LAYERS]
)


def _granted(rules: Sequence[Mapping[str, Any]]) -> set[tuple[str, ...]]:
    return {
        (group, resource, verb, *rule.get("resourceNames", []))
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("capability", [None, *_CAPABILITIES], ids=str)
def test_rights_are_those_of_the_code(capability: str | None) -> None:
    """One too few stops a run before it begins; one too many is a door nobody asked for."""
    asked = [capability] if capability else []
    namespaces = ["inference", "other"]
    change = {"capabilities": asked, "target": {"kubernetes": {"namespaces": namespaces}}}
    objects = render("faultload", change=change)
    role, cluster = rules_for(asked, namespaces)
    roles = [one for one in objects if one["kind"] == "Role"]
    assert [one["metadata"]["namespace"] for one in roles] == namespaces
    assert all(_granted(one["rules"]) == _granted(role) for one in roles)
    assert _granted(only(objects, "ClusterRole")["rules"]) == _granted(cluster)


def test_every_capability_can_be_asked_for() -> None:
    """Those of the schema, of the table and of the code are the same."""
    schema = yaml.safe_load((CHARTS["faultload"] / "values.schema.json").read_text("utf-8"))
    table = yaml.safe_load((CHARTS["faultload"] / "files/rights.yaml").read_text("utf-8"))
    assert sorted(schema["properties"]["capabilities"]["items"]["enum"]) == _CAPABILITIES
    assert table.keys() == RIGHTS.keys()


@each_layer
def test_no_right_is_a_wildcard(layers: tuple[str, ...]) -> None:
    """`*` would grant what Kubernetes learns tomorrow."""
    for one in render("faultload", *layers):
        for rule in one.get("rules", []) if one["kind"] in {"Role", "ClusterRole"} else []:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def _files(folder: Path, *layers: str, **more: Any) -> Path:
    """Lay a project out as the container sees it; return its root."""
    for name in ("experiments", "scenarios", "slos"):
        (folder / name).symlink_to(ROOT / name)
    data = only(render("faultload", *layers, **more), "ConfigMap")["data"]
    for name in ("targets", "gamedays"):
        (folder / name).mkdir()
    (folder / "targets/staging.yaml").write_text(data["target.yaml"], encoding="utf-8")
    if "plan.yaml" in data:
        (folder / "gamedays/plan.yaml").write_text(data["plan.yaml"], encoding="utf-8")
    (folder / "kubeconfig").write_text(data["kubeconfig"], encoding="utf-8")
    return folder


@each_layer
def test_target_and_plan_are_files_that_it_reads(layers: tuple[str, ...], tmp_path: Path) -> None:
    """Keys are checked as in a file of one's own, and experiments are ones that the image has."""
    root = _files(tmp_path, *layers)
    target = load_target(root / "targets/staging.yaml")
    assert isinstance(target, KubernetesTargetSpec)
    assert target.kubernetes.kubeconfig == "/etc/faultload/kubeconfig"
    assert (target.load.listen is not None) == (layers == ("staging",))
    if layers != ("sweeper-only",):
        path = root / "gamedays/plan.yaml"
        check_gameday(load_gameday(path), path, Catalogue.find(root))


def test_kubeconfig_is_one_that_signs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names files and no secret; the token is the one that the kubelet put there."""
    text = only(render("faultload"), "ConfigMap")["data"]["kubeconfig"]
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert where in text
    (tmp_path / "token").write_text("of-the-kubelet", encoding="utf-8")
    (tmp_path / "ca.crt").write_text("", encoding="utf-8")
    path = tmp_path / "kubeconfig"
    path.write_text(text.replace(where, str(tmp_path)), encoding="utf-8")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    client = sign_in(str(path), "in-cluster", tmp_path / "target.yaml")
    assert client.configuration.host == "https://kubernetes.default.svc"
    (header,) = client.configuration.auth_settings().values()
    assert header["value"] == "Bearer of-the-kubelet"


def _container(name: str, *layers: str, **more: Any) -> Object:
    found = [
        container
        for _, template in pod_templates(render("faultload", *layers, **more))
        for container in containers(template)
        if container["name"] == name
    ]
    (one,) = found
    return one


def test_game_day_comes_once_and_alone() -> None:
    """Two at a time would be one another's fault; one that failed is looked at, not repeated."""
    spec = only(render("faultload", "staging"), "CronJob")["spec"]
    job = spec["jobTemplate"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["activeDeadlineSeconds"] == 7200
    assert only(render("faultload"), "CronJob")["spec"]["suspend"] is True


@pytest.mark.parametrize(
    ("name", "layers"), [("game-day", ("staging",)), ("sweeper", ())], ids=["game-day", "sweeper"]
)
def test_command_line_is_one_that_it_knows(name: str, layers: tuple[str, ...]) -> None:
    """`--help` after the same words: an option that was renamed would end every pod at once."""
    arguments = _container(name, *layers)["args"]
    known = subprocess.run(
        [sys.executable, "-m", "faultload", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_WAIT_S,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert known.returncode == 0, known.stderr
    for argument in arguments[1:]:
        if argument.startswith("--"):
            assert argument.partition("=")[0] in known.stdout


def test_no_consent_is_given_by_a_schedule() -> None:
    """A confirmation is one person's word for one run, so no object may hold it."""
    text = yaml.safe_dump_all(render("faultload", "staging"))
    assert "--confirm" not in text
    assert "--game-day" not in text


def test_api_is_spoken_to_by_one_container() -> None:
    """Workers and the upload have no token of the API."""
    for _, template in pod_templates(render("faultload", "staging")):
        assert template["spec"]["automountServiceAccountToken"] is False
        having = {
            container["name"]
            for container in containers(template)
            if any(mount["name"] == "api-token" for mount in container["volumeMounts"])
        }
        assert having in ({"game-day"}, {"sweeper"}, set())
        assert ("serviceAccountName" in template["spec"]) == bool(having)


def test_workers_find_their_master() -> None:
    """Service, port, policy and the number that the master waits for are one another's."""
    objects = render("faultload", "staging")
    service = only(objects, "Service")
    templates = dict(pod_templates(objects))
    master = templates["CronJob/faultload-game-day"]["metadata"]["labels"]
    assert selects({"matchLabels": service["spec"]["selector"]}, master)
    worker = _container("worker", "staging")
    assert worker["command"][-1] == "faultload-load.faultload.svc:5557"
    target = yaml.safe_load(only(objects, "ConfigMap")["data"]["target.yaml"])
    deployment = only(objects, "Deployment", "faultload-load")
    assert target["load"] == {
        "listen": "0.0.0.0:5557",
        "workers": 3,
        "api_key_env": "INFERENCE_API_KEY",
    }
    assert deployment["spec"]["replicas"] == 3
    (rule,) = only(objects, "NetworkPolicy", "faultload-game-day")["spec"]["ingress"]
    (peer,) = rule["from"]
    labels = templates["Deployment/faultload-load"]["metadata"]["labels"]
    assert selects(peer["podSelector"], labels)
    assert not selects(peer["podSelector"], master)


@each_layer
def test_who_needs_the_key_has_it(layers: tuple[str, ...]) -> None:
    """Load workers, and the game day (`add_load` sends, too), whose master cannot see theirs."""
    objects = render("faultload", *layers)
    target = yaml.safe_load(only(objects, "ConfigMap")["data"]["target.yaml"])
    variable = target.get("load", {}).get("api_key_env")
    assert bool(variable) == (layers == ("staging",))
    for _, template in pod_templates(objects):
        for container in containers(template):
            has = variable in {one["name"] for one in container["env"]}
            wants = container["name"] in {"game-day", "worker"} and variable is not None
            assert has == wants, container["name"]


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://llm.example.com", 443), ("http://llm.example.com:8080", 8080)],
)
def test_load_may_leave_for_the_endpoint(url: str, port: int) -> None:
    """An endpoint that is no Service is asked through its public address, and by nobody else."""
    change = {"target": {"kubernetes": {"inference_url": url}}}
    for name in ("game-day", "load", "sweeper"):
        policy = only(
            render("faultload", "staging", change=change), "NetworkPolicy", f"faultload-{name}"
        )
        ports = {
            each["port"]
            for rule in policy["spec"]["egress"]
            if any("ipBlock" in to and "except" in to["ipBlock"] for to in rule["to"])
            for each in rule["ports"]
        }
        assert (port in ports) == (name != "sweeper")
        assert not any(
            to.get("podSelector") == {"matchLabels": {"app.kubernetes.io/component": "router"}}
            for rule in policy["spec"]["egress"]
            for to in rule["to"]
        )


def test_groups_have_the_rights_of_the_account() -> None:
    """Who starts runs from outside, such as CI, may do what the pods may, and no more."""
    objects = render("faultload", "sweeper-only", change={"groups": ["faultload-ci"]})
    bindings = [one for one in objects if one["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    assert len(bindings) == 2
    for one in bindings:
        kinds = {subject["kind"]: subject["name"] for subject in one["subjects"]}
        assert kinds == {"ServiceAccount": "faultload", "Group": "faultload-ci"}


def test_worker_is_begun_again_and_ends_when_told(tmp_path: Path) -> None:
    """Each experiment has a master of its own; a pod that ignores SIGTERM takes its whole grace."""
    log = tmp_path / "begun"
    fake = tmp_path / "faultload"
    fake.write_text(f'#!/bin/sh\necho "$@" >>{log}\n', encoding="utf-8")
    fake.chmod(0o755)
    shell, flag, script, master = _container("worker", "staging")["command"]
    command = [shell, flag, script.replace("sleep 2", "sleep 0.05"), master]
    path = f"{tmp_path}:{os.environ['PATH']}"
    with subprocess.Popen(command, env={**os.environ, "PATH": path}) as process:
        try:
            for _ in range(200):
                if log.exists() and len(log.read_text("utf-8").splitlines()) >= 2:
                    break
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(_WAIT_S) == 0
        finally:
            process.kill()
    assert log.read_text("utf-8").splitlines()[1] == f"load worker --master {master}"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, `faultload-reports`, of a server on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        # Where the sidecar finds its region is the chart's to say.
        monkeypatch.delenv("AWS_REGION", raising=False)
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        found = boto3.resource("s3", region_name="us-east-1").Bucket("faultload-reports")
        found.create()
        yield found
    finally:
        server.stop()


def test_reports_are_written_once_the_game_day_is_over(bucket: Any, tmp_path: Path) -> None:
    """The sidecar's own program and environment, told by SIGTERM as the kubelet tells it."""
    script = tmp_path / "upload.py"
    data = only(render("faultload", "staging"), "ConfigMap")["data"]
    script.write_text(data["upload.py"], encoding="utf-8")
    reports = tmp_path / "reports/run-1"
    reports.mkdir(parents=True)
    (reports / "verdict.json").write_text("{}", encoding="utf-8")
    container = _container("upload", "staging")
    _, _, folder, url = container["command"]
    assert folder == "/reports"
    environment = os.environ | {one["name"]: one["value"] for one in container["env"]}
    command = [sys.executable, "-u", str(script), str(tmp_path / "reports"), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            _until_it_catches(process.pid, signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=_WAIT_S)
            assert process.returncode == 0
        finally:
            process.kill()
    assert said == f"upload: 1 of 1 files are new in {url}\n"
    assert [one.key for one in bucket.objects.all()] == ["game-days/run-1/verdict.json"]


def _until_it_catches(pid: int, number: int) -> None:
    """Wait until a signal would not end a process that says nothing before it."""
    for _ in range(1200):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        if caught >> (number - 1) & 1:
            return
        subprocess.run(["sleep", "0.05"], check=True, timeout=_WAIT_S)
    raise AssertionError("no handler")
