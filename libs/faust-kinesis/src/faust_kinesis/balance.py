"""Who should read which shard: a pure decision over the leases as one worker sees them.

Each worker decides for itself; a wrong or old view costs a refused take, never a shard read twice
under valid leases.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

from faust_kinesis.leases import Lease


class Plan(NamedTuple):
    """What a worker does next.

    Attributes:
        take: free or expired leases to take.
        want: leases to ask their holders for.
        hand_over: own leases that another worker asked for.
    """

    take: tuple[Lease, ...]
    want: tuple[Lease, ...]
    hand_over: tuple[Lease, ...]


def runnable(leases: Iterable[Lease], listed: Collection[str]) -> list[Lease]:
    """Return the leases that may be read now: not ended, and all parents read to their end.

    A parent without a lease that the stream no longer lists was trimmed away long ago: nobody can
    read it, so nobody waits for it.

    Args:
        leases: all leases of the group.
        listed: shard ids that the stream lists.
    """
    by_shard = {lease.shard_id: lease for lease in leases}

    def waits_for(parent: str) -> bool:
        known = by_shard.get(parent)
        return parent in listed if known is None else not known.ended

    return [
        lease
        for lease in by_shard.values()
        if not lease.ended and lease.shard_id in listed and not any(map(waits_for, lease.parents))
    ]


def plan(
    leases: Collection[Lease],
    *,
    me: str,
    held: Collection[str],
    busy: Collection[str],
    expired: Collection[str],
    listed: Collection[str],
) -> Plan:
    """Decide what to take, what to ask for, and what to hand over, for an even share.

    Args:
        leases: all leases of the group.
        me: this worker.
        held: shards this worker is reading.
        busy: shards it has lost while a batch of them is still in progress here; not to be taken before that is over.
        expired: shards whose holder was silent for too long.
        listed: shard ids that the stream lists.
    """
    readable = runnable(leases, listed)
    free: list[Lease] = []
    by_owner: dict[str, list[Lease]] = {me: []}
    for lease in readable:
        if lease.shard_id in held:
            by_owner[me].append(lease)
        elif lease.owner is None or lease.owner == me or lease.shard_id in expired:
            # Mine but not held: a namesake died with it, or somebody handed it over to me.
            free.append(lease)
        else:
            by_owner.setdefault(lease.owner, []).append(lease)

    workers = len(by_owner)
    mine = len(by_owner[me])
    share = math.ceil(len(readable) / workers)
    taken = [lease for lease in free if lease.shard_id not in busy]
    taken.sort(key=lambda lease: (lease.owner != me, lease.shard_id))  # what was meant for me comes first
    take = tuple(taken[: max(0, share - mine)])
    return Plan(take, _wanted(by_owner, me, mine + len(take), busy), _asked(by_owner[me], me))


def _wanted(by_owner: dict[str, list[Lease]], me: str, mine: int, busy: Collection[str]) -> tuple[Lease, ...]:
    """Return what to ask the others for: from the richest, as long as it has two more than this worker."""
    others = [leases for owner, leases in by_owner.items() if owner != me]
    mine += sum(lease.wanted == me for leases in others for lease in leases)
    left = [[lease for lease in leases if lease.wanted is None] for leases in others]
    wanted: list[Lease] = []
    while left:
        richest = max(left, key=len)
        if len(richest) - mine < 2:
            break
        lease = richest.pop()
        if lease.shard_id not in busy:
            wanted.append(lease)
            mine += 1
    return tuple(wanted)


def _asked(held: list[Lease], me: str) -> tuple[Lease, ...]:
    return tuple(lease for lease in held if lease.wanted not in {None, me})


class Watch:
    """Sees leases expire, by this worker's own monotonic clock alone.

    Args:
        lease_s: how long a holder may be silent.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[str, tuple[tuple[str | None, int, int], float]] = {}

    def expired(self, leases: Iterable[Lease], *, asked: float, answered: float) -> frozenset[str]:
        """Return the shards whose lease did not move for `lease_s` while this worker watched.

        A lease was surely alive when the answer came that first showed its beat, and surely has
        not moved by the time the last answer was asked for.

        Args:
            leases: as they were read just now.
            asked: monotonic time before they were read, in seconds.
            answered: monotonic time after.
        """
        silent: set[str] = set()
        for lease in leases:
            sign = (lease.owner, lease.term, lease.beat)
            seen = self._seen.get(lease.shard_id)
            if seen is None or seen[0] != sign:
                self._seen[lease.shard_id] = (sign, answered)
            elif asked - seen[1] > self._lease_s:
                silent.add(lease.shard_id)
        return frozenset(silent)
