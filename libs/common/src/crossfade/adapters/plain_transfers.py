"""Copies of owner's rows to the standby under the plain protocol: one conditional PutItem each, and no read.

    a row with a lower fence, or without one, or none     takes the copy
    in an interval that a flip began: a row with a lower fence of this very interval takes it
    anything else                                         is handed back as it stands, for the protocol to judge

A standby's row is Crossfade's alone, so it is replaced whole. Values are spliced into the request as they came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire.errors import UNFIT, ConditionFailed
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values.errors import StoreRefused, Throttled
from crossfade.core.values.image import Image
from crossfade.core.values.keys import decode_key
from crossfade.core.values.shape import TableShape
from crossfade.ports.sending import NotSent

IN_FLIGHT: Final = 8
"""Requests of one call at the same time."""

_encode: Final = msgspec.json.encode


class Met(NamedTuple):
    """The condition failed; the row that stood in the way, None for nothing."""

    row: Image | None


Copied: TypeAlias = Verdict | Met | Unfit | NotSent
"""`Verdict.APPLIED`; what it met; refused for good; or not written."""


class PlainTransfers:
    """Fenced copies to one table, the standby."""

    def __init__(self, dynamodb: DynamoDB, shape: TableShape, *, in_flight: int = IN_FLIGHT) -> None:
        """Prepare what all requests share.

        Args:
            dynamodb: the data plane.
            shape: of the table written to.
            in_flight: requests of one call at the same time.
        """
        self._dynamodb = dynamodb
        self._in_flight = in_flight
        self._names: dict[str, bytes] = {}
        self._keys = [_named(name) for name in shape.key]
        self._start = b'{"TableName":%b,"Item":{' % _encode(shape.table)

    async def copy(self, transfers: Sequence[Transfer], floor: int, *, timeout_s: float | None = None) -> list[Copied]:
        """Write copies of different keys.

        Args:
            transfers: what to write, in the table's names; a tombstone is one with `cf_deleted`.
            floor: the lowest fence of this interval; 0 where a row without a fence may be overwritten.
            timeout_s: for each request, which is then sent only once; None for the client's own time and retries.

        Raises:
            StoreUnavailable: the outcome of all of them is unknown; every copy is safe to send again.
            StoreRefused: the table is gone, or may not be written.
        """
        copied: list[Copied] = [NotSent.THROTTLED] * len(transfers)
        left = iter(range(len(transfers)))

        async def work() -> None:
            for index in left:
                copied[index] = await self._put(transfers[index], floor, timeout_s)

        workers = min(self._in_flight, len(transfers))
        if workers <= 1:
            await work()
            return copied
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return copied

    async def _put(self, transfer: Transfer, floor: int, timeout_s: float | None) -> Copied:
        attempts = None if timeout_s is None else 1
        try:
            await self._dynamodb.put_item(self.request(transfer, floor), timeout_s=timeout_s, attempts=attempts)
        except ConditionFailed as error:
            return Met(error.item)
        except Throttled:
            return NotSent.THROTTLED
        except StoreRefused as error:
            if error.reason in UNFIT:
                return Unfit(str(error))
            raise
        return Verdict.APPLIED

    def request(self, transfer: Transfer, floor: int) -> bytes:
        """Return the request of one copy; arguments as of `copy`."""
        version = transfer.version
        condition = _FENCED % version if not floor else _OF_INTERVAL % (floor, version - 1)
        return b'%b%b,"cf_mv":{"N":"%d"}},%b' % (self._start, b",".join(self._item(transfer)), version, condition)

    def _item(self, transfer: Transfer) -> Iterator[bytes]:
        for start, value in zip(self._keys, decode_key(transfer.key), strict=True):
            yield start + bytes(value)
        names = self._names
        for name, value in transfer.image.items():
            if name not in names:
                names[name] = _named(name)
            yield names[name] + bytes(value)


def _named(name: str) -> bytes:
    return _encode(name) + b":"


_END: Final = b',"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}'
_FENCED: Final = (
    b'"ConditionExpression":"attribute_not_exists(cf_mv) OR cf_mv < :v","ExpressionAttributeValues":{":v":{"N":"%d"}}'
    + _END
)
_OF_INTERVAL: Final = (
    b'"ConditionExpression":"cf_mv BETWEEN :f AND :v","ExpressionAttributeValues":'
    b'{":f":{"N":"%d"},":v":{"N":"%d"}}' + _END
)
