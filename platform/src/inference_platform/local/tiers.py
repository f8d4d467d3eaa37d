"""What each tier should be: how many replicas, made from which revision."""

from __future__ import annotations

import time
from typing import Any

from pydantic import ValidationError

from inference_platform.local.errors import OrderError
from inference_platform.local.machines import Note
from inference_platform.local.pod import Revision
from inference_platform.local.settings import Engine, Tier


class TierState:
    """A tier's wishes, as a Deployment's spec holds them.

    Attributes:
        name: of the tier.
        spec: what the configuration says.
        wanted: replicas.
        scale_annotation: what the last order about that number was annotated with.
        revision: what replicas are made from now.
        revisions: every one there was, the one used last at the end: the one before it is where
            a rollback goes, as `kubectl rollout undo` has it.
        made: replicas ever made; the next one's number.
        moved_unix: when a rollout last began or came forward.
        stalled: the rollout has not come forward for its progress deadline.
    """

    def __init__(self, name: str, spec: Tier) -> None:
        """Begin with revision r1."""
        self.name = name
        self.spec = spec
        self.wanted = spec.replicas
        self.scale_annotation = ""
        self.revision = Revision("r1", spec.engine)
        self.revisions = [self.revision]
        self.made = 0
        self.moved_unix = time.time()
        self.stalled = False
        self._updated = 0
        self._complete = False

    def look(self, updated: int, note: Note, deadline_s: float) -> None:
        """See how far the rollout has come: how many ready replicas are of the current revision."""
        if updated >= self.wanted:
            self._complete = True  # what becomes of it later is no longer the rollout's affair
        if updated > self._updated or self._complete:
            self.moved_unix, self.stalled = time.time(), False
        self._updated = updated
        if not self.stalled and not self._complete and time.time() - self.moved_unix > deadline_s:
            self.stalled = True
            text = f"{updated} of {self.wanted} ready replicas are of {self.revision.name}"
            note("ProgressDeadlineExceeded", f"tier/{self.name}", text)

    def release(self, engine: dict[str, Any], *, pullable: bool, annotation: str = "") -> Revision:
        """Begin a new revision: the current engine with these keys changed.

        Raises:
            OrderError: a key or a value that an engine cannot have.
        """
        data = self.revision.engine.model_dump() | engine
        try:
            changed = Engine.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise OrderError(400, f"engine.{key}: {first['msg']}") from error
        self._begin(Revision(f"r{len(self.revisions) + 1}", changed, pullable, annotation))
        return self.revision

    def roll_back(self, to: str | None) -> Revision:
        """Go back to a revision; None: the one before the current one.

        Replicas of it that still run are kept, as Kubernetes keeps a ReplicaSet.

        Raises:
            OrderError: there is no such revision.
        """
        names = [revision.name for revision in self.revisions]
        if to is None and len(names) == 1:
            raise OrderError(409, f"tier {self.name} has no revision before {self.revision.name}")
        if to is not None and to not in names:
            raise OrderError(404, f"no revision {to!r}; there are {', '.join(names)}")
        self._begin(self.revisions[-2 if to is None else names.index(to)])
        return self.revision

    def _begin(self, revision: Revision) -> None:
        self.revisions = [other for other in self.revisions if other is not revision]
        self.revisions.append(revision)
        self.revision, self.moved_unix, self.stalled = revision, time.time(), False
        self._updated, self._complete = 0, False
