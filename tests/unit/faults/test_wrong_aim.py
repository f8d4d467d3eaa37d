"""A fault aimed at nothing, at the wrong part or at who is gone already is an error, never done.

Made from FAULTS and the fields of their intents: a fault that is added is held to it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, FaultloadError
from faultload.faults import FAULTS, FaultSession
from faultload.faults.limits import NO_LIMITS
from faultload.faults.protocol import FaultClass
from faultload.record import InjectionJournal
from faultload.targets import Workload

NEEDED: Mapping[type, Any] = {int: 1}
"""What a field without a default is given, by its type."""
SENSIBLE: Mapping[str, Mapping[str, Any]] = {"slow_network": {"latency_s": 0.1}}
"""What an intent cannot do without, though no field of it must be given."""
STOCK = {"terminate_pods", "scale_deployment", "scale_statefulset"}
"""Speak of pods, which the target here has none of; test_stock.py holds the rules for them."""
HITS_NOBODY = {"withhold_capacity"}
"""Aimed at what the cloud offers: nobody can be gone."""
KNOWS_NO_UID = HITS_NOBODY | {"fail_zone", "spoil_model"}
"""A zone and the weights of a tier are the same whoever is there."""
EVERY = sorted(FAULTS.keys() - STOCK - {"add_load"})
"""Traffic has no victim and may name any model; test_load_add.py holds what it must prove."""


def platform() -> Platform:
    """Return two tiers on two machines."""
    tiers = {"fast": "node-a", "reasoning": "node-b"}
    made = Platform(
        *(replica(f"{t}-{i}", tier=t, node=n) for t, n in tiers.items() for i in (0, 1))
    )
    made.machines = {n: replace(m, capacity_type="spot") for n, m in made.machines.items()}
    made.others = [replace(replica("redis", tier=""), component="redis")]
    made.tiers["redis"] = Workload("redis", "w-redis", "redis", "", 1, "")
    return made


def intent_of(fault: FaultClass, **given: Any) -> Any:
    """Return an intent for one tier, with something sensible in every field that must be given."""
    hints = get_type_hints(fault.intent)
    needed = {
        field.name: NEEDED[hints[field.name]]
        for field in _fields(fault)
        if field.default is MISSING and field.default_factory is MISSING
    }
    one_tier = {"tier": "fast"} if "tier" in hints else {}
    return fault.intent(**needed | one_tier | SENSIBLE.get(fault.name, {}) | given)


def _fields(fault: FaultClass) -> tuple[Field[Any], ...]:
    return fields(fault.intent)  # type: ignore[arg-type]  # intents are dataclasses


def _names_something(hint: Any) -> bool:
    """Whether a field holds the name of a part of the platform: any text, and no choice of ours."""
    choices = hint if get_origin(hint) is not Literal else None
    return choices is str or str in get_args(choices)


NAMES = [
    (name, field.name)
    for name in EVERY
    for fault in [FAULTS[name]]
    for field in _fields(fault)
    if _names_something(get_type_hints(fault.intent)[field.name])
]


@pytest.mark.parametrize(("name", "field"), NAMES)
def test_wrong_name_is_an_error_and_nothing_is_done(
    name: str, field: str, journal: InjectionJournal, clock: Clock
) -> None:
    """A component, a tier, whatever is named: one that is not there ends the fault untouched."""
    fault, target = FAULTS[name], platform()
    intent = intent_of(fault, **{field: f"no-such-{field}"})

    with pytest.raises(FaultloadError):
        FaultSession(target, journal).apply(fault(target, intent, NO_LIMITS))

    assert target.acts == []


@pytest.mark.parametrize("name", sorted(set(EVERY) - HITS_NOBODY))
def test_platform_with_nothing_on_it_is_an_error(
    name: str, journal: InjectionJournal, clock: Clock
) -> None:
    """No replica, no machine, no workload: nobody can be harmed, and nobody says that it was."""
    fault, target = FAULTS[name], Platform()

    with pytest.raises(FaultloadError):
        FaultSession(target, journal).apply(fault(target, intent_of(fault), NO_LIMITS))

    assert target.acts == []


@pytest.mark.parametrize("name", sorted(set(EVERY) - KNOWS_NO_UID))
def test_who_is_gone_already_is_not_hit_and_neither_is_the_next(name: str, clock: Clock) -> None:
    """Between plan and act everybody was replaced under the same name: none of them is touched."""
    fault, target = FAULTS[name], platform()
    done = fault(target, intent_of(fault), NO_LIMITS)
    plan = done.plan()
    target.engines = {n: replace(one, uid=f"{one.uid}-2") for n, one in target.engines.items()}
    target.machines = {n: replace(one, uid=f"{one.uid}-2") for n, one in target.machines.items()}
    target.others = [replace(one, uid=f"{one.uid}-2") for one in target.others]
    target.tiers = {n: replace(one, uid=f"{one.uid}-2") for n, one in target.tiers.items()}

    with pytest.raises(FaultError):
        done.inject(plan)

    assert target.acts == []


@pytest.mark.parametrize("name", EVERY)
def test_platform_that_ignores_every_act_is_an_error(
    name: str, journal: InjectionJournal, clock: Clock
) -> None:
    """What a call returned proves nothing: harm that cannot be seen was not done."""
    fault, target = FAULTS[name], platform()
    target.deaf = True

    with pytest.raises(FaultError):
        FaultSession(target, journal).apply(fault(target, intent_of(fault), NO_LIMITS))
