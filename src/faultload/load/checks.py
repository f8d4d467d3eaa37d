"""What a load needs of this machine, checked before anything starts."""

from __future__ import annotations

import math
import os
import ssl
from pathlib import Path

from faultload.errors import MissingError, SpecError, UsageError
from faultload.load.arrivals import expected_requests
from faultload.load.plan import address_of
from faultload.load.trace import read_recorded
from faultload.secrecy import keep_secret
from faultload.spec import Scenario
from faultload.spec.scenario import TraceArrivals
from faultload.spec.target import LoadWorkers

_REQUESTS_MAX = 2_000_000
_TOKENS_MAX = 500_000_000
"""About 3 GB of text."""


def check_recording(scenario: Scenario, path: Path) -> None:
    """See that a scenario's recorded trace, if it plays one, can be played.

    Raises:
        SpecError: it cannot; names the scenario file and its key.
    """
    if not isinstance(scenario.arrivals, TraceArrivals):
        return
    try:
        read_recorded(scenario, path.parent / scenario.arrivals.path)
    except SpecError as error:
        raise SpecError(path, "arrivals.path", str(error)) from None


def check_size(scenario: Scenario, path: Path, length_s: float) -> None:
    """See that the requests of so many seconds can be kept in memory, before they are made.

    Raises:
        SpecError: they cannot; names the scenario file.
    """
    if isinstance(scenario.arrivals, TraceArrivals):
        return
    requests = expected_requests(scenario.arrivals, length_s)
    tokens = requests * _tokens_of(scenario)
    for count, most, what in (
        (requests, _REQUESTS_MAX, "requests"),
        (tokens, _TOKENS_MAX, "prompt tokens"),
    ):
        if count > most:
            raise SpecError(
                path,
                "arrivals",
                f"expected at most {most:g} {what} in {length_s:g} s, found about {count:g}, which"
                " are made before the load begins; ask less often, for less, or for a shorter time",
            )


def _tokens_of(scenario: Scenario) -> float:
    """Return how long a prompt is on average, and what it repeats of its conversation."""
    weights = sum(tier.weight for tier in scenario.tiers)
    sessions, shared = scenario.sessions, scenario.shared_prefixes
    more = sessions.share * (sessions.turns - 1) / 2 if sessions.context == "growing" else 0.0
    total = shared.share * shared.tokens if shared else 0.0
    for tier in scenario.tiers:
        own = tier.prompt_tokens
        mean = min(own.median * math.exp(own.sigma**2 / 2), own.max)
        said = (mean + tier.output_tokens.median) * more
        total += tier.weight / weights * min(mean + said, own.max)
    return total


def check_workers(load: LoadWorkers, target_path: Path) -> Path | None:
    """Return the file of `load.ca`, in full; None: there is none.

    Raises:
        SpecError: an address that is none, or a `ca` that cannot be used.
        MissingError: the API key's variable is not set.
    """
    if load.listen is None:
        check_api_key(load.api_key_env)  # else the workers need it, where they are
    else:
        try:
            address_of(load.listen)
        except UsageError as error:
            raise SpecError(target_path, "load.listen", str(error)) from None
    if load.ca is None:
        return None
    path = (target_path.parent / load.ca).resolve()
    if problem := _problem_of(path):
        raise SpecError(target_path, "load.ca", f"{path}: {problem}")
    return path


def _problem_of(ca: Path) -> str:
    """Return what is wrong with a PEM file of authorities; "" when nothing is."""
    try:
        text = ca.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return "no such file; expected a PEM file of the authorities to trust"
    except OSError as error:
        return f"cannot be read: {error.strerror}; expected a PEM file of the authorities to trust"
    if "PRIVATE KEY" in text:  # it is sent to workers on other machines
        return "holds a private key; name a file with the authorities' certificates only"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=str(ca))
    except ssl.SSLError:
        return "holds no certificate; expected a PEM file of the authorities to trust"
    return ""


def check_api_key(variable: str | None) -> None:
    """See that an environment variable holds an API key that can be sent; None: none is needed.

    Raises:
        MissingError: it does not; says nothing of what it holds.
    """
    if variable is None:
        return
    key = os.environ.get(variable)
    if not key:
        raise MissingError(f"the environment variable {variable} (the API key) is not set")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise MissingError(
            f"the environment variable {variable} holds no API key: expected printable ASCII"
            " without blanks or line ends"
        )
    keep_secret(key)
