"""The weights in the model store: harmed and mended by order, one order at a time."""

from __future__ import annotations

import asyncio

from inference_platform.local import programs
from inference_platform.local.cluster import Cluster
from inference_platform.local.errors import OrderError
from inference_platform.local.process import Process, last_line


class StoredWeights:
    """Every model of one platform's store.

    Attributes:
        spoilt: models that were harmed by order, or may have been, and not mended since.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Change nothing yet."""
        self.spoilt: set[str] = set()
        self._cluster = cluster
        self._orders = 0
        self._one_order = asyncio.Lock()

    async def change(self, model: str, how: str) -> str:
        """Do one order; return what there is afterwards.

        Raises:
            OrderError: 404 for a model or a store that is not there; 409 when the store refuses.
        """
        cluster = self._cluster
        models = [tier.spec.model for tier in cluster.tiers.values()]
        if model not in models:
            raise OrderError(404, f"no model {model!r}; there are {', '.join(models)}")
        if "model-store" not in cluster.components:
            raise OrderError(
                404, "this platform has no model store; start it with model_store.enabled"
            )
        self._orders += 1
        log = cluster.layout.logs / f"model-store.order-{self._orders}.log"
        async with self._one_order:  # what was ordered last is what there is afterwards
            if how != "restore":
                self.spoilt.add(model)
            process = Process(programs.change_model(cluster.addresses, model, how), log)
            if await process.ended() != 0:
                raise OrderError(409, last_line(log))
            if how == "restore":
                self.spoilt.discard(model)
        cluster.note("ModelChanged", f"model/{model}", last_line(log))
        return last_line(log)
