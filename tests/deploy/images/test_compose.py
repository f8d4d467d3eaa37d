"""platform/compose.yaml: a file that Compose takes, of programs that take their arguments."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from platform_tools import ROOT, need, need_crds

from inference_platform.chat import __main__ as chat
from inference_platform.engine_sim import flags
from inference_platform.router import __main__ as router
from inference_platform.router.endpoints import Endpoint, EndpointsFile

COMPOSE: dict[str, Any] = yaml.safe_load(
    (ROOT / "platform/compose.yaml").read_text(encoding="utf-8")
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def _config(source: str) -> Path:
    """Return the file of a config, which says nothing else."""
    (key, path) = next(iter(COMPOSE["configs"][source].items()))
    assert (key, len(COMPOSE["configs"][source])) == ("file", 1)
    return ROOT / "platform" / path


each_service = pytest.mark.parametrize("name", SERVICES)


def test_compose_takes_it() -> None:
    """The schema is the Compose specification's own, and knows every key."""
    schema = json.loads((need_crds() / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


def test_it_is_the_platform() -> None:
    """Two engines, so that one can go; the door; its page; what it remembers by; what sees it."""
    assert list(SERVICES) == ["engine-0", "engine-1", "router", "chat", "redis", "prometheus"]


@each_service
def test_containers_have_no_rights(name: str) -> None:
    """A laptop's containers are no safer than a cluster's."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert not [one for one in service.get("volumes", []) if "docker.sock" in str(one)]


@each_service
def test_configs_are_files(name: str) -> None:
    """Compose mounts a file; an inline text it copies, and a read-only container does not start."""
    for config in SERVICES[name].get("configs", []):
        assert _config(config["source"]).is_file()


@each_service
def test_only_this_machine_gets_in(name: str) -> None:
    """Nobody signs in here, so nobody on the network is to be heard."""
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert ("outside" in service["networks"]) == bool(service.get("ports"))
    assert COMPOSE["networks"]["inside"]["internal"] is True


@each_service
def test_healthy_means_that_it_answers(name: str) -> None:
    """`up --wait` returns when the platform can be asked, and says so when it cannot."""
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how == {"condition": "service_healthy"}


@each_service
def test_images_are_pinned_or_built_here(name: str) -> None:
    """Ours from their Dockerfiles, others by a release."""
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert tag[-1].isalnum()
    assert tag != "latest"
    if "build" in service:
        context = (ROOT / "platform" / service["build"]["context"]).resolve()
        assert context == ROOT
        assert (context / service["build"]["dockerfile"]).is_file()


def test_programs_take_their_arguments() -> None:
    """A flag that was renamed would end a container at its start."""
    for name in ("engine-0", "engine-1"):
        found = flags.parse(SERVICES[name]["command"])
        assert (found.host, found.port, found.served_model_name) == ("0.0.0.0", 8000, "chat-fast")
        assert found.shutdown_timeout < int(SERVICES[name]["stop_grace_period"].rstrip("s"))
    options = router._parser().parse_args(SERVICES["router"]["command"])
    (config,) = SERVICES["router"]["configs"]
    assert str(options.endpoints) == config["target"]
    assert options.answer_timeout_s <= options.drain_s
    assert options.drain_s < int(SERVICES["router"]["stop_grace_period"].rstrip("s"))
    seen: list[list[Endpoint]] = []
    EndpointsFile(_config(config["source"]), seen.append).poll()
    (endpoints,) = seen
    assert [one.address for one in endpoints] == [("engine-0", 8000), ("engine-1", 8000)]
    assert {one.tier for one in endpoints} == {options.tiers}
    page = chat._parser().parse_args(SERVICES["chat"]["command"])
    assert page.router == f"http://router:{options.port}"
    assert options.answer_timeout_s < page.answer_timeout_s <= page.drain_s
    assert page.drain_s < int(SERVICES["chat"]["stop_grace_period"].rstrip("s"))


def test_prometheus_takes_its_file() -> None:
    """And series have the labels that queries use."""
    (config,) = SERVICES["prometheus"]["configs"]
    path = _config(config["source"])
    subprocess.run([need("promtool"), "check", "config", str(path)], check=True, timeout=60)
    jobs = {
        one["job_name"]: one for one in yaml.safe_load(path.read_text("utf-8"))["scrape_configs"]
    }
    metrics = yaml.safe_load((ROOT / "platform/observability/metrics.yaml").read_text("utf-8"))
    assert jobs.keys() == {"router", "engine"}
    for job, one in jobs.items():
        for target in one["static_configs"]:
            labels = {"job", "instance", *target.get("labels", {})}
            assert labels == set(metrics["jobs"][job]["labels"])
            (address,) = target["targets"]
            assert address.partition(":")[0] in SERVICES
