"""The files people write, as frozen objects: experiment, scenario, SLO, target, game day.

Reading is strict: an unknown key is an error that names the file, the key and the
nearest right one.
"""

from faultload.spec.catalogue import Catalogue
from faultload.spec.experiment import Experiment, load_experiment
from faultload.spec.gameday import GameDay, load_gameday
from faultload.spec.given import GivenBlock
from faultload.spec.scenario import Scenario, load_scenario
from faultload.spec.slo import SLO, load_slos
from faultload.spec.stop import StopQuery, StopSpec
from faultload.spec.target import (
    KubernetesTargetSpec,
    LocalTargetSpec,
    TargetSpec,
    load_target,
)

__all__ = [
    "SLO",
    "Catalogue",
    "Experiment",
    "GameDay",
    "GivenBlock",
    "KubernetesTargetSpec",
    "LocalTargetSpec",
    "Scenario",
    "StopQuery",
    "StopSpec",
    "TargetSpec",
    "load_experiment",
    "load_gameday",
    "load_scenario",
    "load_slos",
    "load_target",
]
