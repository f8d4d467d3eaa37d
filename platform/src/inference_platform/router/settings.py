"""Everything about a router that can be set, with its unit and its default."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One router's configuration; the command line mirrors it field by field."""

    endpoints_path: Path
    """JSON file with the replicas, replaced by rename whenever they change."""

    name: str = "router-0"
    """Who this router is in logs and in `inference_router_info`."""

    tiers: tuple[str, ...] = ()
    """Tiers known before the file first names them; they count for `/health` and start at 0."""

    redis_url: str | None = None
    """Where sessions are remembered; None switches session affinity off."""

    connect_timeout_s: float = 1.0
    first_byte_timeout_s: float = 60.0
    """From the request to the first event of a stream: queueing and prefill in the engine."""

    idle_timeout_s: float = 30.0
    """Longest silence inside a stream."""

    answer_timeout_s: float = 600.0
    """Longest time of an answer, from the request read to the last byte, streamed or not, with all
    its attempts and waits: how long a router or an engine must drain so that it cuts none. It is
    also the longest silence before a reply that is not streamed, which vLLM sends complete."""

    retries: int = 2
    """Further attempts after the first; only before anything was sent to the client."""

    retry_backoff_s: float = 0.01
    """Mean pause before the first retry, doubled for each further one, jittered by half."""

    no_replica_wait_s: float = 1.0
    """How long one request may wait, over all its attempts, for any replica to become usable."""

    affinity_ttl_s: int = 600
    affinity_lookup_timeout_s: float = 0.02
    affinity_slack: int = 8
    """A session leaves its replica when that has more than this many requests over the least."""

    health_period_s: float = 1.0
    health_timeout_s: float = 1.0
    health_failures: int = 2
    """Failed probes in a row that make a replica unhealthy; one good probe makes it healthy."""

    eject_s_min: float = 1.0
    eject_s_max: float = 10.0
    """Pause for a replica that broke before its first byte: doubles from min to max."""

    endpoints_poll_s: float = 0.1
    drain_s: float = 30.0
    """How long a stopping router waits for its requests in flight."""

    body_bytes_max: int = 16 * 2**20
    body_timeout_s: float = 30.0
    """Longest wait for a body whose head has come: `body_bytes_max` at 5 Mbit/s."""
