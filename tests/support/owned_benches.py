"""An owned table under test, in memory or on an engine, and the check that a write means what `perform` says."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.tables import DynamoTable
from crossfade.core.mapping.rules import RuleMapping
from crossfade.core.protocol.keyed.fit import unfit
from crossfade.core.protocol.keyed.item import Item, build_image, is_active
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Activate, Answer, Operate, OperateAndTrim, Write
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side
from crossfade.ports.table import Answers, Table
from ownership_cases import comparable


class Both(Answers, Table[Item, Write], Protocol):
    """A table that answers the writers and the verifier."""


class Bench(Protocol):
    """A table under test, and a way around the protocol to set it up."""

    @property
    def table(self) -> Both: ...

    async def put(self, key: Key, item: Item | None) -> None: ...

    async def image(self, key: Key) -> Image | None: ...


class MemoryBench:
    def __init__(self, mapping: RuleMapping, side: Side) -> None:
        self.table = MemoryTable(mapping.shape(side), belongs=mapping.belongs, unfit=self.unfit)

    def unfit(self, write: Write) -> str:
        return unfit(write.key, write.sealed, self.table.shape) if isinstance(write, Activate) else ""

    async def put(self, key: Key, item: Item | None) -> None:
        if item is None:
            self.table.delete(key)
        else:
            self.table.put(build_image(item, self.table.shape, key_image(key, self.table.shape.key)))

    async def image(self, key: Key) -> Image | None:
        return self.table.images.get(key)


class EmbeddedBench:
    def __init__(self, dynamodb: DynamoDB, mapping: RuleMapping, side: Side) -> None:
        name = uuid.uuid4().hex[:12]
        self.dynamodb = dynamodb
        self.mapping = mapping.with_tables(source=f"source-{name}", target=f"target-{name}")
        self.table = DynamoTable(dynamodb, self.mapping, side)

    async def put(self, key: Key, item: Item | None) -> None:
        shape = self.table.shape
        name, at = json.dumps(shape.table).encode(), key_image(key, shape.key)
        if item is None:
            await self.dynamodb.delete_item(b'{"TableName":%b,"Key":%b}' % (name, encode_image(at)))
        else:
            image = encode_image(build_image(item, shape, at))
            await self.dynamodb.put_item(b'{"TableName":%b,"Item":%b}' % (name, image))

    async def image(self, key: Key) -> Image | None:
        return await self.dynamodb.get_item(self.table.shape.table, key_image(key, self.table.shape.key))


OpenBench: TypeAlias = Callable[[Side], Bench]


def keyed(write: Write, number: int) -> Write:
    """The same write of another key, so that many fit in one batch."""
    key = key_of_strings(f"USER#{number}", "POINTS#chan-3")
    if isinstance(write, Operate | OperateAndTrim):
        return replace(write, key=key, op=replace(write.op, key=key))
    return replace(write, key=key)


async def check(bench: Bench, pairs: Sequence[tuple[Item | None, Write]], *, together: bool) -> list[Answer]:
    """Perform each write on its item; compare the answer and what then stands there with `perform`."""
    shape = bench.table.shape
    numbered = [(before, keyed(write, n)) for n, (before, write) in enumerate(pairs)]
    await asyncio.gather(*(bench.put(write.key, before) for before, write in numbered))
    # What an engine stores is what the write meets: it may spell a value in its own way.
    met = dict(await bench.table.read_many([write.key for _, write in numbered]))
    if together:
        answers = await bench.table.perform_many([write for _, write in numbered])
    else:
        answers = [await bench.table.perform(write) for _, write in numbered]
    after = dict(await bench.table.read_many([write.key for _, write in numbered]))
    for (before, write), answer in zip(numbered, answers, strict=True):
        assert comparable(met.get(write.key)) == comparable(before)
        assert not isinstance(answer, Exception), (answer, before, write)
        expected = perform(write, before, shape)
        assert type(answer) is type(expected), (before, write)
        assert comparable(answer.item) == comparable(expected.item), (before, write)
        assert comparable(after.get(write.key)) == comparable(expected.item), (before, write)
        if expected.item is not None and expected.item.ttl and shape.ttl is not None:
            image = await bench.image(write.key) or {}
            fires = is_active(expected.item, shape.side)
            assert (shape.ttl in image, "cf_ttl" in image) == (fires, not fires), (before, write)
    return [answer for answer in answers if not isinstance(answer, Exception)]
