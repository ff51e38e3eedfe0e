"""`crossfade control create`: makes the control tables, unless something would be forgotten by making one empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from crossfade.adapters.control.tables import TableState, create_control_tables, look_at_tables
from crossfade.adapters.wire import Wire
from crossfade.core.migration.control import ControlTables, missing_because
from crossfade.core.values.errors import StateMissing
from crossfade_controller.history import traces
from crossfade_controller.world import World

KEPT: Final = ("journal", "leases", "dead_letters")
"""Tables whose rows nobody writes again: with one of them in use, none is made empty. Pods and consumers say again each
second what stands in the other two."""


class Creation(NamedTuple):
    """What there is to do, or was done.

    Attributes:
        states: what was there before.
        executed: whether it was done.
    """

    states: Sequence[TableState]
    executed: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "command": "control create",
            "executed": self.executed,
            "tables": [{**each._asdict(), "to_do": _to_do(each)} for each in self.states],
        }

    def as_text(self) -> str:
        """Return it as text."""
        lines = []
        for each in self.states:
            to_do = ", ".join(_to_do(each))
            done = "done" if self.executed else "would be done"
            lines.append(f"{each.name}: {to_do}: {done}" if to_do else f"{each.name}: exists, recoverable, protected")
        if not self.executed and any(map(_to_do, self.states)):
            lines.append("nothing was changed; add --execute")
        return "\n".join(lines)


async def create(wire: Wire, tables: ControlTables, world: World, *, execute: bool) -> Creation:
    """Make what is missing, and turn on point-in-time recovery and deletion protection where they are off.

    Args:
        wire: of DynamoDB.
        tables: names of the control tables.
        world: where traces of an earlier history are looked for.
        execute: whether to do it.

    Raises:
        StateMissing: a table is missing while the others, the rows or the flags show that the migration has run: an
            empty one would forget what was decided. Nothing was made.
    """
    states = await look_at_tables(wire, tables)
    missing = [each.name for each in states if not each.status]
    if missing:
        kept = {getattr(tables, name) for name in KEPT}
        used = [each.name for each in states if each.has_rows and each.name in kept]
        found = [*(f"{name} has rows" for name in used), *await traces(world)]
        if found:
            raise StateMissing(missing_because(tables, missing, found))
    if execute:
        await create_control_tables(wire, tables)
    return Creation(states, execute)


def _to_do(state: TableState) -> list[str]:
    if not state.status:
        return ["create, with point-in-time recovery and deletion protection"]
    wanted = {"turn on point-in-time recovery": state.recoverable, "turn on deletion protection": state.protected}
    return [what for what, is_on in wanted.items() if not is_on]
