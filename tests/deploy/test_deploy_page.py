"""What docs/deploy.md tells a stranger to type exists: files, values, outputs, options, objects."""

from __future__ import annotations

import re

import pytest
from charts import containers
from command_lines import commands, mistakes
from environments import made_by_others, read
from platform_tools import ROOT
from terraform_code import ENVIRONMENTS

_PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
_ORDER = _PAGE.partition("### In this order")[2].partition("\n### ")[0]


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
        "report.html",
    ]
    places = [_ORDER.find(step) for step in steps]
    assert -1 not in places, steps[places.index(-1)]
    assert places == sorted(places)


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
