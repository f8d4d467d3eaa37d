"""Which platform a target's name leads to: what was left up is a local one's only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faultload.run import platform
from faultload.run.platform import PlatformUp, attach_or_start
from faultload.spec import Catalogue, KubernetesTargetSpec, TargetSpec

ROOT = Path(__file__).parents[3]


def test_cluster_of_the_same_name_is_not_what_was_left_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name says nothing: a local platform left up as `staging` is no cluster."""
    (tmp_path / "targets").mkdir()
    (tmp_path / "experiments").mkdir()
    shutil.copy(ROOT / "targets/staging.example.yaml", tmp_path / "targets/staging.yaml")
    left_up = PlatformUp("staging", 1, "http://x", "http://x", "", "/state")
    monkeypatch.setattr(platform, "find_platform", lambda _: left_up)
    monkeypatch.setattr(platform, "attach", pytest.fail)
    opened: list[TargetSpec] = []
    monkeypatch.setattr(platform, "connect", lambda spec, *_: opened.append(spec))

    attach_or_start(Catalogue(tmp_path), "staging", [])

    assert [type(one) for one in opened] == [KubernetesTargetSpec]
