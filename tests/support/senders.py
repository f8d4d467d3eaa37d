"""Senders that send nothing: folders as theirs, for tests of what starts and ends them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from faultload.faults import traffic
from faultload.load.sender import Orders


class Senders:
    """Stands in for the processes; each lives as long as its `go` is there.

    Attributes:
        orders: of those started, in order; each is one that the real sender reads.
        says: what they say of their progress, beside the time.
        result: what each leaves; None: it ends without a word.
        deaf: they go on whatever is taken away.
        sudden: they ended right after their start.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
        self.orders: list[Orders] = []
        self.folders: list[Path] = []
        self.says: dict[str, Any] = {"due": 20, "sent": 20, "begun": 5, "refused": 0, "open": 15}
        self.result: dict[str, Any] | None = {
            "why": "told to",
            "sent": 100,
            "ok": 90,
            "refused_requests": 3,
        }
        self.deaf = False
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
        monkeypatch.setattr(traffic, "start", self._start)
        monkeypatch.setattr(traffic, "is_sending", self._is_sending)

    def _start(self, folder: Path, orders: Mapping[str, Any]) -> None:
        self.orders.append(Orders.model_validate_json(json.dumps(orders)))
        self.folders.append(folder)
        folder.mkdir(parents=True)
        (folder / "go").touch()
        told = {"unix_s": time.time(), **self.says}
        (folder / "progress.json").write_text(json.dumps(told), encoding="utf-8")

    def _is_sending(self, folder: Path) -> bool:
        if folder in self.folders and (self.deaf or (folder / "go").exists()):
            return True
        if self.result is not None and folder.is_dir():
            (folder / "result.json").write_text(json.dumps(self.result), encoding="utf-8")
        return False
