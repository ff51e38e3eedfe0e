"""Which repairs speak against a pass, by the journal alone: the same for each verifier, and after a restart.

A repair is an interval of the journal: from its entry `begun`, which precedes its first write, to its entry `done`,
which follows the last. A pass that began at some entry says nothing of the keys of a repair that was open by then, or
came later. Plans, and repairs that were refused, write nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class RepairEntry(Protocol):
    """What is read of a journal entry; see `crossfade.contracts.journal.Entry`."""

    @property
    def number(self) -> int:
        """Of the entry."""
        ...

    @property
    def kind(self) -> str:
        """Only "repair" counts."""
        ...

    @property
    def body(self) -> Mapping[str, Any]:
        """`stage`, `id`, `keys`; builds before plans had ids wrote `steps` in the place of the last two."""
        ...


def repaired_after(entries: Iterable[RepairEntry], number: int) -> int:
    """Return how many keys were repaired, or may have been, after an entry of the journal.

    Args:
        entries: of the journal, oldest first; others than repairs are passed over.
        number: of the last entry when a pass began.

    Returns:
        Keys that repairs name which were open at that entry or begun later; 0 if a pass may count.
    """
    keys: dict[str, int] = {}
    for each in entries:
        if not is_repair(each):
            continue
        repair, later = each.body.get("id"), each.number > number
        if repair is None:  # before plans had ids, one request wrote both entries
            keys |= {str(each.number): keys_of(each.body)} if later else {}
        elif each.body["stage"] == "begun" or later:
            keys[repair] = keys_of(each.body)
        else:
            keys.pop(repair, None)
    return sum(keys.values())


def is_repair(entry: RepairEntry) -> bool:
    """Say whether an entry is the beginning or the end of a repair's writes."""
    return entry.kind == "repair" and entry.body.get("stage") in ("begun", "done")


def keys_of(body: Mapping[str, Any]) -> int:
    """Return how many keys an entry of a repair names; at least 1."""
    return max(1, int(body.get("keys", len(body.get("steps", ())))))
