"""How a patch is written, put in place and left out.

A patch is a function that gets what ministack has under a name and returns what belongs there. Patches of
one name go in and out together, so that a test can run the emulator with one of them left out and show
the fault that it mends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import ModuleType
from typing import Any, NamedTuple

Mend = Callable[[Any], Any]
"""Gets the object that is there, returns the one that belongs there."""


class Patch(NamedTuple):
    """One attribute of one ministack module, mended under the name of a fault."""

    fault: str
    owner: Any
    attribute: str
    mend: Mend


class UnknownPatch(Exception):
    """A patch was to be left out that does not exist."""


_patches: list[Patch] = []
_originals: dict[tuple[int, str], tuple[Any, Any]] = {}


def patch(fault: str, owner: Any, attribute: str) -> Callable[[Mend], Mend]:
    """Register the decorated function as the mend of `owner.attribute`.

    Args:
        fault: name of the fault it mends; several patches may share it.
        owner: the ministack module, or anything else with attributes.
        attribute: what to replace.
    """

    def register(mend: Mend) -> Mend:
        _patches.append(Patch(fault, owner, attribute, mend))
        return mend

    return register


def arrange(modules: Sequence[ModuleType]) -> None:
    """Put the registered patches in the order of their modules: later ones go on top of earlier ones."""
    order = {module.__name__: place for place, module in enumerate(modules)}
    _patches.sort(key=lambda each: order[each.mend.__module__])


def faults() -> list[str]:
    """Return the names of all faults that have a patch, in order of registration."""
    return list(dict.fromkeys(each.fault for each in _patches))


def install(without: Collection[str] = ()) -> None:
    """Put all patches in place but the ones named; may be called again with others.

    Raises:
        UnknownPatch: a name in `without` is of no patch.
    """
    if unknown := set(without) - set(faults()):
        raise UnknownPatch(f"no patch named {', '.join(sorted(unknown))}; there are {', '.join(faults())}")
    for (_, attribute), (owner, original) in _originals.items():
        setattr(owner, attribute, original)
    for fault, owner, attribute, mend in _patches:
        found = getattr(owner, attribute)
        _originals.setdefault((id(owner), attribute), (owner, found))
        if fault not in without:
            setattr(owner, attribute, mend(found))
