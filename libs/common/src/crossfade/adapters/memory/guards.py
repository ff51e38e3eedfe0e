"""Guards in memory: tables whose unprivileged writers are denied."""

from __future__ import annotations

from crossfade.core.values.errors import LeaseLost
from crossfade.core.values.shape import Side


class MemoryGuards:
    """Implements `crossfade.ports.guard.Guards`.

    Attributes:
        on: the tables that are guarded.
        revisions: of each table's policy.
        epochs: the highest that each has seen.
        slow: what the next change says before it is made; "" for nothing.
        calls: what was done, in order.
    """

    def __init__(self) -> None:
        self.on: set[Side] = set()
        self.revisions = dict.fromkeys(Side, 0)
        self.epochs = dict.fromkeys(Side, 0)
        self.slow = ""
        self.calls: list[tuple[str, Side]] = []

    async def put(self, side: Side, *, epoch: int) -> str:
        """See `crossfade.ports.guard.Guards`."""
        return self.change(side, epoch, self.revisions[side], on=True)

    async def take_off(self, side: Side, *, epoch: int) -> str:
        """See `crossfade.ports.guard.Guards`."""
        return self.change(side, epoch, self.revisions[side], on=False)

    async def is_denied(self, side: Side) -> bool:
        """See `crossfade.ports.guard.Guards`."""
        return side in self.on

    def change(self, side: Side, epoch: int, revision: int, *, on: bool) -> str:
        """Change a policy that was read at a revision."""
        said, self.slow = self.slow, ""
        if said or revision != self.revisions[side]:
            return said or "another look at the policy, which has changed meanwhile"
        if epoch < self.epochs[side]:
            raise LeaseLost(f"the policy has seen epoch {self.epochs[side]}")
        if epoch > self.epochs[side] or on != (side in self.on):
            self.calls.append(("put" if on else "take off", side))
            self.revisions[side] += 1
            self.epochs[side] = epoch
            (self.on.add if on else self.on.discard)(side)
        return ""
