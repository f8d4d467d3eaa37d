"""Secrets are named in the files that people write, and never written out there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from faultload.errors import MissingError, SpecError
from faultload.secrecy import redacted
from faultload.spec import load_experiment, load_scenario, load_target
from faultload.spec.clear_text import keep_experiment_secrets
from faultload.spec.target import KubernetesTargetSpec, PrometheusSignIn

ROOT = Path(__file__).parents[3]
SECRET = "pl4nted-s3cret"


def changed(tmp_path: Path, source: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a changed copy of a shipped file."""
    document = yaml.safe_load((ROOT / source).read_text(encoding="utf-8"))
    change(document)
    path = tmp_path / Path(source).name
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def refused(read: Callable[[Path], object], path: Path) -> SpecError:
    """Return the error of reading a file, which must not say the secret."""
    with pytest.raises(SpecError) as raised:
        read(path)
    assert SECRET not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("change", "key", "remedy"),
    [
        (
            lambda d: d["kubernetes"].update(inference_url=f"https://eva:{SECRET}@llm"),
            "kubernetes.inference_url",
            "load.api_key_env",
        ),
        (
            lambda d: d["kubernetes"].update(prometheus_url=f"https://p?token={SECRET}"),
            "kubernetes.prometheus_url",
            "kubernetes.prometheus_sign_in",
        ),
        (lambda d: d.update(load={"api_key": SECRET}), "load.api_key", "environment variable"),
        (lambda d: d.update(load={"api_key_env": SECRET}), "load.api_key_env", "NAME"),
        (
            lambda d: d["kubernetes"].update(prometheus_sign_in={"bearer_token_env": SECRET}),
            "kubernetes.prometheus_sign_in.bearer_token_env",
            "NAME",
        ),
        (
            lambda d: d.update(preflight=[{"name": "a", "command": ["./a", "--token", SECRET]}]),
            "preflight[0].command",
            "(a value of the flag --token)",
        ),
        (
            lambda d: d["kubernetes"].update(prometheus_sign_in=SECRET),
            "kubernetes.prometheus_sign_in",
            "bearer_token_env: NAME",
        ),
    ],
)
def test_target_files_name_variables(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], key: str, remedy: str
) -> None:
    """A credential in a URL or under any key is refused, with the key that takes its name."""
    error = refused(load_target, changed(tmp_path, "targets/staging.example.yaml", change))
    assert error.key == key
    assert remedy in error.problem


def _probe(document: dict[str, Any], **provider: Any) -> None:
    probe = {"type": "probe", "name": "p", "tolerance": True, "provider": provider}
    document["steady-state-hypothesis"]["probes"].append(probe)


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        (
            lambda d: d["configuration"].update(api_key=SECRET),
            "configuration.api_key",
            "environment variable",
        ),
        (
            lambda d: d.update(secrets={"api": {"pin": SECRET}}),
            "secrets.api.pin",
            "type: env",
        ),
        (
            lambda d: d.update(secrets={"pin": {"type": "env", "key": "X", "default": SECRET}}),
            "secrets.pin.default",
            "leave it out",
        ),
        (
            lambda d: _probe(d, type="http", url="http://h", headers={"Authorization": SECRET}),
            "steady-state-hypothesis.probes[2].provider.headers.Authorization",
            "${…}",
        ),
        (
            lambda d: _probe(d, type="http", url=f"http://h/?api_key={SECRET}"),
            "steady-state-hypothesis.probes[2].provider.url",
            "${…}",
        ),
        (
            lambda d: d.update(description=f"as http://eva:{SECRET}@h says"),
            "description",
            "environment variable",
        ),
        (
            lambda d: d["extensions"].append({"name": "theirs", "webhook_secret": SECRET}),
            "extensions[1].webhook_secret",
            "environment variable",
        ),
    ],
)
def test_experiments_take_secrets_from_the_environment(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], key: str, said: str
) -> None:
    """Nothing is written out, whatever it is for."""
    path = changed(tmp_path, "experiments/engine/replica-loss.yaml", change)
    error = refused(load_experiment, path)
    assert error.key == key
    assert said in error.problem


def test_other_files_are_held_to_it_too(tmp_path: Path) -> None:
    """Whatever is read is copied: a scenario for one."""
    path = changed(
        tmp_path,
        "scenarios/chat-steady.yaml",
        lambda d: d.update(description=f"Authorization: Bearer {SECRET}"),
    )
    assert refused(load_scenario, path).key == "description"


def test_what_is_no_secret_is_let_be(tmp_path: Path) -> None:
    """Stock experiments name their context in `secrets`; ${…} is where secrets belong."""

    def change(document: dict[str, Any]) -> None:
        named = {"KUBERNETES_CONTEXT": "minikube", "pin": {"type": "env", "key": "PIN"}}
        document["secrets"] = {"k8s": named}
        _probe(document, type="http", url="http://h", headers={"Authorization": "Bearer ${pin}"})

    load_experiment(changed(tmp_path, "experiments/engine/replica-loss.yaml", change))


def test_secrets_of_an_experiment_are_hidden_once_it_is_read() -> None:
    """All of `secrets`, and what is named like one in `configuration`."""
    variable = {"type": "env", "key": "A"}
    raw = {
        "secrets": {"api": {"pin": variable | {"key": "PIN"}}},
        "configuration": {"api_key": variable | {"key": "KEY"}, "zone": variable | {"key": "ZONE"}},
    }
    keep_experiment_secrets(raw, {"PIN": "pin-864213", "KEY": "key-864213", "ZONE": "zone-864213"})
    assert redacted("pin-864213 key-864213 zone-864213") == "*** *** zone-864213"


def test_prometheus_is_signed_in_to_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bearer token, or a name and a password; what is sent is hidden from then on."""
    monkeypatch.setenv("PROM", f"{SECRET}-sent\n")
    bearer = PrometheusSignIn(bearer_token_env="PROM").headers()
    basic = PrometheusSignIn(username="eva", password_env="PROM").headers()

    assert bearer == {"Authorization": f"Bearer {SECRET}-sent"}
    assert basic == {"Authorization": "Basic ZXZhOnBsNG50ZWQtczNjcmV0LXNlbnQ="}
    assert redacted(f"x {bearer['Authorization'][7:]} {basic['Authorization'][6:]}") == "x *** ***"
    monkeypatch.delenv("PROM")
    with pytest.raises(MissingError, match="PROM .to sign in to Prometheus with. is not set"):
        PrometheusSignIn(bearer_token_env="PROM").headers()


@pytest.mark.parametrize(
    "given",
    [{}, {"username": "eva"}, {"password_env": "P"}, {"bearer_token_env": "T", "username": "eva"}],
)
def test_there_is_one_way_to_sign_in(tmp_path: Path, given: dict[str, str]) -> None:
    """Neither none nor both."""
    path = changed(
        tmp_path,
        "targets/staging.example.yaml",
        lambda d: d["kubernetes"].update(prometheus_sign_in=given),
    )
    assert "bearer_token_env, or username" in refused(load_target, path).problem


def test_the_example_can_sign_in(tmp_path: Path) -> None:
    """What the documents show is read as they say."""
    path = changed(
        tmp_path,
        "targets/staging.example.yaml",
        lambda d: d["kubernetes"].update(prometheus_sign_in={"bearer_token_env": "PROM"}),
    )
    spec = load_target(path)
    assert isinstance(spec, KubernetesTargetSpec)
    assert spec.kubernetes.prometheus_sign_in == PrometheusSignIn(bearer_token_env="PROM")
