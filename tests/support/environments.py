"""An environment as a whole: what Argo CD installs there, and where Terraform lets it run.

read("staging")                                              # as the files have it
read("staging", {"router": {"network": {"clientCidrs": []}}})    # with a mistake in it
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gitops
import hcl2
from charts import Object, containers, pod_templates
from terraform_code import HARNESS, PLATFORM, ROOT, parse, source

# The Prometheus operator makes pods of these.
_OPERATED = {"Prometheus", "Alertmanager"}
_UNITS = {"Ki": 2**-20, "Mi": 2**-10, "Gi": 1.0, "Ti": 2**10}


@dataclass(frozen=True, slots=True)
class Release:
    """What one Application makes: its chart, its namespace, the objects; `values`: all of them."""

    chart: str
    namespace: str
    objects: tuple[Object, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment.

    Attributes:
        releases: by the name of their Application.
        platform: what `platform/terraform/environments/NAME` gives the module `platform`.
        inputs: what its `terraform.tfvars.example` says.
        harness: what the folder `terraform`'s does, where that is for this environment; else empty.
    """

    name: str
    releases: Mapping[str, Release]
    platform: Mapping[str, Any]
    inputs: Mapping[str, Any]
    harness: Mapping[str, Any]

    def pods(self) -> Iterator[Pod]:
        """Yield every pod template of every release."""
        for name, release in self.releases.items():
            for where, template in pod_templates(list(release.objects)):
                yield Pod(name, release, where, template)
            for one in release.objects:
                if one["kind"] in _OPERATED:
                    yield Pod(name, release, _where(one), _operated(one))

    def of_chart(self, chart: str) -> dict[str, Release]:
        """Return the releases of one chart, by name."""
        return {name: one for name, one in self.releases.items() if one.chart == chart}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod template, and the release that brings it."""

    name: str
    release: Release
    where: str
    template: Object

    @property
    def spec(self) -> Object:
        """Return the pod's own spec."""
        found: Object = self.template["spec"]
        return found

    def asks(self, what: str) -> float:
        """Return how much of `cpu` (processors), `memory` (GiB) or `nvidia.com/gpu` it asks for.

        Containers that run one after another before the others count as the largest of them.
        """
        before = self.spec.get("initContainers", [])
        beside = [one for one in before if one.get("restartPolicy") == "Always"]
        together = sum(_asked(one, what) for one in [*self.spec["containers"], *beside])
        return max([together, *(_asked(one, what) for one in before)])

    def variables(self) -> Iterator[Object]:
        """Yield every environment variable of every container."""
        for container in containers(self.template):
            yield from container.get("env", [])


def read(
    name: str,
    values: Mapping[str, Mapping[str, Any]] | None = None,
    platform: Mapping[str, Any] | None = None,
) -> Environment:
    """Return an environment, with other values of some releases, or other arguments of Terraform.

    Raises:
        Refused: a chart refuses the values.
    """
    changed = values or {}
    releases = {
        release: Release(
            gitops.chart_of(application),
            application["spec"]["destination"]["namespace"],
            tuple(gitops.rendered(release, application, changed.get(release, {}))),
            gitops.all_values(application, changed.get(release, {})),
        )
        for release, application in gitops.applications(name).items()
    }
    folder = PLATFORM / "environments" / name
    harness = _inputs(HARNESS / "terraform.tfvars.example")
    given = {**_platform(name), **(platform or {})}
    inputs = _inputs(folder / "terraform.tfvars.example")
    return Environment(
        name, releases, given, inputs, harness if harness["environment"] == name else {}
    )


@functools.cache
def repositories() -> frozenset[str]:
    """Return the names of the images that Terraform makes repositories for."""
    return frozenset(parse(PLATFORM / "modules/storage").variables["repositories"]["default"])


@functools.cache
def operators() -> dict[str, str]:
    """Return the namespace of every chart that Terraform installs, by the chart's name.

    Where an entry of modules/observability names none it is `observability`.
    """
    found: dict[str, str] = {}
    entry = re.compile(r"^    ([\w-]+) = \{\n(.*?)^    \}", re.MULTILINE | re.DOTALL)
    for module in ("observability", "gpu-nodes", "ingress"):
        text = source(PLATFORM / "modules" / module)
        blocks = re.findall(r'^resource "helm_release" .*?^\}', text, re.MULTILINE | re.DOTALL)
        named = [(_said(block, "chart"), block) for block in blocks]
        entries = [one for one in entry.findall(text) if "repository" in one[1]]
        for name, block in [*named, *entries]:
            if name:
                found[name] = _said(block, "namespace") or "observability"
    return found


@functools.cache
def associations() -> frozenset[tuple[str, str]]:
    """Return namespace and ServiceAccount of every EKS Pod Identity association."""
    found = set()
    for path in (*sorted((PLATFORM / "modules").iterdir()), HARNESS):
        text = source(path)
        found |= {
            (place, account)
            for account, place in re.findall(
                r'^    ([\w-]+)\s+= \{ namespace = "([\w-]+)", statements', text, re.MULTILINE
            )
        }
        for block in re.findall(
            r'^resource "aws_eks_pod_identity_association" .*?^\}', text, re.MULTILINE | re.DOTALL
        ):
            said = dict(
                re.findall(r'^ +(namespace|service_account) += "(.+)"', block, re.MULTILINE)
            )
            if len(said) == 2:
                found.add((said["namespace"], said["service_account"]))
    return frozenset(found)


def made_by_others() -> frozenset[tuple[str, str]]:
    """Return namespace and name of what docs/deploy.md says that a person makes."""
    return listed("a Secret")


def listed(what: str) -> frozenset[tuple[str, str]]:
    """Return namespace and name of each in a row of docs/deploy.md's table `Made by others`."""
    text = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    rows = re.findall(rf"^\| {what} \|.*$", text, re.MULTILINE)
    return frozenset(
        (place, name) for row in rows for place, name in re.findall(r"`([\w-]+)/([\w-]+)`", row)
    )


@functools.cache
def _platform(name: str) -> dict[str, Any]:
    return parse(PLATFORM / "environments" / name).calls["platform"]


def _said(block: str, key: str) -> str:
    found = re.search(rf'^ +{key} += "([\w-]+)"', block, re.MULTILINE)
    return found[1] if found else ""


@functools.cache
def _inputs(path: Path) -> dict[str, Any]:
    options = hcl2.SerializationOptions(with_comments=False, strip_string_quotes=True)
    return dict(hcl2.loads(path.read_text(encoding="utf-8"), serialization_options=options))


def _where(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def _operated(one: Object) -> Object:
    """Return the pod that the Prometheus operator makes of its custom resource."""
    spec = one["spec"]
    container = {
        "name": one["kind"].lower(),
        "image": spec["image"],
        "resources": spec["resources"],
    }
    volumes = [{"secret": {"secretName": name}} for name in spec.get("secrets", [])]
    kept = {key: spec[key] for key in ("nodeSelector", "serviceAccountName") if key in spec}
    return {"spec": {"containers": [container], "volumes": volumes, **kept}}


def _asked(container: Object, what: str) -> float:
    resources = container.get("resources", {})
    text = str(resources.get("requests", {}).get(what, resources.get("limits", {}).get(what, 0)))
    if what == "memory":
        return float(text[:-2]) * _UNITS[text[-2:]] if text[-2:] in _UNITS else float(text) / 2**30
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
