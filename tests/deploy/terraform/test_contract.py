"""Terraform as text: what can be held against it without a provider, an account or the registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import terraform_rules as rules
from terraform_code import (
    ENVIRONMENTS,
    FOLDERS,
    HARNESS,
    MODULES,
    PLATFORM,
    ROOTS,
    Folder,
    parse,
    statements,
)

_READ = {path: parse(path) for path in FOLDERS}
Rule = Callable[[Folder], Iterable[str]]

_each_rule = pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)


@_each_rule
def test_rules_hold(rule: Rule) -> None:
    """No folder breaks a rule of `terraform_rules`."""
    assert [said for folder in _READ.values() for said in rule(folder)] == []


@pytest.mark.parametrize(
    ("path", "before", "after", "rule", "expected"),
    [
        (
            "modules/model-registry",
            "restrict_public_buckets = true",
            "restrict_public_buckets = false",
            rules.public_buckets,
            "can become public",
        ),
        (
            "modules/gpu-nodes",
            "encrypted             = true",
            "encrypted             = false",
            rules.unencrypted,
            "a disk that is not encrypted",
        ),
        (
            "modules/storage",
            "referenced_security_group_id = var.security_group_id",
            'cidr_ipv4 = "0.0.0.0/0"',
            rules.open_to_the_world,
            "is open to the world",
        ),
        ("modules/network", "type        = list(string)\n", "", rules.undocumented, "has no type"),
        (
            "environments/prod",
            "    CostCenter  = var.cost_center\n",
            "",
            rules.untagged,
            "CostCenter",
        ),
        (
            "modules/identity",
            'Action   = "kms:Decrypt"',
            'Action   = "kms:*"',
            rules.wild_policies,
            "allows actions by wildcard",
        ),
        (
            "modules/identity",
            'Resource = "${var.model_bucket_arn}/models/*"',
            'Resource = "*"',
            rules.wild_policies,
            "allows on every resource",
        ),
        (
            "modules/cluster",
            "http_put_response_hop_limit = 1",
            "http_put_response_hop_limit = 2",
            rules.weak_machines,
            "node's credentials",
        ),
        (
            "modules/ingress",
            "version    = var.controller_chart_version\n",
            "",
            rules.unpinned,
            "whatever is newest",
        ),
    ],
    ids=[
        "public bucket",
        "unencrypted volume",
        "open security group",
        "untyped variable",
        "missing tag",
        "wildcard action",
        "wildcard resource",
        "metadata for pods",
        "floating chart",
    ],
)
def test_mutations_are_caught(
    path: str, before: str, after: str, rule: Rule, expected: str
) -> None:
    """Each rule sees the mistake that it is there for."""
    folder = _READ[PLATFORM / path]
    assert before in folder.text
    mutant = parse(folder.path, folder.text.replace(before, after, 1))
    assert any(expected in said for said in rule(mutant))


def test_no_exception_is_unused() -> None:
    """What may be open or wild is there; an exception nobody needs is a hole."""
    there = {each.address for folder in _READ.values() for each in folder.resources}
    assert set(rules.OPEN) <= there
    sids = {rules.sid(each) for folder in _READ.values() for each in statements(folder.text)}
    assert set(rules.WILD) <= sids


def test_the_world_comes_in_by_tls_only() -> None:
    """The one ingress rule for everybody is the load balancer's port 443."""
    ingress = [
        each.body
        for folder in _READ.values()
        for each in folder.of("aws_vpc_security_group_ingress_rule")
        if each.body.get("cidr_ipv4") in rules.WORLD
    ]
    assert [(rule["from_port"], rule["to_port"]) for rule in ingress] == [(443, 443)]


def test_modules_form_no_circle() -> None:
    """Environments use modules; of modules only `platform` uses others, and none of them itself."""
    for path, folder in _READ.items():
        for call in folder.calls.values():
            used = (path / call["source"]).resolve()
            assert used in MODULES, f"{folder.name} uses {call['source']}"
            assert path in ROOTS or (path.name == "platform" and used != path)


def test_calls_fit_their_modules() -> None:
    """A call names every variable without a default, none that does not exist, and real outputs."""
    for path, folder in _READ.items():
        for name, call in folder.calls.items():
            module = _READ[(path / call["source"]).resolve()]
            given = set(call) - {"source", "depends_on"}
            needed = {key for key, body in module.variables.items() if "default" not in body}
            assert needed - given == set(), f"{folder.name}: module {name} lacks variables"
            assert given - set(module.variables) == set(), f"{folder.name}: module {name}"
            asked = set(re.findall(rf"\bmodule\.{name}\.(\w+)", folder.text))
            assert asked - set(module.outputs) == set(), f"{folder.name}: module {name}"


def test_every_name_is_declared() -> None:
    """What is referred to as a variable, a local value or a resource exists; variables are used."""
    for folder in _READ.values():
        code = re.sub(
            r"^\s*(?:#|description\s*=|error_message\s*=).*$", "", folder.text, flags=re.MULTILINE
        )
        used = set(re.findall(r"\bvar\.(\w+)", code))
        assert used == set(folder.variables), folder.name
        declared = set(re.findall(r"^\s+(\w+)\s+= ", code, re.MULTILINE))
        assert set(re.findall(r"\blocal\.(\w+)", code)) <= declared, folder.name
        there = {each.address for each in folder.resources}
        referred = set(re.findall(r"(?<!data\.)\b((?:aws_\w+|helm_release)\.\w+)\b", code))
        assert {
            name for name in referred if not name.startswith("aws_iam_role_policy_document")
        } <= there, folder.name


def test_environments_differ_in_shape_only() -> None:
    """dev, staging and prod have the same inputs, outputs and providers."""
    for name in ("variables.tf", "outputs.tf"):
        assert len({(path / name).read_text() for path in ENVIRONMENTS}) == 1, name
    versions = {
        (path / "versions.tf").read_text().replace(f"/{path.name}.tfstate", "/STATE")
        for path in ENVIRONMENTS
    }
    assert len(versions) == 1


def test_roots_lock_and_encrypt_their_state() -> None:
    """State is in S3, encrypted and locked, and no two roots share a key."""
    keys = []
    for path in ROOTS:
        if path.name == "bootstrap":
            continue
        (backend,) = _READ[path].settings["backend"]
        assert backend["s3"]["encrypt"] is True
        assert backend["s3"]["use_lockfile"] is True
        keys.append(backend["s3"]["key"])
    assert len(set(keys)) == len(keys) == len(ROOTS) - 1


def test_names_that_others_rely_on() -> None:
    """Roles have the names that the charts and their readers know."""
    for path in (PLATFORM / "modules/identity", *ENVIRONMENTS):
        assert {"prometheus_irsa_role_arn", "vllm_irsa_role_arn"} <= set(_READ[path].outputs)
    text = _READ[PLATFORM / "modules/identity"].text
    for account in ("vllm", "prometheus", "keda-operator"):
        assert re.search(rf"^    {account}\s+= \{{ namespace = ", text, re.MULTILINE), account


def test_the_cluster_has_its_addons() -> None:
    """Network and credentials come before the first node, what needs nodes after it."""
    text = _READ[PLATFORM / "modules/cluster"].text
    before, after = text.split("addons_before_nodes = {")[1].split("addons_after_nodes = {")
    for addon in ("vpc-cni", "kube-proxy", "eks-pod-identity-agent"):
        assert re.search(rf"^    {addon}\s+=", before, re.MULTILINE), addon
    for addon in (
        "coredns",
        "aws-ebs-csi-driver",
        "aws-fsx-csi-driver",
        "metrics-server",
        "eks-node-monitoring-agent",
    ):
        assert re.search(rf"^    {addon}\s+=", after, re.MULTILINE), addon


def test_roles_of_services_are_made_once_an_account() -> None:
    """Whatever an empty account lacks of EC2's and FIS's own roles has a folder, and an opt-out."""
    made = {
        each.body["aws_service_name"]: (folder.path, each.body["count"])
        for folder in _READ.values()
        for each in folder.of("aws_iam_service_linked_role")
    }
    assert made == {
        "spot.amazonaws.com": (PLATFORM / "bootstrap", "${var.create_spot_role ? 1 : 0}"),
        "fis.amazonaws.com": (HARNESS, "${var.create_fis_role ? 1 : 0}"),
    }


def test_kubeadm_is_what_was_asked_for() -> None:
    """10.10.0.0/16, one control-plane node and two workers, one of them with a GPU."""
    text = _READ[PLATFORM / "environments/kubeadm"].text
    assert 'cidr               = "10.10.0.0/16"' in text
    assert re.findall(r'role = "(.+?)"', text.split("nodes = {")[1])[:3] == [
        "control-plane",
        "worker",
        "worker",
    ]
    assert text.count('image = "gpu"') == 1


def test_no_secret_is_a_variable_or_an_output() -> None:
    """Nothing asks for a password or gives one out: what is in the state is in a bucket."""
    secret = re.compile(r"password|secret|private_key|token", re.IGNORECASE)
    for folder in _READ.values():
        assert [name for name in (*folder.variables, *folder.outputs) if secret.search(name)] == []


def test_folders_are_all_looked_at() -> None:
    """Every folder with Terraform in it is one that the rules read."""
    found = {path.parent for path in PLATFORM.rglob("*.tf") if ".terraform" not in path.parts}
    assert found <= set(FOLDERS)
    assert Path(PLATFORM / "modules/platform") in FOLDERS
