"""State transfers of open shapes: one UpdateItem each (design.md, section 3, rule 10).

An open mapping has no list of attributes, so what the image lacks can only be told from the item that stands there.
It is read first, and the write holds only while that item is still at the version that was read; role and generation
stay as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.owner_requests import render_put
from crossfade.adapters.wire.errors import UNFIT, ConditionFailed
from crossfade.core.protocol.keyed.fence import judge
from crossfade.core.protocol.keyed.fit import needs_put, unfit_transfer
from crossfade.core.protocol.keyed.item import MV, ROLE, Role, parse_item
from crossfade.core.protocol.keyed.replacing import Replacement, transferred
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord, StoreRefused, Throttled
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import TableShape
from crossfade.ports.sending import NotSent, Sent

ROUNDS: Final = 4
"""How often the item may change under the write before the transfer is given back as not written."""

_encode = msgspec.json.encode


class OpenTransfers:
    """State transfers to a table of an open shape."""

    def __init__(self, dynamodb: DynamoDB, shape: TableShape, *, in_flight: int) -> None:
        self._dynamodb = dynamodb
        self._shape = shape
        self._gate = asyncio.Semaphore(in_flight)

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        """See `crossfade.adapters.transfers.DynamoTransfers.transfer`."""
        outcomes = await asyncio.gather(
            *(self._gated(transfer, timeout_s) for transfer in transfers), return_exceptions=True
        )
        verdicts = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            verdicts.append(outcome)
        return verdicts

    async def _gated(self, transfer: Transfer, timeout_s: float | None) -> Sent:
        async with self._gate:
            try:
                return await self._write(transfer, timeout_s)
            except Throttled:
                return NotSent.THROTTLED
            except StoreRefused as error:
                if error.reason in UNFIT:
                    return Unfit(str(error))
                raise

    async def _write(self, transfer: Transfer, timeout_s: float | None) -> Sent:
        shape = self._shape
        found = await self._dynamodb.get_item(shape.table, key_image(transfer.key, shape.key))
        for _ in range(ROUNDS):
            try:
                item = None if found is None else parse_item(found, shape)
                verdict = judge(transfer, item, shape).verdict
            except PoisonRecord:
                return Verdict.UNVERSIONED
            if verdict is not Verdict.APPLIED:
                return verdict
            if cause := unfit_transfer(transfer, shape, standing=item):
                return Unfit(cause)
            try:
                attempts = None if timeout_s is None else 1
                await self._send(transfer, found, timeout_s=timeout_s, attempts=attempts)
            except ConditionFailed as error:
                found = error.item
            else:
                return Verdict.APPLIED
        return NotSent.THROTTLED

    async def _send(
        self, transfer: Transfer, found: Image | None, *, timeout_s: float | None, attempts: int | None
    ) -> None:
        shape = self._shape
        replacement = transferred(transfer, shape, found)
        if needs_put(replacement):  # the whole row, as the update would leave it (ADR 0015)
            after = replacement.onto(found, key_image(transfer.key, shape.key))
            body = render_put(found, after, shape)
            await self._dynamodb.put_item(body, timeout_s=timeout_s, attempts=attempts)
        else:
            body = self._update(transfer, found, replacement)
            await self._dynamodb.update_item(body, timeout_s=timeout_s, attempts=attempts)

    def _update(self, transfer: Transfer, found: Image | None, replacement: Replacement) -> bytes:
        shape = self._shape
        names, values = replacement.names(), replacement.values()
        if found is None:
            names["#k"] = shape.key[0]
            condition = "attribute_not_exists(#k)"
        else:
            condition = f"{ROLE} = :r AND {MV} = :seen"
            values |= {":r": wire.of_string(Role.STANDBY.value), ":seen": found[MV]}
        return (
            b'{"TableName":%b,"Key":%b,"UpdateExpression":%b,"ConditionExpression":%b,"ExpressionAttributeNames":%b,'
            b'"ExpressionAttributeValues":%b,"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}'
        ) % (
            _encode(shape.table),
            encode_image(key_image(transfer.key, shape.key)),
            _encode(replacement.expression()),
            _encode(condition),
            _encode(names),
            encode_image(values),
        )
