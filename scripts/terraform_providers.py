#!/usr/bin/env python3
"""Build the Terraform providers that our files need from their Go modules.

    make terraform-providers     # needs Go: ten minutes of a processor, or one with Go's cache warm

For `terraform validate` and tests with mocked providers, where Terraform's registry cannot be
reached; where it can, `terraform providers mirror` gives the released ones. What comes out lies as
in a mirror, in .tools/terraform-providers/, and tests/deploy/terraform looks there. The schemas are
the real ones. AWS's provider is cut down to the services whose resources our files name, 23 of its
266, as compiling is what takes the time; it is optimised for nothing and not meant to apply
anything.

Go checks each module against its public log of checksums; it is held against ours here. Does
nothing when the providers, and the services that they have, are as asked for. Ends with 69 and one
line where Go is missing or a module cannot be had.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools"
MIRROR = TOOLS / "terraform-providers"
EXIT_MISSING = 69
BUILD_TIMEOUT_S = 3600.0
_AWS = "github.com/hashicorp/terraform-provider-aws"
_SERVICES = f"{_AWS}/internal/service/"
_SDK = "github.com/aws/aws-sdk-go-v2/service/"
# What its own provider code asks of any account.
_ALWAYS = {"meta", "sts"}


class UnavailableError(Exception):
    """A provider cannot be built here; the text says why and what to do."""


@dataclass(frozen=True)
class Provider:
    """A provider to be built.

    Attributes:
        name: as in `required_providers`, of hashicorp.
        version: of the release that this commit became.
        module, commit: Go's name and version of it. Releases from 2 on cannot be named by their
            tags, since the module's path does not end with their number.
        checksum: Go's, of the module.
    """

    name: str
    version: str
    module: str
    commit: str
    checksum: str

    @property
    def binary(self) -> Path:
        """Where it lies in the mirror."""
        platform = "_".join(_output("go", "env", "GOOS", "GOARCH").split())
        folder = MIRROR / "registry.terraform.io/hashicorp" / self.name / self.version / platform
        return folder / f"terraform-provider-{self.name}_v{self.version}"


PROVIDERS = (
    Provider(
        "aws",
        "6.47.1",
        _AWS,
        "v1.60.1-0.20260602190131-5f2286d6d836",
        "h1:haLmsj0WF7e6d2TGbk0fbz5qWdA9f8w9sNpMe6J6WqM=",
    ),
    Provider(
        "helm",
        "3.2.0",
        "github.com/hashicorp/terraform-provider-helm",
        "v1.3.3-0.20260629194918-a4f1c1d8b008",
        "h1:9ET6rZv2lPDwYWdgp5AeSZ7/ONcyZrkKwJGt1I3OZcg=",
    ),
)


def main() -> int:
    """Build what is not there yet; return an exit code."""
    try:
        for provider in PROVIDERS:
            _provide(provider)
    except UnavailableError as error:
        print(f"terraform providers: {error}", file=sys.stderr)
        return EXIT_MISSING
    return 0


def used_types(folders: Iterable[Path]) -> set[str]:
    """Return the types of AWS's resources and data sources that the .tf files below name."""
    files = [path for folder in folders for path in folder.rglob("*.tf")]
    found = re.compile(r'^(?:resource|data|ephemeral) "(aws_[a-z0-9_]+)"', re.MULTILINE)
    return {name for path in files for name in found.findall(path.read_text(encoding="utf-8"))}


def services_of(types: Iterable[str], source: Path) -> set[str]:
    """Return which of the provider's service packages in `source` have these types.

    Raises:
        UnavailableError: a type is none of the provider's.
    """
    owner = {
        name: path.parent.name
        for path in source.glob("internal/service/*/service_package_gen.go")
        for name in re.findall(r'TypeName:\s+"(aws_[a-z0-9_]+)"', path.read_text(encoding="utf-8"))
    }
    if unknown := sorted(set(types) - owner.keys()):
        raise UnavailableError(f"expected resources of AWS's provider, found {', '.join(unknown)}")
    return _ALWAYS | {owner[name] for name in types}


def cut(source: Path, services: set[str]) -> None:
    """Take all other services out of the provider in `source`, and the clients only they used."""
    path = source / "internal/provider/sdkv2/service_packages_gen.go"
    named = re.compile(rf'\s*(?:"{_SERVICES}(\w+)"|(\w+)\.ServicePackage\(ctx\),)$')
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [
        line for line in lines if not (one := named.match(line)) or (one[1] or one[2]) in services
    ]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    clients = source / "internal/conns/awsclient_gen.go"
    used = _sdks(source, clients)
    head, *functions = re.split(r"(?m)^(?=func )", clients.read_text(encoding="utf-8"))
    dropped = set()
    lines = []
    for line in head.splitlines():
        imported = re.match(rf'\s*(?:(\w+) )?"{_SDK}(\w+)"$', line)
        if imported and imported[2] not in used:
            dropped.add(imported[1] or imported[2])
        else:
            lines.append(line)
    text = "\n".join(lines) + "\n\n"
    for function in functions:
        client = re.search(r"\*(\w+)\.Client \{", function)
        if not client or client[1] not in dropped:
            text += function
    clients.write_text(text, encoding="utf-8")


def _sdks(source: Path, clients: Path) -> set[str]:
    """Return the SDK's services that anything imports which the program needs, `clients` aside."""
    seen: set[str] = set()
    used: set[str] = set()
    todo = ["."]
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        for path in (source / package).glob("*.go"):
            head = path.read_text(encoding="utf-8").split("\nfunc ")[0]
            imports = re.findall(r'^\s*(?:\w+ )?"([^"\s]+)"$', head, re.MULTILINE)
            todo += [name.removeprefix(f"{_AWS}/") for name in imports if name.startswith(_AWS)]
            if path != clients:
                used |= {
                    name.removeprefix(_SDK).split("/")[0]
                    for name in imports
                    if name.startswith(_SDK)
                }
    return used


def _module(provider: Provider) -> Path:
    """Download the provider's module; return its folder, which is read-only."""
    if shutil.which("go") is None:
        raise UnavailableError(
            "expected Go on PATH to build providers with, found none: install it"
        )
    name = f"{provider.module}@{provider.commit}"
    done = subprocess.run(
        ["go", "mod", "download", "-json", name],
        cwd=ROOT / "scripts/helm",
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise UnavailableError(f"{name} cannot be had: {said[-1] if said else 'no reason given'}")
    found = json.loads(done.stdout)
    if found["Sum"] != provider.checksum:
        raise UnavailableError(
            f"{name}: expected the checksum {provider.checksum}, found {found['Sum']}"
        )
    return Path(found["Dir"])


def _provide(provider: Provider) -> None:
    module = _module(provider)
    services: set[str] = set()
    if provider.module == _AWS:
        types = used_types([ROOT / "platform/terraform", ROOT / "terraform"])
        services = services_of(types, module)
    note = TOOLS / f"terraform-provider-{provider.name}.json"
    built_from = json.dumps({"checksum": provider.checksum, "services": sorted(services)})
    if provider.binary.exists() and note.exists() and note.read_text() == built_from:
        return
    print(f"terraform providers: {provider.name} {provider.version} … ", end="", flush=True)
    began_s = time.monotonic()
    note.unlink(missing_ok=True)
    source = TOOLS / f"terraform-provider-{provider.name}"
    _copy(module, source)
    if services:
        cut(source, services)
    provider.binary.parent.mkdir(parents=True, exist_ok=True)
    _build(provider, source)
    shutil.rmtree(source)
    note.write_text(built_from, encoding="utf-8")
    print(f"{time.monotonic() - began_s:.0f} s", flush=True)


def _build(provider: Provider, source: Path) -> None:
    log = TOOLS / "terraform-providers.log"
    command = ["go", "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-gcflags=all=-N -l"]
    command += ["-ldflags", "-s -w", "-o", str(provider.binary), "."]
    with log.open("w", encoding="utf-8") as written:
        built = subprocess.run(
            command,
            cwd=source,
            stdout=written,
            stderr=subprocess.STDOUT,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
    if built.returncode:
        last = (log.read_text(encoding="utf-8").strip().splitlines() or ["nothing"])[-1]
        raise UnavailableError(
            f"go build of {provider.name}: {last} (all of it: .tools/{log.name})"
        )


def _copy(module: Path, to: Path) -> None:
    """Copy a module of Go's cache to where it may be changed, without its tests."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(module, to, ignore=shutil.ignore_patterns("*_test.go", "testdata", "website"))
    for path in [to, *to.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
