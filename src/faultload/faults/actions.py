"""What experiments call: one function a fault, whose parameters are those of its intent.

Chaos Toolkit passes the arguments and keeps what is returned.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_type_hints

from faultload.faults.catalogue import FAULTS
from faultload.faults.protocol import FaultClass
from faultload.faults.session import FaultSession, SessionFile


def revert_all() -> list[dict[str, Any]]:
    """Revert every fault still in force, newest first, and prove each gone."""
    with _session(to_undo=True) as (_, session):
        return session.revert_all()


def _action(fault: FaultClass) -> Callable[..., dict[str, Any]]:
    """Return the function that plans, journals, injects and verifies a fault."""

    def act(*values: Any, **arguments: Any) -> dict[str, Any]:
        intent = fault.intent(*values, **arguments)
        with _session() as (about, session):
            return session.apply(fault(session.target, intent, about.limits))

    # Types and not their text: `chaos discover` shows them.
    hints = get_type_hints(fault.intent)
    parameters = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(fault.intent).parameters.items()
    ]
    # typeshed does not know that inspect reads it
    act.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        parameters, return_annotation=dict[str, Any]
    )
    act.__name__ = act.__qualname__ = fault.name
    act.__doc__ = f"{inspect.getdoc(fault)}\n\nNeeds the capability {fault.capability}."
    return act


@contextmanager
def _session(*, to_undo: bool = False) -> Iterator[tuple[SessionFile, FaultSession]]:
    about = SessionFile.find()
    target = about.attach(to_undo=to_undo)
    try:
        yield about, FaultSession(target, about.journal, about.ttl_s)
    finally:
        target.close()


ACTIONS: Mapping[str, Callable[..., Any]] = {
    **{name: _action(fault) for name, fault in FAULTS.items()},
    revert_all.__name__: revert_all,
}
"""Name → function, as an experiment's `provider.func` names it."""

# chaoslib looks for functions among a module's own names.
globals().update(ACTIONS)
__all__ = ["ACTIONS", *ACTIONS]  # noqa: PLE0604  # they are names
