"""What must hold between what Argo CD installs and what Terraform makes.

list(images(environments.read("staging")))     # a line for each mistake; none: it holds
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

import yaml
from charts import Object, containers, only
from environments import (
    Environment,
    Pod,
    associations,
    made_by_others,
    operators,
    repositories,
)
from machine_rules import placement, system_nodes, system_room, victims, weights
from terraform_code import HARNESS, source

# The class of the EBS driver's add-on (`defaultStorageClass` in modules/cluster); unset: the
# default, which it is.
_CLASSES = {None, "", "ebs-csi-default-sc"}
_NAMESPACES = {"inference", "observability", "faultload", "kube-system", "gpu-metrics"}
# Whose pods a ServiceMonitor of ours watches, by their label app.kubernetes.io/name.
_WATCHED = {
    "dcgm-exporter": "dcgm-exporter",
    "kube-state-metrics": "kube-prometheus-stack",
    "keda-operator": "keda",
    "opencost": "opencost",
}


def images(environment: Environment) -> Iterator[str]:
    """Our images come from this environment's repositories, and no other of ECR is asked."""
    wanted = {f"inference-{environment.name}/{name}" for name in repositories()}
    for pod in environment.pods():
        for container in containers(pod.template):
            image = str(container["image"])
            registry, slash, rest = image.partition("/")
            name = re.split(r"[:@]", rest)[0]
            if slash and not re.search(r"[.:]", registry):
                yield f"{pod.name}: {image}: an account of Docker Hub, which is not ours"
            elif ".dkr.ecr." in registry and name not in wanted:
                yield f"{pod.name}: {image}: expected one of {', '.join(sorted(wanted))}"


def storage_classes(environment: Environment) -> Iterator[str]:
    """Every claim names a class that there is, or none: the default."""
    for name, release in environment.releases.items():
        for text, said in _classes(release.objects):
            if said not in _CLASSES:
                yield f"{name}: {text}: nobody makes the StorageClass {said}"


def _classes(objects: tuple[Object, ...]) -> Iterator[tuple[str, str | None]]:
    for one in objects:
        where, spec = f"{one['kind']}/{one['metadata']['name']}", one.get("spec", {})
        claims = [claim["spec"] for claim in spec.get("volumeClaimTemplates", [])]
        if one["kind"] == "PersistentVolumeClaim":
            claims.append(spec)
        if "storage" in spec and one["kind"] in {"Prometheus", "Alertmanager"}:
            claims.append(spec["storage"]["volumeClaimTemplate"]["spec"])
        yield from ((where, claim.get("storageClassName")) for claim in claims)


def identities(environment: Environment) -> Iterator[str]:
    """Whoever is given a bucket runs as a ServiceAccount that EKS Pod Identity has a role for."""
    for pod in environment.pods():
        account = (pod.release.namespace, pod.spec.get("serviceAccountName", "default"))
        if "s3://" in yaml.safe_dump(pod.template) and account not in associations():
            yield f"{pod.name}: {pod.where}: no role for {'/'.join(account)}"


def namespaces(environment: Environment) -> Iterator[str]:
    """Who is let in, or watched, is where Argo CD or Terraform puts it."""
    for name, release in environment.releases.items():
        for one in release.objects:
            where = f"{name}: {one['kind']}/{one['metadata']['name']}"
            spec = one.get("spec", {})
            if one["kind"] == "NetworkPolicy":
                for place in _peers(spec):
                    if place not in _NAMESPACES:
                        yield f"{where}: there is no namespace {place}"
            if one["kind"] == "ServiceMonitor" and "namespaceSelector" in spec:
                watched = spec["selector"]["matchLabels"]["app.kubernetes.io/name"]
                place = operators()[_WATCHED[watched]]
                if spec["namespaceSelector"]["matchNames"] != [place]:
                    yield f"{where}: {watched} is in {place}"


def _peers(spec: Object) -> Iterator[str]:
    for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
        for peer in [*rule.get("from", []), *rule.get("to", [])]:
            labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
            if "kubernetes.io/metadata.name" in labels:
                yield labels["kubernetes.io/metadata.name"]


def door(environment: Environment) -> Iterator[str]:
    """Users come in by Terraform's load balancer: bound, let in from its subnets, the only one."""
    vpc = ipaddress.ip_network(environment.platform["cidr"])
    # modules/network: a /24 for load balancers in each zone, from .224.
    subnets = list(vpc.subnets(new_prefix=24))[224:227]
    for name, release in environment.releases.items():
        for one in release.objects:
            if one["kind"] == "Ingress":
                yield f"{name}: an Ingress: Terraform owns the load balancer"
    for name, release in environment.of_chart("router").items():
        found = [one for one in release.objects if one["kind"] == "TargetGroupBinding"]
        group = f":targetgroup/inference-{environment.name}-router/"
        if not any(group in one["spec"]["targetGroupARN"] for one in found):
            yield f"{name}: expected a TargetGroupBinding to {group}"
        policy = only(list(release.objects), "NetworkPolicy")
        blocks = {
            ipaddress.ip_network(peer["ipBlock"]["cidr"])
            for rule in policy["spec"]["ingress"]
            for peer in rule["from"]
            if "ipBlock" in peer
        }
        if blocks != set(subnets):
            said = ", ".join(sorted(map(str, blocks))) or "nobody"
            yield f"{name}: lets in {said}; the load balancer is in {', '.join(map(str, subnets))}"


def keys(environment: Environment) -> Iterator[str]:
    """Whoever asks engines brings the key that they check, and none where they check none."""
    checked = {
        (source["name"], source["key"])
        for name in environment.of_chart("vllm")
        for pod in environment.pods()
        if pod.name == name
        for one in pod.variables()
        if one["name"] == "VLLM_API_KEY"
        for source in [one["valueFrom"]["secretKeyRef"]]
    }
    for name, release in environment.of_chart("faultload").items():
        if not any(one["kind"] == "CronJob" for one in release.objects):
            continue
        config = only(list(release.objects), "ConfigMap")["data"]["target.yaml"]
        variable = yaml.safe_load(config).get("load", {}).get("api_key_env")
        brought = {
            (source["name"], source["key"])
            for pod in environment.pods()
            if pod.name == name
            for one in pod.variables()
            if one["name"] == variable
            for source in [one["valueFrom"]["secretKeyRef"]]
        }
        if brought != checked:
            yield f"{name}: brings {brought or 'no key'}, engines check {checked or 'none'}"
    for name in environment.of_chart("chat"):
        secrets = {secret for _, secret in _named(environment, name)}
        if {secret for secret, _ in checked} != secrets:
            yield f"{name}: brings {secrets or 'no key'}, engines check {checked or 'none'}"


def _named(environment: Environment, name: str) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of every Secret and claim that a release's pods wait for."""
    for pod in environment.pods():
        if pod.name != name:
            continue
        place = pod.release.namespace
        for one in pod.variables():
            source = one.get("valueFrom", {}).get("secretKeyRef", {})
            if source and not source.get("optional"):
                yield place, source["name"]
        for volume in pod.spec.get("volumes", []):
            if "secret" in volume:
                yield place, volume["secret"]["secretName"]
            if "persistentVolumeClaim" in volume:
                yield place, volume["persistentVolumeClaim"]["claimName"]


def needs(environment: Environment) -> Iterator[str]:
    """What pods wait for is made by a release, or docs/deploy.md says that a person makes it."""
    made = {
        (one["metadata"].get("namespace"), one["metadata"]["name"])
        for release in environment.releases.values()
        for one in release.objects
        if one["kind"] in {"Secret", "PersistentVolumeClaim"}
    }
    for name in environment.releases:
        for place, wanted in sorted(set(_named(environment, name))):
            if (place, wanted) not in made | made_by_others():
                yield f"{name}: nobody makes {place}/{wanted}"


def owners(environment: Environment) -> Iterator[str]:
    """No object is made by two releases: they would take it from each other for ever."""
    seen: dict[tuple[str, str, str], str] = {}
    for name, release in environment.releases.items():
        for one in release.objects:
            meta = one["metadata"]
            key = (one["kind"], meta.get("namespace", ""), meta["name"])
            if seen.setdefault(key, name) != name:
                yield f"{name}: {'/'.join(key)} is made by {seen[key]}, too"
            elsewhere = meta.get("namespace", "") not in {"", release.namespace}
            if elsewhere and one["kind"] not in {"Role", "RoleBinding"}:
                yield f"{name}: {'/'.join(key)} is outside {release.namespace}"


def buckets(environment: Environment) -> Iterator[str]:
    """Models are read from Terraform's bucket, and reports written to it; no name is made up."""
    store = f"s3://{environment.inputs['model_bucket_name']}/models"
    reports = environment.harness.get("report_bucket_name")
    for pod in environment.pods():
        for container in containers(pod.template):
            for word in [*container.get("command", []), *container.get("args", [])]:
                if word.startswith("--store=") and word != f"--store={store}":
                    yield f"{pod.name}: {word}: expected {store}"
                if word.startswith("s3://") and not word.startswith(f"s3://{reports}/"):
                    yield f"{pod.name}: {word}: expected the bucket {reports}"


def answers(environment: Environment) -> Iterator[str]:
    """The router ends an answer before whoever passes it on gives it up, going or not."""
    allowed = max(int(value) for _, value in _told(environment, "router", "--answer-timeout-s"))
    for chart, flag in (("vllm", "--shutdown-timeout"), ("chat", "--drain-s")):
        for name, value in _told(environment, chart, flag):
            if int(value) < allowed:
                yield f"{name}: drains for {value} s, the router allows an answer {allowed} s"
    for name, value in _told(environment, "chat", "--answer-timeout-s"):
        if int(value) <= allowed:
            yield f"{name}: allows an answer {value} s, the router {allowed} s and says why"


def _told(environment: Environment, chart: str, flag: str) -> Iterator[tuple[str, str]]:
    """Yield the releases of a chart and what the flag tells their pods."""
    releases = environment.of_chart(chart)
    for pod in environment.pods():
        if pod.name in releases:
            yield from ((pod.name, value) for value in _flags(pod, flag))


def _flags(pod: Pod, flag: str) -> Iterator[str]:
    for container in containers(pod.template):
        for word in container.get("args", []):
            if word.startswith(f"{flag}="):
                yield word.partition("=")[2]


def load(environment: Environment) -> Iterator[str]:
    """Where AWS's experiments run, load comes by the load balancer: their alarm counts there."""
    if not environment.harness:
        return
    wanted = f"https://{environment.inputs['domain']['name']}"
    for name, release in environment.of_chart("faultload").items():
        config = only(list(release.objects), "ConfigMap")["data"]["target.yaml"]
        url = yaml.safe_load(config)["kubernetes"]["inference_url"]
        if url != wanted:
            yield f"{name}: asks {url}, expected {wanted}"


def groups(environment: Environment) -> Iterator[str]:
    """Whom Terraform lets in to start runs has the rights of the harness, and nobody else."""
    if not environment.harness:
        return
    text = source(HARNESS)
    wanted = set(re.findall(r'kubernetes_groups\s*=\s*\["([^"]+)"\]', text))
    for name, release in environment.of_chart("faultload").items():
        for one in release.objects:
            if one["kind"] in {"RoleBinding", "ClusterRoleBinding"}:
                found = {each["name"] for each in one["subjects"] if each["kind"] == "Group"}
                if found != wanted:
                    yield f"{name}: {one['kind']}: binds {found or 'no group'}, expected {wanted}"


def samples(environment: Environment) -> Iterator[str]:
    """Samples go to Amazon Managed Prometheus where Terraform makes a workspace, else nowhere."""
    wanted = bool(environment.platform["managed_prometheus"])
    for name, release in environment.of_chart("observability").items():
        written = only(list(release.objects), "Prometheus")["spec"].get("remoteWrite", [])
        if bool(written) != wanted:
            yield f"{name}: writes to {len(written)} places, managed_prometheus is {wanted}"


RULES: tuple[Callable[[Environment], Iterator[str]], ...] = (
    placement,
    system_nodes,
    system_room,
    images,
    storage_classes,
    identities,
    namespaces,
    door,
    keys,
    needs,
    owners,
    buckets,
    answers,
    load,
    groups,
    samples,
    victims,
    weights,
)
