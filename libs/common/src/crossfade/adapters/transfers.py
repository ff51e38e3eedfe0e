"""State transfers to a DynamoDB table: up to 25 conditional PartiQL statements a request (section 3, rule 10).

    UPDATE … WHERE key AND cf_mv<? AND …     an older row that the protocol lets take it takes the image
      refused, nothing there    → INSERT               as standby, with the transfer's first generation
      refused, an item there    → what the protocol's `judge` says of it
      INSERT: DuplicateItem     → UPDATE               somebody else was first

Values are spliced into the statements as they came and never decoded. A statement names the whole closed list of
attributes: what the image has is set, what it lacks is removed. Role and generation of a row that exists are never
named. An open shape has no such list: `crossfade.adapters.open_transfers` writes those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from crossfade.adapters.dynamodb import MAX_STATEMENTS, DynamoDB, StatementResult
from crossfade.adapters.open_transfers import OpenTransfers
from crossfade.adapters.transfer_text import TransferText
from crossfade.adapters.wire.errors import FAULTS, THROTTLES, UNFIT
from crossfade.core.protocol.seam import WriterProtocol
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values.errors import PoisonRecord, StoreRefused, Throttled
from crossfade.core.values.image import Image
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import TableShape
from crossfade.core.values.waves import waves
from crossfade.ports.sending import NotSent, Sent

ROUNDS: Final = 4
"""How often a transfer may change between UPDATE and INSERT before it is given back as not written."""

IN_FLIGHT: Final = 8
"""Requests of one call at the same time."""

LARGE_BYTES: Final = 300_000
"""A statement from this size on is looked at before it is sent: the row may come close to what an item may have."""


class DynamoTransfers:
    """State transfers to one table; implements `crossfade.ports.table.TransferTable`."""

    def __init__(self, dynamodb: DynamoDB, shape: TableShape, protocol: WriterProtocol) -> None:
        """Prepare the statements.

        Args:
            dynamodb: the data plane.
            shape: of the table written to.
            protocol: of the migration.

        Raises:
            ConfigError: the mapping has too many attributes for one statement.
        """
        self._dynamodb = dynamodb
        self._shape, self._protocol = shape, protocol
        self._parse = protocol.reader(shape).row
        self._gate = asyncio.Semaphore(IN_FLIGHT)
        self._text = TransferText(shape, protocol.spelling)
        self._open = OpenTransfers(dynamodb, shape, in_flight=IN_FLIGHT) if shape.attributes is None else None

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        """See `crossfade.ports.table.TransferTable`. More than 25, or one key twice, makes several requests.

        Args:
            transfers: what to write.
            timeout_s: for each request, which is then sent only once; None for the client's own time and retries.

        Raises:
            StoreUnavailable: the outcome of all of them is unknown; every transfer is safe to send again.
            StoreRefused: the table is gone, or may not be written.
        """
        if self._open is not None:
            return await self._open.transfer(transfers, timeout_s=timeout_s)
        if len(transfers) <= MAX_STATEMENTS and len({transfer.key for transfer in transfers}) == len(transfers):
            return await self._write(transfers, timeout_s) if transfers else []
        verdicts: list[Sent] = [NotSent.THROTTLED] * len(transfers)
        for wave in waves((transfer.key, index) for index, transfer in enumerate(transfers)):
            chunks = [wave[start : start + MAX_STATEMENTS] for start in range(0, len(wave), MAX_STATEMENTS)]
            outcomes = await asyncio.gather(
                *(self._write([transfers[index] for index in chunk], timeout_s) for chunk in chunks),
                return_exceptions=True,
            )
            for chunk, outcome in zip(chunks, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    raise outcome
                for index, verdict in zip(chunk, outcome, strict=True):
                    verdicts[index] = verdict
        return verdicts

    async def _write(self, transfers: Sequence[Transfer], timeout_s: float | None) -> list[Sent]:
        verdicts: list[Sent] = [Verdict.APPLIED] * len(transfers)
        pending = dict.fromkeys(range(len(transfers)), False)  # index -> whether it is an INSERT now
        for _ in range(ROUNDS):
            results = await self._execute([(transfers[index], insert) for index, insert in pending.items()], timeout_s)
            following = {}
            for index, result in zip(pending, results, strict=True):
                if result.error is None:
                    continue
                answer = self._read(transfers[index], result)
                if isinstance(answer, bool):
                    following[index] = answer
                else:
                    verdicts[index] = answer
            if not following:
                return verdicts
            pending = following
        for index in pending:
            verdicts[index] = NotSent.THROTTLED
        return verdicts

    async def _execute(self, batch: list[tuple[Transfer, bool]], timeout_s: float | None) -> list[StatementResult]:
        statements = [self._text.insert(each) if insert else self._text.update(each) for each, insert in batch]
        if max(map(len, statements)) >= LARGE_BYTES:
            if len(batch) > 1:
                return [result for each in batch for result in await self._execute([each], timeout_s)]
            if cause := await self._why_unfit(batch[0][0]):
                return [StatementResult("ValidationError", None, cause)]
        attempts = None if timeout_s is None else 1
        try:
            async with self._gate:
                return await self._dynamodb.execute(statements, timeout_s=timeout_s, attempts=attempts)
        except Throttled:
            return [_THROTTLED] * len(batch)
        except StoreRefused as error:
            if error.reason not in UNFIT:
                raise
            if len(batch) == 1:
                return [StatementResult(error.reason, None, str(error))]
        # One statement that the engine can't even read refuses all of them: find it.
        return [result for each in batch for result in await self._execute([each], timeout_s)]

    async def _why_unfit(self, transfer: Transfer) -> str:
        """Say why a large transfer can't be taken. The store itself would not keep room for a later seal or fence."""
        shape = self._shape
        found = await self._dynamodb.get_item(shape.table, key_image(transfer.key, shape.key))
        try:
            standing = None if found is None else self._parse(found)
            if self._protocol.judge(transfer, standing, shape) is not Verdict.APPLIED:
                return ""  # what becomes of it is another matter, and the statement will tell
            return self._protocol.unfit_transfer(transfer, shape, standing=standing)
        except PoisonRecord:
            return ""

    def _read(self, transfer: Transfer, result: StatementResult) -> Sent | bool:
        """Return the verdict of an error, or whether to go on with an INSERT (True) or an UPDATE (False)."""
        error = result.error
        if error == "ConditionalCheckFailed":
            return True if result.item is None else self._judge(transfer, result.item)
        if error == "DuplicateItem":
            return False
        if error in UNFIT:
            return Unfit(result.message or str(error))
        if error in THROTTLES or error in FAULTS:
            return NotSent.THROTTLED
        raise StoreRefused(f"{self._shape.table}: a statement was refused: {error}", reason=error or "")

    def _judge(self, transfer: Transfer, found: Image) -> Sent | bool:
        try:
            verdict = self._protocol.judge(transfer, self._parse(found), self._shape)
        except PoisonRecord:
            return Verdict.UNVERSIONED
        return False if verdict is Verdict.APPLIED else verdict


_THROTTLED: Final = StatementResult("ThrottlingError", None)
