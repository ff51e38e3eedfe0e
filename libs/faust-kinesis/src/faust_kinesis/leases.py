"""Who reads which shard, and how far it was read: one small item per shard.

The protocol of one lease. Every arrow is one conditional write (`LeaseBackend.swap`):

    free ──take──▶ held, term + 1 ──renew / checkpoint──▶ held, another beat
                     │
                     ├──release──▶ free                   (the worker stops)
                     ├──hand over──▶ held by the worker that asked, which takes it: term + 1
                     └──(no beat for lease_s)──▶ anybody may take it: term + 1

The term rises with each holder and guards every renewal and checkpoint, so a worker that was
frozen and wakes up writes nothing. The beat is different in each write: it is a sign of life,
and it makes a take fail when the item moved after the taker had read it.

Clocks of two machines are never compared: a lease has expired when its beat did not move for
`lease_s` while this worker watched, on this worker's own monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

Value = str | int
"""What an attribute of a lease item can be."""

START_KEY = "#start"


class LeaseBackend(Protocol):
    """Items with a partition key and a sort key, and a conditional write. DynamoDB has just that.

    Implement these three methods to keep leases elsewhere, or on a client of your own;
    `update_request` and its kin build the DynamoDB requests.
    """

    async def items(self, pk: str) -> Sequence[Mapping[str, Value]]:
        """Return all items of a partition, strongly consistent. Each has its sort key as `sk`."""

    async def add(self, pk: str, sk: str, put: Mapping[str, Value]) -> bool:
        """Create an item; False when it was there already."""

    async def swap(self, pk: str, sk: str, expect: Mapping[str, Value | None], put: Mapping[str, Value | None]) -> bool:
        """Change an item that is there and holds what is expected, in one step.

        Args:
            pk: partition key.
            sk: sort key.
            expect: attributes and the values they must have; None means absent.
            put: attributes to set; None removes.

        Returns:
            False when the item was not as expected; it has not been changed then.
        """


@dataclass(frozen=True, slots=True)
class Lease:
    """The item of one shard.

    Attributes:
        shard_id: the shard.
        parents: the shards to be read to their end before this one.
        owner: worker that holds it, None when free.
        term: rises with each holder.
        beat: differs from write to write.
        checkpoint: sequence number of the last record whose effect is durable; None before the first.
        applied_to_s: what arrived before this time has been applied, seconds since the epoch.
        ended: read and applied to its end: nothing is left to do.
        wanted: worker that asks to be handed the shard.
    """

    shard_id: str
    parents: tuple[str, ...] = ()
    owner: str | None = None
    term: int = 0
    beat: int = 0
    checkpoint: str | None = None
    applied_to_s: float | None = None
    ended: bool = False
    wanted: str | None = None


def group_applied_to_s(leases: Sequence[Lease]) -> float | None:
    """Return the time up to which a group has applied all that arrived; None while a shard was never read.

    Any process that can list the leases knows the group's lag by it, also when no worker runs.

    Args:
        leases: all of the group.
    """
    ended = {lease.shard_id for lease in leases if lease.ended}
    unended = {lease.shard_id for lease in leases} - ended
    # A child that waits for its parents is no later than they are.
    readable = [lease for lease in leases if not lease.ended and not unended.intersection(lease.parents)]
    known = [lease.applied_to_s for lease in readable if lease.applied_to_s is not None]
    return min(known) if known and len(known) == len(readable) else None


class Progress(NamedTuple):
    """How far a shard has been read and applied.

    Attributes:
        checkpoint: sequence number of the last applied record; None before the first.
        applied_to_s: what arrived before this time has been applied.
    """

    checkpoint: str | None = None
    applied_to_s: float | None = None


class LeaseStore(Protocol):
    """The leases of one group of workers on one stream, seen by one worker."""

    @property
    def worker_id(self) -> str:
        """The worker that takes leases through this store."""

    async def begin(self, start: str) -> str:
        """Fix where the group starts; the first caller decides. Returns what was decided."""

    async def list(self) -> list[Lease]:
        """Return all leases, strongly consistent."""

    async def create(self, shard_id: str, parents: tuple[str, ...]) -> None:
        """Make a free lease, unless it is there."""

    async def take(self, lease: Lease) -> Lease | None:
        """Become the holder, if the lease still is as it was read. None: it is not."""

    async def renew(self, lease: Lease, progress: Progress, *, ended: bool = False) -> Lease | None:
        """Show life and store progress in one write; with `ended` also give the lease up. None: lost."""

    async def want(self, lease: Lease) -> bool:
        """Ask the holder to hand the lease over."""

    async def hand_over(self, lease: Lease, progress: Progress, to: str) -> bool:
        """Store progress and give the lease to another worker; False: it was lost before."""

    async def release(self, lease: Lease, progress: Progress) -> bool:
        """Store progress and free the lease; False: it was lost before."""


class DynamoLeases:
    """Leases as items of a DynamoDB table, or of anything else that can swap.

    The table has the string keys `pk` (`<stream>#<group>`) and `sk` (the shard id).

    Args:
        backend: where the items are.
        stream: the stream that is read.
        group: workers of one group share its shards; groups know nothing of each other.
        worker_id: this worker's name. With a lasting one (a pod's name) a restarted worker has
            its shards back at once; with a new one it waits for the old leases to expire.
    """

    def __init__(self, backend: LeaseBackend, stream: str, group: str, worker_id: str) -> None:
        self._backend = backend
        self._pk = f"{stream}#{group}"
        self._worker_id = worker_id

    @property
    def worker_id(self) -> str:
        """See `LeaseStore`."""
        return self._worker_id

    async def begin(self, start: str) -> str:
        """See `LeaseStore`."""
        if await self._backend.add(self._pk, START_KEY, {"start": start}):
            return start
        for item in await self._backend.items(self._pk):
            if item["sk"] == START_KEY:
                return str(item["start"])
        raise RuntimeError(f"the start of {self._pk} was there and is gone: somebody deletes leases")

    async def list(self) -> list[Lease]:
        """See `LeaseStore`."""
        return [_lease(item) for item in await self._backend.items(self._pk) if item["sk"] != START_KEY]

    async def create(self, shard_id: str, parents: tuple[str, ...]) -> None:
        """See `LeaseStore`."""
        await self._backend.add(self._pk, shard_id, {"term": 0, "beat": 0, "parents": " ".join(parents)})

    async def take(self, lease: Lease) -> Lease | None:
        """See `LeaseStore`."""
        taken = replace(lease, owner=self._worker_id, term=lease.term + 1, beat=lease.beat + 1, wanted=None)
        expect: dict[str, Value | None] = {"owner": lease.owner, "term": lease.term, "beat": lease.beat}
        put: dict[str, Value | None] = {"owner": taken.owner, "term": taken.term, "beat": taken.beat, "wanted": None}
        return taken if await self._backend.swap(self._pk, lease.shard_id, expect, put) else None

    async def renew(self, lease: Lease, progress: Progress, *, ended: bool = False) -> Lease | None:
        """See `LeaseStore`."""
        put: dict[str, Value | None] = {"ended": 1, "owner": None, "wanted": None} if ended else {}
        if not await self._write(lease, progress, put):
            return None
        return replace(
            lease,
            beat=lease.beat + 1,
            checkpoint=progress.checkpoint or lease.checkpoint,
            applied_to_s=progress.applied_to_s,
            ended=ended,
        )

    async def want(self, lease: Lease) -> bool:
        """See `LeaseStore`."""
        expect: dict[str, Value | None] = {"owner": lease.owner, "term": lease.term}
        return await self._backend.swap(self._pk, lease.shard_id, expect, {"wanted": self._worker_id})

    async def hand_over(self, lease: Lease, progress: Progress, to: str) -> bool:
        """See `LeaseStore`."""
        return await self._write(lease, progress, {"owner": to, "wanted": None})

    async def release(self, lease: Lease, progress: Progress) -> bool:
        """See `LeaseStore`."""
        return await self._write(lease, progress, {"owner": None, "wanted": None})

    async def _write(self, lease: Lease, progress: Progress, put: dict[str, Value | None]) -> bool:
        put = {**put, "beat": lease.beat + 1}
        if progress.checkpoint is not None:
            put["checkpoint"] = progress.checkpoint
        if progress.applied_to_s is not None:
            put["applied_to_ms"] = round(progress.applied_to_s * 1000)
        expect: dict[str, Value | None] = {"owner": self._worker_id, "term": lease.term}
        return await self._backend.swap(self._pk, lease.shard_id, expect, put)


def _lease(item: Mapping[str, Value]) -> Lease:
    applied_to_ms = item.get("applied_to_ms")
    return Lease(
        shard_id=str(item["sk"]),
        parents=tuple(str(item.get("parents", "")).split()),
        owner=_text(item.get("owner")),
        term=int(item["term"]),
        beat=int(item["beat"]),
        checkpoint=_text(item.get("checkpoint")),
        applied_to_s=None if applied_to_ms is None else int(applied_to_ms) / 1000,
        ended=bool(item.get("ended")),
        wanted=_text(item.get("wanted")),
    )


def _text(value: Value | None) -> str | None:
    return None if value is None else str(value)


def query_request(table: str, pk: str) -> dict[str, Any]:
    """Return the DynamoDB Query that `LeaseBackend.items` stands for; its pages are the caller's."""
    return {
        "TableName": table,
        "ConsistentRead": True,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": pk}},
    }


def put_request(table: str, pk: str, sk: str, put: Mapping[str, Value]) -> dict[str, Any]:
    """Return the DynamoDB PutItem that `LeaseBackend.add` stands for."""
    return {
        "TableName": table,
        "Item": {"pk": {"S": pk}, "sk": {"S": sk}} | {name: _to_wire(value) for name, value in put.items()},
        "ConditionExpression": "attribute_not_exists(pk)",
    }


def update_request(
    table: str, pk: str, sk: str, expect: Mapping[str, Value | None], put: Mapping[str, Value | None]
) -> dict[str, Any]:
    """Return the DynamoDB UpdateItem that `LeaseBackend.swap` stands for.

    Every attribute goes by a placeholder: `owner` and others are words that DynamoDB reserves.
    """
    names = {f"#{name}": name for name in (*expect, *put)}
    values: dict[str, Any] = {}
    conditions = ["attribute_exists(pk)"]
    for name, value in expect.items():
        if value is None:
            conditions.append(f"attribute_not_exists(#{name})")
        else:
            conditions.append(f"#{name} = :old_{name}")
            values[f":old_{name}"] = _to_wire(value)
    sets = []
    for name, value in put.items():
        if value is not None:
            sets.append(f"#{name} = :new_{name}")
            values[f":new_{name}"] = _to_wire(value)
    removed = [f"#{name}" for name, value in put.items() if value is None]
    update = " ".join(
        clause for clause in (sets and f"SET {', '.join(sets)}", removed and f"REMOVE {', '.join(removed)}") if clause
    )
    return {
        "TableName": table,
        "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
        "UpdateExpression": update,
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": names,
    } | ({"ExpressionAttributeValues": values} if values else {})


def read_item(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Turn an item of DynamoDB JSON into what `LeaseBackend.items` returns."""
    return {
        name: int(value["N"]) if "N" in value else str(value["S"])
        for name, value in item.items()
        if "N" in value or "S" in value
    }


def _to_wire(value: Value) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}
