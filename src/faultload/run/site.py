"""Where the experiments of a session run: one platform for all of them, or a new one for each."""

from __future__ import annotations

from collections.abc import Callable

from faultload.run.plan import RunPlan
from faultload.run.platform import attach_or_start, is_started_for_us
from faultload.run.steady import SteadyState
from faultload.spec import Catalogue
from faultload.spec.gameday import COOLDOWN_S_MAX
from faultload.targets import Target


class Site:
    """The platform of each experiment of a session, whole when its turn comes.

    What others run is waited for until it is as it was before the first experiment. Where a machine
    was taken away that is not quite so: nothing moves replicas back to where they were. A platform
    of our own is therefore ended after each experiment, and the next one meets a new one: its
    verdict does not hang on what ran before it, and seconds are quicker than a replica's return.
    """

    def __init__(
        self, open_: Callable[[], Target], cooldown_s_max: float = COOLDOWN_S_MAX, *, anew: bool
    ) -> None:
        """Open the first platform.

        Args:
            open_: opens one.
            cooldown_s_max: longest wait for it to be steady.
            anew: each experiment gets one of its own.

        Raises:
            MissingError: it cannot be had.
        """
        self._open, self._cooldown_s_max, self._anew = open_, cooldown_s_max, anew
        self._is_used = False
        self._begin()

    @property
    def target(self) -> Target:
        """Where the next experiment runs."""
        return self._target

    def wait(self, plan: RunPlan, pause_s: float = 0.0) -> float:
        """Wait until the platform is whole; return how long that took, s.

        Args, errors: those of `SteadyState.wait`; and `MissingError` where no new one can be had.
        """
        if self._is_used and self._anew:
            self.close()
            self._begin()
        self._is_used = True
        return self._steady.wait(plan, pause_s)

    def close(self) -> None:
        """End the platform if it is ours. Idempotent."""
        self._target.close()

    def _begin(self) -> None:
        self._target = self._open()
        self._steady = SteadyState(self._target, self._cooldown_s_max)


def open_site(
    catalogue: Catalogue,
    target: str,
    overrides: list[str],
    cooldown_s_max: float = COOLDOWN_S_MAX,
    *,
    is_one: bool = False,
) -> Site:
    """Return where the experiments of a session run.

    Args:
        catalogue: where names are looked up.
        target: path or name.
        overrides: `key=value` changes to a local platform's configuration.
        cooldown_s_max: longest wait between experiments.
        is_one: they all run on one platform, whoever started it: a game day's tell a story.

    Raises:
        FaultloadError: as `attach_or_start`.
    """
    anew = not is_one and is_started_for_us(catalogue, target)
    return Site(lambda: attach_or_start(catalogue, target, overrides), cooldown_s_max, anew=anew)
