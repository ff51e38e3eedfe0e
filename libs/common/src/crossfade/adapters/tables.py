"""One DynamoDB table as the ownership protocol uses it: implements `crossfade.ports.table.OwnedTable`.

A single write is one conditional UpdateItem or PutItem. Many writes go as statements, 25 a request, each with its own
condition and error. A statement asks for more than its write does (`crossfade.adapters.batch_text`), so what one
refuses is put to `core.protocol.keyed.perform`: if the write would apply to the item that was met, it is sent again on
its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from crossfade.adapters.batch_text import BatchText
from crossfade.adapters.dynamodb import MAX_STATEMENTS, DynamoDB, StatementResult
from crossfade.adapters.owner_requests import (
    creation_too_wide,
    removes_attributes,
    render,
    render_put,
    render_stub,
    whole,
)
from crossfade.adapters.update_expression import Rendered, Standing
from crossfade.adapters.wire.errors import FAULTS, THROTTLES, UNFIT, ConditionFailed
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.protocol.keyed.item import Item, parse_item
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Answer, Fence, Write
from crossfade.core.protocol.writing import Applied, Refused, Unfit
from crossfade.core.values.backoff import backoff_s
from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreRefused, StoreUnavailable, Throttled
from crossfade.core.values.image import Image, decode_image, encode_image
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Side, TableShape
from crossfade.core.values.waves import waves
from crossfade.ports.table import ScanPage

IN_FLIGHT: Final = 8
"""Requests of one `perform_many` at the same time."""

ROUNDS: Final = 5
"""How often a throttled statement, or a write that keeps meeting another item, is sent before it is given back."""

BACK_OFF_S: Final = 0.05
"""Longest wait before the second try of a throttled statement; it doubles with each."""


class DynamoTable:
    """One table of the migration."""

    def __init__(
        self,
        dynamodb: DynamoDB,
        mapping: MigrationMapping,
        side: Side,
        *,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare the statements.

        Args:
            dynamodb: the data plane.
            mapping: of the migration; knows the table's shape, and which of its rows belong.
            side: which of the two tables.
            jitter: random, 0 to 1.
            sleep: waits before a throttled statement is sent again.

        Raises:
            ConfigError: the first operation of a key would be refused for good, whatever its key.
        """
        self._dynamodb = dynamodb
        self._shape = mapping.shape(side)
        if cause := creation_too_wide(self._shape):
            raise ConfigError(f"a row that the first operation creates has too many attributes: {cause}")
        self._belongs = mapping.belongs
        self._text = BatchText(self._shape)
        self._gate = asyncio.Semaphore(IN_FLIGHT)
        self._jitter = jitter
        self._sleep = sleep

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        return self._shape

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        """Perform one write. See `crossfade.ports.table.OwnedTable`."""
        try:
            return await self._perform(write, timeout_s)
        except StoreRefused as error:
            if error.reason not in UNFIT:
                raise
            return Unfit(str(error))

    async def _perform(self, write: Write, timeout_s: float | None) -> Answer:
        if isinstance(write, Fence):
            return await self._perform_fence(write, timeout_s)
        if self._shape.attributes is None and removes_attributes(write):
            return await self._perform_seen(write, timeout_s)
        request = render(write, self._shape)
        if request.too_wide and self._shape.may_put:
            return await self._perform_seen(write, timeout_s)
        return await self._send(write, request, timeout_s)

    async def _send(self, write: Write, request: Rendered, timeout_s: float | None) -> Answer:
        try:
            if request.is_put:
                await self._dynamodb.put_item(request.body, timeout_s=timeout_s)
                return perform(write, None, self._shape)
            return Applied(self._item(await self._dynamodb.update_item(request.body, timeout_s=timeout_s)))
        except ConditionFailed as refused:
            return Refused(None if refused.item is None else self._item(refused.item))

    async def _perform_fence(self, write: Fence, timeout_s: float | None) -> Answer:
        """A fence on a row leaves all else as it is; where nothing stands it is a stub. Either may meet the other."""
        for _ in range(ROUNDS):
            answer = await self._send(write, render(write, self._shape), timeout_s)
            if answer != Refused(None) or isinstance(perform(write, None, self._shape), Refused):
                return answer
            answer = await self._send(write, render_stub(write, self._shape), timeout_s)
            if not isinstance(answer, Refused):
                return answer
        raise Throttled(f"{self._shape.table}: the item appeared and disappeared during {ROUNDS} writes in a row")

    async def _perform_seen(self, write: Write, timeout_s: float | None) -> Answer:
        """Read the item, and write only while it is the same.

        An open shape has no list of what to remove; and what is too wide for an update is put whole (ADR 0015).
        """
        key = key_image(write.key, self._shape.key)
        found = await self._dynamodb.get_item(self._shape.table, key)
        for _ in range(ROUNDS):
            met = None if found is None else self._item(found)
            expected = perform(write, met, self._shape)
            if not isinstance(expected, Applied):
                return expected
            names = tuple(name for name, _ in met.content) if met else ()
            request = render(write, self._shape, Standing(met.version if met else None, names))
            try:
                if not request.too_wide:
                    return Applied(self._item(await self._dynamodb.update_item(request.body, timeout_s=timeout_s)))
                after = whole(found, expected.item, self._shape, write.key)
                await self._dynamodb.put_item(render_put(found, after, self._shape), timeout_s=timeout_s)
                return expected
            except ConditionFailed as refused:
                found = refused.item
        raise Throttled(f"{self._shape.table}: the item changed during {ROUNDS} writes in a row")

    async def perform_many(self, writes: Sequence[Write]) -> list[Answer | Exception]:
        """Perform writes in as few requests as the store allows. Of one key, they are performed in order."""
        answers: list[Answer | Exception] = [_UNANSWERED] * len(writes)
        for wave in waves((write.key, index) for index, write in enumerate(writes)):
            await self._perform_wave([(index, writes[index]) for index in wave], answers)
        return answers

    async def _perform_wave(self, wave: list[tuple[int, Write]], answers: list[Answer | Exception]) -> None:
        alone, batched = [], []
        for index, write in wave:
            statement = self._text.render(write) if len(wave) > 1 else None
            if statement is None:
                alone.append((index, write))
            else:
                batched.append((index, write, statement))
        chunks = [batched[start : start + MAX_STATEMENTS] for start in range(0, len(batched), MAX_STATEMENTS)]
        await asyncio.gather(
            *(self._perform_alone(index, write, answers) for index, write in alone),
            *(self._perform_chunk(chunk, answers) for chunk in chunks),
        )

    async def _perform_alone(self, index: int, write: Write, answers: list[Answer | Exception]) -> None:
        try:
            async with self._gate:
                answers[index] = await self.perform(write)
        except CrossfadeError as error:
            answers[index] = error

    async def _perform_chunk(self, chunk: list[tuple[int, Write, bytes]], answers: list[Answer | Exception]) -> None:
        pending, alone = chunk, []
        for attempt in range(ROUNDS):
            if attempt:
                await self._sleep(
                    backoff_s(attempt, first_s=BACK_OFF_S, longest_s=BACK_OFF_S * 2**ROUNDS, jitter=self._jitter())
                )
            throttled = []
            for entry, result in zip(pending, await self._execute(pending), strict=True):
                index, write, _ = entry
                answer = result if isinstance(result, Exception) else self._answer(write, result)
                if answer is None:
                    alone.append((index, write))
                    continue
                answers[index] = answer
                if isinstance(answer, Throttled) and not isinstance(result, Exception):
                    throttled.append(entry)
            pending = throttled
            if not pending:
                break
        await asyncio.gather(*(self._perform_alone(index, write, answers) for index, write in alone))

    async def _execute(self, chunk: list[tuple[int, Write, bytes]]) -> Sequence[StatementResult | Exception]:
        try:
            async with self._gate:
                return await self._dynamodb.execute([statement for _, _, statement in chunk])
        except StoreRefused as error:
            if error.reason != "ValidationException":
                return [error] * len(chunk)
            return [_NOT_READABLE] * len(chunk)  # one statement may fail all: each goes alone, and answers for itself
        except CrossfadeError as error:
            return [error] * len(chunk)

    def _answer(self, write: Write, result: StatementResult) -> Answer | CrossfadeError | None:
        """Read one statement's result; None when the write has to go alone."""
        try:
            item = None if result.item is None else self._item(result.item)
            if result.error is None:
                return StoreUnavailable(f"{self._shape.table}: no image returned") if item is None else Applied(item)
            if result.error == "ConditionalCheckFailed":
                refused = isinstance(perform(write, item, self._shape), Refused)
                return Refused(item) if refused else None
        except CrossfadeError as error:
            return error
        if result.error in THROTTLES:
            return Throttled(f"{self._shape.table}: {result.error}")
        if result.error in FAULTS:
            return StoreUnavailable(f"{self._shape.table}: {result.error}")
        return None

    async def read(self, key: Key, *, consistent: bool = True) -> Item | None:
        """Read one item."""
        image = await self._dynamodb.get_item(self._shape.table, key_image(key, self._shape.key), consistent=consistent)
        return None if image is None else self._item(image)

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, Item]:
        """Read items; keys without one are missing in the result."""
        if not keys:
            return {}
        names = self._shape.key
        images = await self._dynamodb.batch_get(
            self._shape.table, [key_image(key, names) for key in keys], consistent=consistent
        )
        return {encode_key(image, names): self._item(image) for image in images}

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> ScanPage[Item]:
        """Read one page of a parallel, consistent scan; see `crossfade.ports.table.OwnedTable`."""
        page = await self._dynamodb.scan(
            self._shape.table,
            segment=segment,
            segments=segments,
            start=None if start is None else decode_image(start),
            limit=limit,
        )
        keyed = ((encode_key(image, self._shape.key), image) for image in page.items)
        items = [(key, self._item(image)) for key, image in keyed if self._belongs(key)]
        return ScanPage(items, page.scanned, None if page.next_key is None else encode_image(page.next_key))

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        """See `crossfade.ports.table.Answers`."""
        return await self._dynamodb.scan_body(
            self._shape.table,
            segment=segment,
            segments=segments,
            start=start,
            limit=limit,
            consistent=False,
            counted=True,
        )

    async def read_answers(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """See `crossfade.ports.table.Answers`."""
        return await self._dynamodb.batch_get_bodies(self._shape.table, keys) if keys else []

    def _item(self, image: Image | None) -> Item:
        if image is None:
            raise StoreUnavailable(f"{self._shape.table}: the write's answer carries no item")
        return parse_item(image, self._shape)


_UNANSWERED: Final = StoreUnavailable("not sent")
_NOT_READABLE: Final = StatementResult("ValidationError", None)
