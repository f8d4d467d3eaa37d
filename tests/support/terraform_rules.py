"""What our Terraform must not do: each rule takes a folder, and says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

from terraform_code import Folder, blocks, statements

TAGS = ("Project", "Environment", "ManagedBy", "CostCenter")
WORLD = ("0.0.0.0/0", "::/0")
# The one door, and the way out of machines that have no mirror of packages in their VPC.
OPEN = {
    "aws_vpc_security_group_ingress_rule.alb_https": "users call the load balancer: TLS on 443",
    "aws_vpc_security_group_egress_rule.outside": "kubeadm's nodes fetch packages and images",
}
# Statements that may say `*`, by their Sid.
WILD = {
    "IamDecides": "a key's own policy: without it nobody administers the key",
    "LogsOfThisEnvironment": "a key's own policy: its resource is that key",
    "FileSystemsOfTheModels": "a key's own policy: its resource is that key",
    "LogsOfExperiments": "a key's own policy: its resource is that key",
    "FlowLogs": "a key's own policy: its resource is that key",
    "Look": "read calls that know no resources",
    "FindMachines": "a read call that knows no resources",
    "WriteLogs": "connecting FIS to its log group knows no resources",
}


def undocumented(folder: Folder) -> Iterator[str]:
    """Every variable is typed, described and validated; every output is described."""
    for name, body in folder.variables.items():
        for key in ("type", "description", "validation"):
            if not body.get(key):
                yield f"{folder.name}: variable {name} has no {key}"
    for name, body in folder.outputs.items():
        if not body.get("description"):
            yield f"{folder.name}: output {name} has no description"


def public_buckets(folder: Folder) -> Iterator[str]:
    """Every bucket is closed, versioned, encrypted, TLS only, and drops unfinished uploads."""
    for bucket in folder.of("aws_s3_bucket"):
        mine = f"${{aws_s3_bucket.{bucket.name}.id}}"
        parts = {
            each.kind: each.body for each in folder.resources if each.body.get("bucket") == mine
        }
        closed = parts.get("aws_s3_bucket_public_access_block", {})
        for key in (
            "block_public_acls",
            "block_public_policy",
            "ignore_public_acls",
            "restrict_public_buckets",
        ):
            if closed.get(key) is not True:
                yield f"{folder.name}: {bucket.address} can become public: {key} is not true"
        for kind in (
            "versioning",
            "server_side_encryption_configuration",
            "lifecycle_configuration",
        ):
            if f"aws_s3_bucket_{kind}" not in parts:
                yield f"{folder.name}: {bucket.address} has no {kind}"
        if "aws:SecureTransport" not in str(
            parts.get("aws_s3_bucket_policy", {}).get("policy", "")
        ):
            yield f"{folder.name}: {bucket.address} can be read without TLS"
        if "abort_incomplete_multipart_upload" not in str(parts):
            yield f"{folder.name}: {bucket.address} keeps unfinished uploads"


def unencrypted(folder: Folder) -> Iterator[str]:
    """Every disk, table, file system, log, queue and registry is encrypted."""
    for each in folder.resources:
        for mapping in blocks(each.body, "block_device_mappings"):
            for disk in blocks(mapping, "ebs"):
                if disk.get("encrypted") is not True:
                    yield f"{folder.name}: {each.address} has a disk that is not encrypted"
        if each.kind == "aws_instance" and not all(
            disk.get("encrypted") is True for disk in blocks(each.body, "root_block_device") or [{}]
        ):
            yield f"{folder.name}: {each.address} has a disk that is not encrypted"
        wanted = {
            "aws_dynamodb_table": "server_side_encryption",
            "aws_fsx_lustre_file_system": "kms_key_id",
            "aws_ecr_repository": "encryption_configuration",
            "aws_cloudwatch_log_group": "kms_key_id",
            "aws_eks_cluster": "encryption_config",
            "aws_sqs_queue": "sqs_managed_sse_enabled",
            "aws_prometheus_workspace": "kms_key_arn",
        }.get(each.kind)
        if wanted and not each.body.get(wanted):
            yield f"{folder.name}: {each.address} has no {wanted}"


def open_to_the_world(folder: Folder) -> Iterator[str]:
    """No rule of a security group names the whole internet but those of `OPEN`."""
    for each in folder.resources:
        if not each.kind.startswith(("aws_security_group", "aws_vpc_security_group")):
            continue
        if any(world in str(each.body) for world in WORLD) and each.address not in OPEN:
            yield f"{folder.name}: {each.address} is open to the world"
        if each.kind == "aws_security_group" and {"ingress", "egress"} & set(each.body):
            yield f"{folder.name}: {each.address} has rules of its own instead of resources"


def wild_policies(folder: Folder) -> Iterator[str]:
    """No policy allows all actions of a service, or anything on everything, but those of `WILD`."""
    for each in statements(folder.text):
        if re.search(r'Effect\s*=\s*"Deny"', each) or sid(each) in WILD:
            continue
        action = re.search(r"\bAction\s*=\s*(\[.*?\]|[^\n]+)", each, re.DOTALL)
        resource = re.search(r"\bResource\s*=\s*(\[.*?\]|[^\n]+)", each, re.DOTALL)
        if action and re.search(r'"(?:[a-z0-9-]+:)?[A-Za-z]*\*"', action[1]):
            yield f"{folder.name}: {sid(each) or 'a statement'} allows actions by wildcard"
        if resource and re.search(r'"\*"', resource[1]):
            yield f"{folder.name}: {sid(each) or 'a statement'} allows on every resource"


def sid(statement: str) -> str:
    """Return a statement's Sid; empty without one."""
    found = re.search(r'\bSid\s*=\s*"(\w+)"', statement)
    return found[1] if found else ""


def untagged(folder: Folder) -> Iterator[str]:
    """A root tags everything and checks it; templates tag what EC2 launches."""
    if 'provider "aws"' in folder.text:
        if "default_tags" not in folder.text:
            yield f"{folder.name}: the provider has no default_tags"
        for tag in TAGS:
            if not re.search(rf"^\s+{tag}\s+= ", folder.text, re.MULTILINE):
                yield f"{folder.name}: default_tags lack {tag}"
        if "bootstrap" not in folder.name and "tags" not in folder.checks:
            yield f"{folder.name}: nothing checks the tags"
    for template in folder.of("aws_launch_template"):
        if "tag_specifications" not in str(template.body):
            yield f"{folder.name}: {template.address} launches machines without tags"


def weak_machines(folder: Folder) -> Iterator[str]:
    """Machines take version 2 of the metadata service only, one hop away; their pods cannot ask."""
    for each in (*folder.of("aws_launch_template"), *folder.of("aws_instance")):
        options = (blocks(each.body, "metadata_options") or [{}])[0]
        if options.get("http_tokens") != "required":
            yield f"{folder.name}: {each.address} answers version 1 of the metadata service"
        if options.get("http_put_response_hop_limit") != 1:
            yield f"{folder.name}: {each.address} lets pods reach the node's credentials"


def unpinned(folder: Folder) -> Iterator[str]:
    """Terraform, providers and charts have versions."""
    if not str(folder.settings.get("required_version", "")).startswith(">= 1."):
        yield f"{folder.name}: required_version is missing"
    providers = {
        name: body
        for block in folder.settings.get("required_providers", [])
        for name, body in block.items()
    }
    wanted = {"aws": ">= 6.28, < 7.0", "helm": ">= 3.0, < 4.0"}
    for name, body in providers.items():
        if body.get("version") != wanted.get(name):
            yield f"{folder.name}: provider {name}: expected {wanted.get(name)}, found {body}"
    if "aws" not in providers:
        yield f"{folder.name}: the AWS provider is not pinned"
    for release in folder.of("helm_release"):
        if not release.body.get("version"):
            yield f"{folder.name}: {release.address} installs whatever is newest"


RULES = (
    undocumented,
    public_buckets,
    unencrypted,
    open_to_the_world,
    wild_policies,
    untagged,
    weak_machines,
    unpinned,
)
