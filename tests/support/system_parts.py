"""What the whole system in small is made of, beside its world."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from crossfade.core.ownership.decisions import Perform, Read, State, Task
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.row import canonical_content
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.sending import Sent
from crossfade_replicator.interventions import Interventions, StrayRecord
from crossfade_replicator.outcome import Account
from crossfade_replicator.sender import Sender
from engagement_api.keys import wallet_key
from engagement_api.operations import BALANCE
from engagement_migration import MAPPING

T = TypeVar("T")

START_US = 1_764_230_400_000_000
OLD_KEY, NEW_KEY = wallet_key("7", "old"), wallet_key("8", "target")
KEYS = (OLD_KEY, NEW_KEY)
"""One that the source table holds from the beginning, unstamped and with a TTL; one that nobody ever wrote."""
TIER, TTL = b'{"S":"gold"}', b'{"N":"4102444800"}'
ZERO = MAPPING.shape(Side.TARGET).zero
POINTS = MAPPING.shape(Side.TARGET).own(BALANCE)
DIRECTIONS = {Side.SOURCE: Direction.FORWARD, Side.TARGET: Direction.REVERSE}


def now(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits; fail if it does."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("nothing waits in memory")


class Record(NamedTuple):
    """One record of a stream."""

    sequence_number: str
    data: bytes


class Truth(NamedTuple):
    """What a key holds, in the names of the target table."""

    content: tuple[tuple[str, bytes], ...]
    ttl: bytes = b""

    def canonical(self) -> bytes:
        return canonical_content(Item(content=self.content, ttl=self.ttl))


class Owner(NamedTuple):
    """Where the truth of a key stands.

    Attributes:
        side: the owner; while the key is on its way, where it was sealed.
        item: what stands there.
        owned: False while the key is on its way.
    """

    side: Side
    item: Item | None
    owned: bool


@dataclass(eq=False)
class Running:
    """A pod (or a sweeper) in the middle of a task; `unfit`: of a release whose activations the target refuses."""

    task: Task
    unfit: bool = False
    step: tuple[State, Read | Perform] | None = None


class InTurn(Interventions):
    """Needs no event loop for nothing either: one stray at a time."""

    async def act(self, found: Sequence[StrayRecord], account: Account) -> None:
        for each in found:
            await super().act([each], account)


class IdleSender(Sender):
    """Needs no event loop for nothing."""

    async def send(self, transfers: Sequence[Transfer]) -> list[Sent]:
        return await super().send(transfers) if transfers else []
