"""The guard of a table: a statement in its resource policy that denies all writers but Crossfade (ADR 0045)."""

from __future__ import annotations

from typing import Protocol

from crossfade.core.values.shape import Side


class Guards(Protocol):
    """Puts guards, takes them off, and proves them. A policy is applied eventually, and can be changed again only some
    15 s after a change: what has to be waited for comes as text.

    Each change names its epoch, and the policy keeps the highest. So a coordinator that was replaced changes nothing
    any more: its epoch is lower, and a request that is on its way names a revision that has been replaced.

    Raises:
        LeaseLost: the policy has seen a higher epoch.
    """

    async def put(self, side: Side, *, epoch: int) -> str:
        """See that the statement stands in a table's policy, beside all others; what has to be waited for."""
        ...

    async def take_off(self, side: Side, *, epoch: int) -> str:
        """See that it doesn't, that all others do, and that no lower epoch puts it back; what has to be waited for."""
        ...

    async def is_denied(self, side: Side) -> bool:
        """Say whether an unprivileged writer is denied: by a write whose condition fails anyway, so without a trace."""
        ...
