"""Terraform run for real: its format, and what variables accept, for which no provider is needed.

With providers at hand everything is validated and planned with mocked providers as well: those that
`make terraform-providers` built, or a folder that `terraform providers mirror` filled, which
`FAULTLOAD_TF_PROVIDERS` names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import terraform_stubs
from terraform_code import ENVIRONMENTS, FOLDERS, HARNESS, PLATFORM, ROOT, source

_TIMEOUT_S = 300
_PROVIDERS = Path(os.environ.get("FAULTLOAD_TF_PROVIDERS") or ROOT / ".tools/terraform-providers")
_SCRIPTS = sorted((PLATFORM / "environments/kubeadm/scripts").glob("*.sh"))
_GOOD = {
    "cost_center": '"inference"',
    "admin_role_arns": '["arn:aws:iam::111122223333:role/admin"]',
    "model_bucket_name": '"example-models"',
    "domain": '{ name = "llm.example.com", zone_id = "Z0123" }',
    "budget_emails": '["platform@example.com"]',
}


def _label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        why = f"{program} is not on PATH"
        if os.environ.get("FAULTLOAD_REQUIRE_PLATFORM_TOOLS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return found


def _terraform(cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    program = _need("terraform")
    # No settings of the machine: a mirror or credentials there would change what is tested.
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("TF_", "AWS_"))
    }
    environment |= {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
    return subprocess.run(
        [program, *args, "-no-color"],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def _said(result: subprocess.CompletedProcess[str]) -> str:
    return f"{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("path", [PLATFORM, HARNESS], ids=_label)
def test_format(path: Path) -> None:
    """Every file is as `terraform fmt` writes it."""
    done = _terraform(path, "fmt", "-check", "-recursive")
    assert done.returncode == 0, _said(done)


@pytest.mark.parametrize(
    "path", [each for each in FOLDERS if (each / "tests/variables.tftest.hcl").exists()], ids=_label
)
def test_variables_refuse_what_they_should(path: Path, tmp_path: Path) -> None:
    """Each folder's native test of its variables holds: run on variables and pure locals alone."""
    (tmp_path / "tests").mkdir()
    for name in ("variables.tf", "locals.tf"):
        if (path / name).exists():
            shutil.copy(path / name, tmp_path)
    native = (path / "tests/variables.tftest.hcl").read_text()
    mocks = r"^mock_provider [^\n]*(?:\{\}|\{\n.*?^\})\n"
    (tmp_path / "tests/variables.tftest.hcl").write_text(
        re.sub(mocks, "", native, flags=re.MULTILINE | re.DOTALL)
    )
    assert _terraform(tmp_path, "init", "-backend=false", "-input=false").returncode == 0
    done = _terraform(tmp_path, "test")
    assert done.returncode == 0, _said(done)
    assert native.count("\nrun ") == done.stdout.count("... pass") - 1, done.stdout


def _shape(path: Path, tmp_path: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Plan an environment's arguments against the variables of modules/platform alone."""
    modules = tmp_path / "modules/platform"
    root = tmp_path / "environments" / path.name
    modules.mkdir(parents=True)
    root.mkdir(parents=True)
    shutil.copy(PLATFORM / "modules/platform/variables.tf", modules)
    shutil.copy(path / "variables.tf", root)
    main = re.sub(
        r"^(?:data|check) .*?^\}\n|^data .*\{\}\n",
        "",
        (path / "main.tf").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    (root / "main.tf").write_text(main)
    (root / "terraform.tfvars").write_text(
        "".join(f"{key} = {value}\n" for key, value in given.items())
    )
    initialised = _terraform(root, "init", "-backend=false", "-input=false")
    assert initialised.returncode == 0, _said(initialised)
    return _terraform(root, "plan", "-input=false", "-refresh=false", "-lock=false")


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=_label)
def test_environments_fit_the_platform(path: Path, tmp_path: Path) -> None:
    """An environment's arguments have the types, and pass the validations, of modules/platform."""
    done = _shape(path, tmp_path, _GOOD)
    assert done.returncode == 0, _said(done)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("public_access_cidrs", '["0.0.0.0/0"]', "never 0.0.0.0/0"),
        (
            "domain",
            '{ name = "not a name", zone_id = "Z0123" }',
            "expected a name like llm.example.com",
        ),
        ("zones", '["us-east-1a", "us-east-1a", "us-east-1b"]', "three different zones"),
        ("budget_emails", "[]", "one address or more"),
    ],
)
def test_environments_refuse_what_they_should(
    name: str, value: str, expected: str, tmp_path: Path
) -> None:
    """A bad input is one clear line before anything is asked of AWS."""
    done = _shape(ENVIRONMENTS[0], tmp_path, _GOOD | {name: value})
    assert done.returncode == 1
    assert expected in " ".join(_said(done).replace("│", " ").split())


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=_label)
def test_gpu_groups_obey_their_module(path: Path, tmp_path: Path) -> None:
    """Every environment's GPU groups pass the validations of modules/gpu-nodes."""
    groups = re.search(
        r"^  gpu_groups = (\{.*?^  \})", (path / "main.tf").read_text(), re.MULTILINE | re.DOTALL
    )
    assert groups
    module = PLATFORM / "modules/gpu-nodes"
    for name in ("variables.tf", "locals.tf"):
        shutil.copy(module / name, tmp_path)
    good = (module / "tests/variables.tftest.hcl").read_text()
    others = re.search(r"^variables \{\n(.*?)^  groups = ", good, re.MULTILINE | re.DOTALL)
    assert others
    (tmp_path / "terraform.tfvars").write_text(f"{others[1]}\ngroups = {groups[1]}\n")
    assert _terraform(tmp_path, "init", "-backend=false", "-input=false").returncode == 0
    done = _terraform(tmp_path, "plan", "-input=false", "-lock=false")
    assert done.returncode == 0, _said(done)


@pytest.mark.parametrize(
    "path", [each for each in FOLDERS if (each / "tests/variables.tftest.hcl").exists()], ids=_label
)
def test_expressions_evaluate(path: Path, tmp_path: Path) -> None:
    """Local values and policies have consistent types, with texts in place of AWS's answers."""
    assert terraform_stubs.write(path, tmp_path) > 0
    good = (path / "tests/variables.tftest.hcl").read_text()
    values = re.search(r"^variables \{\n(.*?)^\}", good, re.MULTILINE | re.DOTALL)
    assert values
    (tmp_path / "terraform.tfvars").write_text(values[1])
    assert _terraform(tmp_path, "init", "-backend=false", "-input=false").returncode == 0
    done = _terraform(tmp_path, "plan", "-input=false", "-lock=false")
    assert done.returncode == 0, _said(done)


def test_karpenter_manifests_are_yaml(tmp_path: Path) -> None:
    """The node pools of every group render, with the groups' taints, types and GPUs as limits."""
    import yaml

    module = PLATFORM / "modules/gpu-nodes"
    for name in ("variables.tf", "locals.tf", "karpenter.yaml.tftpl"):
        shutil.copy(module / name, tmp_path)
    call = re.search(
        r"karpenter_manifests = (templatefile\(.*?^  \}\))",
        source(module),
        re.MULTILINE | re.DOTALL,
    )
    assert call
    rendered = re.sub(r"one\(aws_iam_instance_profile.*?\)", '"profile"', call[1])
    (tmp_path / "output.tf").write_text(f'output "rendered" {{\n  value = {rendered}\n}}\n')
    good = (module / "tests/variables.tftest.hcl").read_text()
    values = re.search(r"^variables \{\n(.*?)^\}", good, re.MULTILINE | re.DOTALL)
    assert values
    (tmp_path / "terraform.tfvars").write_text(values[1])
    assert _terraform(tmp_path, "init", "-backend=false", "-input=false").returncode == 0
    applied = _terraform(tmp_path, "apply", "-auto-approve", "-input=false")
    assert applied.returncode == 0, _said(applied)
    text = _terraform(tmp_path, "output", "-raw", "rendered").stdout
    node_class, *pools = yaml.safe_load_all(text)
    assert node_class["kind"] == "EC2NodeClass"
    assert node_class["spec"]["metadataOptions"]["httpPutResponseHopLimit"] == 1
    by_name = {pool["metadata"]["name"]: pool["spec"] for pool in pools}
    assert set(by_name) == {"spot", "on-demand"}
    assert {taint["key"] for taint in by_name["spot"]["template"]["spec"]["taints"]} == {
        "nvidia.com/gpu",
        "faultload.io/spot",
    }
    assert by_name["on-demand"]["limits"] == {"nvidia.com/gpu": 4}
    assert by_name["spot"]["disruption"]["consolidationPolicy"] == "WhenEmpty"


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path) -> None:
    """User data is valid bash, stops at the first error and pins what it installs."""
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert not re.search(r"\blatest\b|/main/|/master/", text)


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_linted(script: Path) -> None:
    """ShellCheck has nothing to say of user data."""
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not on PATH")
    checked = subprocess.run([program, script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.skipif(
    not _PROVIDERS.is_dir(), reason=f"{_PROVIDERS} holds no providers: make terraform-providers"
)
@pytest.mark.parametrize("path", FOLDERS, ids=_label)
def test_validate_and_plan_with_mocked_providers(path: Path, tmp_path: Path) -> None:
    """With the providers' schemas at hand, every folder validates and its native tests hold."""
    tree = tmp_path / "tree"
    skipped = shutil.ignore_patterns(".terraform*", "*.tfstate*")
    shutil.copytree(PLATFORM, tree / "platform/terraform", ignore=skipped)
    shutil.copytree(HARNESS, tree / "terraform", ignore=skipped)
    folder = tree / _label(path)
    for args in (
        ("init", "-backend=false", "-input=false", f"-plugin-dir={_PROVIDERS}"),
        ("validate",),
        ("test",),
    ):
        done = _terraform(folder, *args)
        assert done.returncode == 0, _said(done)
