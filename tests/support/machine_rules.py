"""What must hold between what Argo CD installs and what Terraform asks AWS for: machines, disks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from charts import only
from environments import Environment, Pod
from machines import MACHINES
from terraform_code import PLATFORM, source

_MODULE = PLATFORM / "modules/platform"
# What an autoscaler of each kind calls the fewest replicas.
_MINIMUMS = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}
_SPOT_TAINT, _GPU_TAINT = "faultload.io/spot", "nvidia.com/gpu"


def placement(environment: Environment) -> Iterator[str]:
    """Every engine has GPU nodes that it may go to, that fit it, and enough of them."""
    known = environment.platform["gpu_groups"]
    for pod in environment.pods():
        gpus = int(pod.asks(_GPU_TAINT))
        if not gpus:
            continue
        why = {name: _refuses(pod, group, gpus) for name, group in known.items()}
        hosts = [name for name, text in why.items() if not text]
        if not hosts:
            said = "; ".join(f"{name}: {text}" for name, text in why.items())
            yield f"{pod.name}: no GPU group hosts {pod.where}: {said}"
            continue
        more = environment.platform.get("karpenter", {}).get("enabled", False)
        there = sum(int(known[name]["size"]) for name in hosts)
        room = there + sum(int(known[name]["size_max"]) for name in hosts if more)
        wanted = _replicas_max(pod)
        if wanted > room:
            names = ", ".join(hosts)
            yield f"{pod.name}: up to {wanted} replicas, and {names} have room for {room}"


def _refuses(pod: Pod, group: Mapping[str, Any], gpus: int) -> str:
    """Return why a GPU group's nodes do not take a pod; "" when they do."""
    spot = group["capacity_type"] == "SPOT"
    tolerated = {one.get("key") for one in pod.spec.get("tolerations", [])}
    for taint in [_GPU_TAINT, *([_SPOT_TAINT] if spot else [])]:
        if taint not in tolerated:
            return f"it does not tolerate {taint}"
    both = {"faultload.io/gpu": group["gpu"], "faultload.io/gpus": str(group["gpus"])}
    both["nvidia.com/gpu.present"] = "true"
    managed = both | {"eks.amazonaws.com/capacityType": group["capacity_type"]}
    karpenter = both | {"karpenter.sh/capacity-type": "spot" if spot else "on-demand"}
    if not (_is_wanted(pod, managed) or _is_wanted(pod, karpenter)):
        return f"it wants no {group['gpu']} {group['capacity_type']}"
    short = {
        machine: text
        for machine in group["instance_types"]
        if (text := MACHINES[machine].shortage(pod.asks("cpu"), pod.asks("memory"), gpus))
    }
    return ", ".join(f"{machine} lacks {text}" for machine, text in short.items())


def _is_wanted(pod: Pod, labels: Mapping[str, str]) -> bool:
    affinity = pod.spec.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms", [{"matchExpressions": []}])
    chosen = all(
        labels.get(key) == value for key, value in pod.spec.get("nodeSelector", {}).items()
    )
    return chosen and any(
        all(labels.get(each["key"]) in each["values"] for each in term["matchExpressions"])
        for term in terms
    )


def _replicas_max(pod: Pod) -> int:
    workload = pod.where.split()[0].partition("/")[2]
    for one in pod.release.objects:
        if one["kind"] == "ScaledObject" and one["spec"]["scaleTargetRef"]["name"] == workload:
            return int(one["spec"]["maxReplicaCount"])
    found = [one for one in pod.release.objects if one["metadata"]["name"] == workload]
    return max(int(one["spec"].get("replicas", 1)) for one in found if "spec" in one)


def system_nodes(environment: Environment) -> Iterator[str]:
    """Every pod without a GPU fits an empty system node of any of its types, and tolerates it."""
    for pod in environment.pods():
        if pod.asks(_GPU_TAINT):
            continue
        for machine in environment.platform["system_nodes"]["instance_types"]:
            if text := MACHINES[machine].shortage(pod.asks("cpu"), pod.asks("memory"), 0):
                yield f"{pod.name}: {pod.where}: {machine} lacks {text}"
        if not _is_wanted(pod, {}):
            yield f"{pod.name}: {pod.where}: wants labels that system nodes have not"


def system_room(environment: Environment) -> Iterator[str]:
    """System nodes, as many as there are at first, have room for all that goes there."""
    nodes = environment.platform["system_nodes"]
    asked = {"cpu": 0.0, "memory": 0.0}
    for pod in environment.pods():
        if not pod.asks(_GPU_TAINT):
            for what in asked:
                asked[what] += pod.asks(what) * _replicas_min(pod)
    for name in nodes["instance_types"]:
        room = {
            "cpu": MACHINES[name].room_cpus * int(nodes["size"]),
            "memory": MACHINES[name].room_gib * int(nodes["size"]),
        }
        for what, most in room.items():
            if asked[what] > most:
                yield (
                    f"{nodes['size']} x {name} have room for {most:g} of {what},"
                    f" pods without a GPU ask for {asked[what]:g}"
                )


def _replicas_min(pod: Pod) -> int:
    kind, _, workload = pod.where.split()[0].partition("/")
    for one in pod.release.objects:
        target = one.get("spec", {}).get("scaleTargetRef", {}).get("name")
        if one["kind"] in _MINIMUMS and target == workload:
            return int(one["spec"][_MINIMUMS[one["kind"]]])
    found = only(list(pod.release.objects), kind, workload)
    return int(found["spec"].get("replicas", 1))


def weights(environment: Environment) -> Iterator[str]:
    """Engines that all start at once have read their weights in time, without the disk's burst.

    Twice: `fetch-model` checks them within its deadline, vLLM loads them within its start.
    """
    lustre = environment.platform["lustre"]
    if not lustre["enabled"]:
        return
    mb_per_s = _of_lustre(lustre, "capacity_gib") / 1024
    mb_per_s *= _of_lustre(lustre, "throughput_mbs_per_tib")
    read_gib = {
        name: release.values["source"]["sizeGiB"] * _replicas_min(pod)
        for name, release in environment.of_chart("vllm").items()
        for pod in environment.pods()
        if pod.name == name and release.values["source"]["kind"] == "volume"
    }
    wanted_s = sum(read_gib.values()) * 2**30 / 1e6 / mb_per_s
    for name in read_gib:
        values = environment.releases[name].values
        given_s = {
            "source.fetch.deadlineSeconds": values["source"]["fetch"]["deadlineSeconds"],
            "startup.budgetSeconds": values["startup"]["budgetSeconds"],
        }
        for key, seconds in given_s.items():
            if seconds < wanted_s:
                yield (
                    f"{name}: {key} is {seconds}: {sum(read_gib.values())} GiB of all engines at"
                    f" {mb_per_s:.0f} MB/s take {wanted_s:.0f} s"
                )


def _of_lustre(given: Mapping[str, Any], key: str) -> float:
    """Return what an environment says of its file system, or what modules/platform has for it."""
    (default,) = re.findall(rf"{key}\s+= optional\(number, (\d+)\)", source(_MODULE))
    return float(given.get(key, default))


def victims(environment: Environment) -> Iterator[str]:
    """Machines that AWS's experiments interrupt are spot machines, and there from the start."""
    known = environment.platform["gpu_groups"]
    for name, machines in environment.harness.get("spot_node_groups", {}).items():
        group = known.get(name, {"capacity_type": "no", "size": 0})
        if group["capacity_type"] != "SPOT" or int(group["size"]) < int(machines):
            kind = group["capacity_type"]
            yield f"{machines} of {name} are to be interrupted: {group['size']} {kind} machines"
