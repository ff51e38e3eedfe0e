"""The controller's lease in DynamoDB: one holder, judged by each watcher's own monotonic clock.

A lease item counts its beats. Whoever wants it watches: only when the beat has not changed for a whole lease time on
the watcher's own clock does it take over, under the condition that the beat is still the one it watched. Wall clocks of
two machines are never compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from crossfade.adapters.control.rows import encode, key_of, put_request
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed
from crossfade.core.migration.control import LEASE_PK
from crossfade.core.values import image as wire
from crossfade.core.values.errors import LeaseLost
from crossfade.core.values.image import Image

LEASE_CONDITION: Final = {"ConditionExpression": "holder = :holder AND leased = :counter"}
"""True for the holder alone, as long as nobody took over."""


class _Seen(NamedTuple):
    counter: int
    beat: int
    since_s: float


class DynamoLease:
    """`crossfade.ports.control.Lease` on a control table."""

    def __init__(
        self,
        db: DynamoDB,
        table: str,
        name: str,
        *,
        holder: str,
        lease_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the client and the would-be holder.

        Args:
            db: the data plane.
            table: name of the table of leases.
            name: of the lease.
            holder: who wants it; unique per start of a process.
            lease_s: how long the beat must stay unchanged before another may take over.
            monotonic: this process's clock.
        """
        self._db = db
        self.table = table
        self._name = name
        self._holder = holder
        self._lease_s = lease_s
        self._monotonic = monotonic
        self._counter = 0
        self._renewed_s: float | None = None
        self._seen: _Seen | None = None

    @property
    def counter(self) -> int:
        """Rises with each holder."""
        return self._counter

    @property
    def held(self) -> bool:
        """Whether the lease is surely ours: renewed less than `lease_s` ago on our own clock."""
        return self._renewed_s is not None and self._monotonic() - self._renewed_s < self._lease_s

    def claim(self) -> dict[str, Any]:
        """Return key and values that go with `LEASE_CONDITION`, to make another write conditional on the lease.

        Raises:
            LeaseLost: it isn't held.
        """
        if not self.held:
            raise LeaseLost(f"lease {self._name!r} was not renewed within {self._lease_s} s")
        return {
            "Key": key_of(LEASE_PK, self._name),
            "ExpressionAttributeValues": {":holder": {"S": self._holder}, ":counter": {"N": str(self._counter)}},
        }

    async def acquire(self) -> bool:
        """Take the lease if it is free, ours, or has not been renewed for a whole lease time; call again until True."""
        asked_s = self._monotonic()
        row = await self._db.get_item(self.table, key_of(LEASE_PK, self._name))
        if row is None:
            return await self._create(asked_s)
        counter, beat = wire.number(row["leased"]), wire.number(row["beat"])
        holder = wire.string(row["holder"])
        if holder == self._holder and counter == self._counter and self.held:
            return True
        if self._seen is None or (self._seen.counter, self._seen.beat) != (counter, beat):
            self._seen = _Seen(counter, beat, asked_s)
        if holder and holder != self._holder and asked_s - self._seen.since_s < self._lease_s:
            return False
        return await self._take(counter, beat, asked_s)

    async def renew(self) -> None:
        """Renew it.

        Raises:
            LeaseLost: another took over.
        """
        asked_s = self._monotonic()
        if self._renewed_s is None:
            raise LeaseLost(f"lease {self._name!r} is not held")
        request = self._update("SET beat = beat + :one", LEASE_CONDITION["ConditionExpression"], self._counter)
        try:
            await self._db.update_item(encode(request))
        except ConditionFailed as error:
            self._renewed_s = None
            raise LeaseLost(f"lease {self._name!r} is held by another one by now") from error
        self._renewed_s = asked_s

    async def release(self) -> None:
        """Release it at a clean stop, so that the next holder needn't wait. Does nothing if another holds it."""
        if self._renewed_s is None:
            return
        self._renewed_s = None
        request = self._update(
            "SET beat = beat + :one, holder = :nobody", LEASE_CONDITION["ConditionExpression"], self._counter
        )
        request["ExpressionAttributeValues"][":nobody"] = {"S": ""}
        try:
            await self._db.update_item(encode(request))
        except ConditionFailed:
            return

    def _update(self, update: str, condition: str, counter: int) -> dict[str, Any]:
        return {
            "TableName": self.table,
            "Key": key_of(LEASE_PK, self._name),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": {
                ":holder": {"S": self._holder},
                ":counter": {"N": str(counter)},
                ":one": {"N": "1"},
            },
        }

    async def _create(self, asked_s: float) -> bool:
        row: Image = key_of(LEASE_PK, self._name) | {
            "holder": wire.of_string(self._holder),
            "leased": wire.of_number(1),
            "beat": wire.of_number(1),
        }
        try:
            await self._db.put_item(put_request(self.table, row, if_absent=True))
        except ConditionFailed:
            return False
        return self._taken(1, asked_s)

    async def _take(self, counter: int, beat: int, asked_s: float) -> bool:
        request = self._update(
            "SET beat = beat + :one, leased = leased + :one, holder = :holder",
            "leased = :counter AND beat = :beat",
            counter,
        )
        request["ExpressionAttributeValues"][":beat"] = {"N": str(beat)}
        try:
            await self._db.update_item(encode(request))
        except ConditionFailed:
            return False
        return self._taken(counter + 1, asked_s)

    def _taken(self, counter: int, asked_s: float) -> bool:
        self._counter, self._renewed_s, self._seen = counter, asked_s, None
        return True
