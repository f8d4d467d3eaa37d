"""What is left of AWS's provider when it is cut down to what our Terraform files use."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
_AWS = "github.com/hashicorp/terraform-provider-aws"
_SDK = "github.com/aws/aws-sdk-go-v2/service"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return the script as a module."""
    path = ROOT / "scripts/terraform_providers.py"
    spec = importlib.util.spec_from_file_location("terraform_providers", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Its data class looks its own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    """Make a provider of three services, laid out as AWS's; `eks` asks `ec2`'s client, too."""
    files = {
        "main.go": f'import (\n\t"{_AWS}/internal/provider/sdkv2"\n)\n',
        "internal/provider/sdkv2/service_packages_gen.go": "import (\n"
        f'\t"{_AWS}/internal/conns"\n'
        + "".join(f'\t"{_AWS}/internal/service/{name}"\n' for name in ("ec2", "eks", "xray"))
        + ")\n\nfunc all() {\n\teks.ServicePackage(ctx),\n\txray.ServicePackage(ctx),\n}\n",
        "internal/conns/awsclient_gen.go": "import (\n"
        f'\t"{_SDK}/ec2"\n\t"{_SDK}/eks"\n\tray "{_SDK}/xray"\n)\n\n'
        "func (c *C) EC2() *ec2.Client {\n}\n\nfunc (c *C) EKS() *eks.Client {\n}\n\n"
        "func (c *C) XRay() *ray.Client {\n}\n",
    }
    for name, imported in {"ec2": "ec2", "eks": "ec2", "xray": "xray"}.items():
        files[f"internal/service/{name}/service_package_gen.go"] = (
            f'import (\n\t"{_SDK}/{imported}/types"\n\t"{_SDK}/{name}"\n)\n\n'
            f'func x() {{\n\tTypeName: "aws_{name}_thing",\n}}\n'
        )
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_only_what_is_named_is_used(script: ModuleType, tmp_path: Path) -> None:
    """Resources and data sources of AWS count, wherever they stand; other providers' do not."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/main.tf").write_text(
        'resource "aws_vpc" "this" {}\ndata "aws_region" "here" {}\n'
        'resource "helm_release" "x" {}\n# resource "aws_eip" "no" {}\n'
    )
    assert script.used_types([tmp_path]) == {"aws_vpc", "aws_region"}


def test_a_type_of_nobody_is_refused(script: ModuleType, provider: Path) -> None:
    """A resource that no service of the provider has would fail in Terraform with less to go on."""
    assert script.services_of({"aws_eks_thing"}, provider) == {"meta", "sts", "eks"}
    with pytest.raises(script.UnavailableError, match="aws_nonsense"):
        script.services_of({"aws_nonsense"}, provider)


def test_cut_leaves_what_is_kept_whole(script: ModuleType, provider: Path) -> None:
    """Services that are not asked for go, with clients that nothing left imports; others stay."""
    script.cut(provider, {"eks", "meta", "sts"})
    packages = (provider / "internal/provider/sdkv2/service_packages_gen.go").read_text()
    assert "internal/service/eks" in packages
    assert "eks.ServicePackage" in packages
    assert "xray" not in packages
    assert "internal/service/ec2" not in packages
    assert "internal/conns" in packages
    clients = (provider / "internal/conns/awsclient_gen.go").read_text()
    assert "EKS()" in clients
    assert "EC2()" in clients  # because eks imports it
    assert "xray" not in clients
    assert "XRay()" not in clients


def test_each_provider_is_of_a_version_that_is_asked_for(script: ModuleType) -> None:
    """What is built is in the range of `required_providers`, else Terraform would not take it."""
    text = (ROOT / "platform/terraform/modules/observability/versions.tf").read_text()
    for provider in script.PROVIDERS:
        major = int(provider.version.split(".")[0])
        assert f"hashicorp/{provider.name}" in text
        assert f"< {major + 1}.0" in text
