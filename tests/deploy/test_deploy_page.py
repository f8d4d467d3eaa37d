"""What docs/deploy.md tells a stranger to type exists: files, values, outputs, options, objects."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml
from charts import containers
from command_lines import commands, mistakes
from environments import made_by_others, read
from platform_tools import ROOT, need
from terraform_code import ENVIRONMENTS, PLATFORM, parse

_PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
_ORDER = _PAGE.partition("### In this order")[2].partition("\n### ")[0]
_DOWN = _PAGE.partition("### Taking it down")[2].partition("\n### ")[0]
_TIMEOUT_S = 60


@pytest.mark.parametrize("line", commands(_PAGE))
def test_command_can_be_typed(line: str) -> None:
    """Charts, values files, outputs, variables, programs and their options are there."""
    assert list(mistakes(line)) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("terraform -chdir=terraform output -raw reports", "no output reports"),
        ("terraform -chdir=platform/terraform/nowhere init", "no Terraform"),
        ("terraform -chdir=platform/terraform/bootstrap apply -var bucket=b", "no variable bucket"),
        ("helm install a platform/charts/nothing -n inference", "expected one chart"),
        (
            "helm install a platform/charts/router -f platform/charts/router/values/x.yaml",
            "no such file",
        ),
        ("helm install a platform/charts/router --set image.name=x", "no value image.name"),
        ("kubectl apply -f platform/gitops/nothing.yaml", "no such file"),
        ("kubectl -n inference create secret generic key --from-literal=a=b", "nobody asks for"),
        ("kubectl -n chaos get pods", "no namespace of ours"),
        ("kubectl -n faultload create job --from=cronjob/game-day first", "no chart makes it"),
        ("docker build -f platform/images/nothing/Dockerfile .", "no such file"),
        ('docker push "$REGISTRY/inference-$ENV/nothing:0.1.0"', "no repository nothing"),
        ("faultload judge --nothing", "no option --nothing"),
        ("python -m inference_platform.local.models publish x", "models publish"),
        ("make nothing", "no such target"),
        ('aws s3 ls "$(terraform -chdir=terraform output -raw nothing)"', "no output nothing"),
        ("cp terraform/nothing.example terraform/backend.hcl", "no such file"),
        ("wget https://example.com", "not a program that this page explains"),
    ],
)
def test_mistakes_are_seen(line: str, said: str) -> None:
    """A line that could not be run is told."""
    assert any(said in text for text in mistakes(line)), list(mistakes(line))


def test_order_makes_what_others_are_said_to_make() -> None:
    """Each Secret that pods wait for is made by a step."""
    made = {
        (place, name)
        for place, name in re.findall(r"kubectl -n (\S+) create secret generic (\S+) ", _ORDER)
    }
    assert made == set(made_by_others())


def test_order_begins_with_what_the_rest_needs() -> None:
    """State, platform, who may ask the cluster, images, models, Secrets, charts, a game day."""
    steps = [
        "platform/terraform/bootstrap apply",
        "platform/terraform/environments/$ENV apply",
        "aws eks update-kubeconfig",
        "karpenter_manifests",
        "terraform -chdir=terraform apply",
        "docker buildx build",
        "inference_platform.local.models manifest",
        "create secret generic inference-api-key",
        "platform/gitops/roots/staging.yaml",
        "/v1/models",
        "--from=cronjob/faultload-game-day",
        # Reports are copied once all are there: this waits until the upload has ended.
        "logs -f job/first -c upload",
        'aws s3 sync "s3://$(terraform -chdir=terraform output -raw report_bucket)',
        "report.html",
    ]
    _follow(_ORDER, steps)


def test_upload_is_waited_for_by_its_name() -> None:
    """The game day's pod has the container whose log tells that reports are in the bucket."""
    (name,) = re.findall(r"logs -f job/first -c (up\w+)", _ORDER)
    (game_day,) = (
        pod for pod in read("staging").pods() if pod.where == "CronJob/faultload-game-day"
    )
    (upload,) = (one for one in containers(game_day.template) if one["name"] == name)
    assert any(word.startswith("s3://") for word in upload["command"])


def test_what_terraform_did_not_make_goes_first() -> None:
    """Machines and disks that pods asked for outlive their controllers, and hold the VPC."""
    steps = [
        # The root makes Applications; these, and budgets with them, would come back.
        "delete application $ENV",
        "-n argocd delete applications --all",
        "delete nodepools --all",
        "wait --for=delete nodeclaims --all",
        # Whoever ends machines and writes logs to a disk: only now.
        "apply -var install_operators=false",
        "-n observability delete pvc --all",
        "wait --for=delete pv --all",
        "-chdir=terraform destroy",
        "environments/$ENV destroy",
        "describe-instances",
    ]
    _follow(_DOWN, steps)
    waits = [line for line in commands(_DOWN) if "kubectl" in line and "--all" in line]
    assert [line for line in waits if "--timeout=" not in line] == []


def test_every_disk_of_ours_is_taken_down() -> None:
    """Claims are deleted in each namespace where something of ours has one."""
    claims = {"PersistentVolumeClaim", "StatefulSet", "Prometheus", "Alertmanager"}
    held = {
        release.namespace
        for name in ("dev", "staging", "prod")
        for release in read(name).releases.values()
        for one in release.objects
        if one["kind"] in claims
        and (one["kind"] == "PersistentVolumeClaim" or "volumeClaimTemplate" in str(one["spec"]))
    }
    assert held == {"inference", "observability"}
    assert held <= set(re.findall(r"kubectl -n (\w+) delete pvc --all", _DOWN))


def _follow(text: str, steps: list[str]) -> None:
    """Fail unless a page has these steps, in this order."""
    places = [text.find(step) for step in steps]
    assert -1 not in places, steps[places.index(-1)]
    assert places == sorted(places)


def test_no_release_of_the_page_takes_another_ones_objects() -> None:
    """Helm refuses the second of two installs, in one namespace, that make the same object."""
    seen: dict[tuple[str, str, str], str] = {}
    lines = [line for line in commands(_PAGE) if line.startswith("helm install chat-")]
    for words in map(shlex.split, lines):
        done = subprocess.run(
            [need("helm"), "template", *words[2:], "--kube-version=1.35.0"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        for one in filter(None, yaml.safe_load_all(done.stdout)):
            meta = one["metadata"]
            key = (one["kind"], meta.get("namespace", ""), meta["name"])
            assert seen.setdefault(key, words[2]) == words[2], key
    assert set(seen.values()) == {"chat-fast", "chat-reasoning"}


def test_groups_are_enlarged_before_they_are_given_a_minimum() -> None:
    """Terraform leaves a group's size alone, and EKS refuses a minimum above it."""
    for module in ("gpu-nodes", "cluster"):
        assert "scaling_config[0].desired_size" in parse(PLATFORM / "modules" / module).text
    assert "aws eks update-nodegroup-config --cluster-name inference-$ENV" in _PAGE


def test_every_image_is_built_as_it_is_pulled() -> None:
    """Each Dockerfile is built, and pushed under the name and tag that the charts ask for."""
    pushed = re.findall(
        r"-f platform/images/([\w-]+)/Dockerfile"
        r' -t "\$REGISTRY/inference-\$ENV/([\w-]+:[\w.-]+)" \.',
        _ORDER,
    )
    assert {name for name, _ in pushed} == {
        path.parent.name for path in ROOT.glob("platform/images/*/Dockerfile")
    }
    pulled = {
        container["image"].partition("/inference-staging/")[2]
        for pod in read("staging").pods()
        for container in containers(pod.template)
        if "/inference-staging/" in container["image"]
    }
    assert {image for _, image in pushed} == pulled


def test_every_environment_can_stand_in_the_commands() -> None:
    """`$ENV` is any of the three."""
    assert {path.name for path in ENVIRONMENTS} == {"dev", "staging", "prod"}
    for path in ENVIRONMENTS:
        for name in ("backend.hcl.example", "terraform.tfvars.example"):
            assert (path / name).is_file()
