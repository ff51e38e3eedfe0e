"""The stream read past the scan's end: an owner write to the emptied table keeps the cutover open."""

from dataclasses import dataclass

import pytest

from controller_world import Town, run, settled
from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.migration.deeds import Aftermath
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Side
from crossfade_controller.aftermath import read_aftermath
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet

STREAM = "wallet-changes"
BEGAN_S = 1_764_230_400.0


@dataclass
class Source:
    """A source table with its stream."""

    now_s: float = BEGAN_S

    async def open(self) -> MemoryTable:
        self.aws = MemoryAws({}, {"wallet"}, now_us=self.now_us)
        self.table = MemoryTable(
            MAPPING.shape(Side.SOURCE),
            on_change=lambda payload: self.aws.record("wallet", payload),
            now_us=self.now_us,
        )
        await self.aws.create_stream(STREAM, shards=1)
        await self.aws.enable_destination("wallet", f"stream/{STREAM}")
        return self.table

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    async def read(self, since_s: float, **more: int) -> Aftermath:
        return await read_aftermath(
            self.aws, STREAM, MAPPING, Side.SOURCE, since_us=int(since_s * 1e6), margin_s=2.0, complete=False, **more
        )


async def test_an_owner_write_committed_since_then_is_found() -> None:
    source = Source()
    table = await source.open()
    table.put(legacy_wallet("late", "chan", 1))
    found = await source.read(since_s=BEGAN_S)
    assert (found.records, found.active) == (1, 1)
    assert "late" in found.samples[0]


async def test_state_transfers_others_rows_and_what_was_written_before_do_not_count() -> None:
    source = Source()
    table = await source.open()
    table.put(legacy_wallet("before", "chan", 1))
    source.now_s += 1.0
    table.put({**legacy_wallet("standby", "chan", 1), "cf_role": of_string("S")})
    for row in NOT_OURS:
        table.put(row)
    found = await source.read(since_s=BEGAN_S + 1.0)
    assert (found.records, found.active) == (5, 0)


async def test_rule_12_an_old_duplicate_that_arrives_late_does_not_count() -> None:
    source = Source()
    table = await source.open()
    table.put(legacy_wallet("before", "chan", 1))
    source.now_s += 60.0
    source.aws.record("wallet", table.changes[0])
    found = await source.read(since_s=BEGAN_S + 59.0)
    assert (found.records, found.active) == (1, 0)


async def test_what_cannot_be_read_counts_since_it_may_be_a_write() -> None:
    source = Source()
    await source.open()
    source.aws.record("wallet", b"not a record")
    assert (await source.read(since_s=BEGAN_S)).active == 1


async def test_a_shard_longer_than_a_page_is_read_to_its_end() -> None:
    source = Source()
    table = await source.open()
    for number in range(1500):
        table.put(legacy_wallet("one", "chan", number))
    table.put(legacy_wallet("late", "chan", 1))
    assert (await source.read(since_s=BEGAN_S)).records == 1501


async def test_a_shard_without_an_end_is_an_error_not_a_proof() -> None:
    source = Source()
    table = await source.open()
    for number in range(1500):
        table.put(legacy_wallet("one", "chan", number))
    with pytest.raises(StoreUnavailable):
        await source.read(since_s=BEGAN_S, max_calls=1)


async def test_section_5_a_write_to_source_during_the_last_pass_keeps_the_cutover_open() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=10_000)
    late = key_of_strings("USER#late", "POINTS#chan")
    read = town.aws.shard_iterator
    passes: list[float] = []

    async def written_meanwhile(stream: str, shard_id: str, **position: object) -> str:
        """A pod that nobody heard of creates a key after the scan went past it."""
        if "at_s" not in position:  # a marker's
            return await read(stream, shard_id, **position)  # type: ignore[arg-type]  # passed on as it came
        if not passes:
            town.tables[Side.SOURCE].put(legacy_wallet("late", "chan", 5))
        passes.append(town.now_s)
        return await read(stream, shard_id, **position)  # type: ignore[arg-type]  # passed on as it came

    town.aws.shard_iterator = written_meanwhile  # type: ignore[method-assign]  # looks on, and passes on
    number = await town.ask("cutover")
    await run(town, lambda: len(passes) == 1)
    assert not [each for each in town.entries("step") if each.body["step"] == "all-moved"]
    await run(town, lambda: town.outcome(number) is not None)
    assert len(passes) == 2
    assert town.owners()[Side.SOURCE] == 0
    assert town.tables[Side.TARGET].item(late) is not None
