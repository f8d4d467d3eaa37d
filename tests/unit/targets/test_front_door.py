"""What the front door wants is in the target file, for load of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from faultload.spec import load_target
from faultload.targets.kubernetes import KubernetesTarget

ROOT = Path(__file__).parents[3]


def test_added_load_is_let_in_as_the_workload_is(tmp_path: Path) -> None:
    """The authorities are relative to the target file, and of the key only its name is known."""
    shipped = (ROOT / "targets" / "staging.example.yaml").read_text(encoding="utf-8")
    path = tmp_path / "staging.yaml"
    path.write_text(f"{shipped}\nload: {{ca: ca.pem, api_key_env: THE_KEY}}\n", encoding="utf-8")
    nothing = cast("Any", None)  # no call goes to the cluster
    target = KubernetesTarget(
        cast("Any", load_target(path)), nothing, {"target_file": str(path), "kubeconfig": "none"}
    )

    door = target.endpoints

    assert door.inference_url == "https://llm.staging.example.com"
    assert (door.ca, door.api_key_env) == (tmp_path / "ca.pem", "THE_KEY")
