"""After a migration: what it left in rows is taken out, and the rows of a shared source are retired."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.adapters.memory.plain_table import MemoryPlainTable
from crossfade.core.migration.phases import Phase
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.runtime.pace import Pace
from crossfade_controller.afterwards import Done, check_retire, clean, retire, sides_to_clean, written_since
from flip_world import ORDERS, FlipTown, done, key_of, run


def pace() -> Pace:
    return Pace(1_000_000)


def told(_done: Done) -> None:
    pass


async def cleaned(town: FlipTown, side: Side, *, execute: bool = True) -> Done:
    return await clean(MemoryPlainTable(town.tables[side]), pace=pace(), execute=execute, told=told)


def ours(town: FlipTown, side: Side) -> list[Key]:
    rows = town.tables[side].images
    return [key for key, image in rows.items() if any(name.startswith("cf_") for name in image)]


async def there_and_back() -> FlipTown:
    town = FlipTown()
    await done(town, "start")
    town.write(1, "paid")
    await done(town, "cutover")
    town.write(2, "shipped")
    town.delete(3)
    await town.live(25)
    await done(town, "rollback")
    return town


async def state_of(town: FlipTown) -> Any:
    ctx, _ = await run(town, lambda: True)
    return ctx.state


async def test_after_a_rollback_the_owners_rows_are_cleaned_while_the_application_writes() -> None:
    town = await there_and_back()
    assert sides_to_clean(await state_of(town)) == (Side.SOURCE,)
    assert ours(town, Side.SOURCE)
    before = town.contents(Side.SOURCE)
    looked = await cleaned(town, Side.SOURCE, execute=False)
    assert looked.found == len(ours(town, Side.SOURCE)) > 0
    assert looked.written == 0
    await cleaned(town, Side.SOURCE)
    assert not ours(town, Side.SOURCE)
    assert town.contents(Side.SOURCE) == before
    await town.live(1)
    town.check()
    assert town.contents(Side.TARGET) == before, "what was cleaned travels as any other write"
    assert (await cleaned(town, Side.SOURCE)).found == 0, "run again, there is nothing to do"


async def test_a_standbys_fences_are_never_cleaned() -> None:
    town = FlipTown()
    await done(town, "start")
    with pytest.raises(ConfigError, match="clean is not possible in BOTH_WAYS"):
        sides_to_clean(await state_of(town))
    await done(town, "cutover")
    with pytest.raises(ConfigError, match="clean is not possible in BAKING"):
        sides_to_clean(await state_of(town))


async def test_after_complete_both_tables_are_cleaned_and_tombstones_go() -> None:
    town = FlipTown()
    await done(town, "start")
    await done(town, "cutover")
    town.write(1, "paid")
    town.delete(2)
    await town.live(25)
    await done(town, "complete", confirm="orders")
    state = await state_of(town)
    assert sides_to_clean(state) == tuple(Side)
    found = {side: await cleaned(town, side) for side in Side}
    assert found[Side.SOURCE].tombstones == 1
    assert not ours(town, Side.SOURCE)
    assert not ours(town, Side.TARGET)
    assert key_of(2) not in town.tables[Side.SOURCE].images
    town.check()


class Busy(MemoryPlainTable):
    """A table whose rows change between a read and a write of ours."""

    def __init__(self, town: FlipTown, side: Side) -> None:
        super().__init__(town.tables[side])
        self._town, self._side = town, side

    async def strip(self, key: Key, names: Any, *, fence: int) -> bool:
        self._town.tables[self._side].delete(key)
        return await super().strip(key, names, fence=fence)


async def test_a_row_that_was_deleted_meanwhile_is_not_created_again() -> None:
    town = await there_and_back()
    found = await clean(Busy(town, Side.SOURCE), pace=pace(), execute=True, told=told)
    assert found.kept == found.found > 0
    assert "run clean again" in found.named[0]
    assert not ours(town, Side.SOURCE)


async def completed() -> FlipTown:
    town = FlipTown()
    await done(town, "start")
    await done(town, "cutover")
    town.write(1, "paid")
    await town.live(25)
    await done(town, "complete", confirm="orders")
    return town


async def retired(town: FlipTown, *, keep: Any = (), execute: bool = True) -> Done:
    state = await state_of(town)
    check_retire(state)
    at_s = state.since_us / 1e6
    changed = await written_since(town.aws, "wallet-changes", ORDERS, at_s=at_s)
    table = MemoryPlainTable(town.tables[Side.SOURCE])
    return await retire(table, mapping=ORDERS, keep=keep, changed=changed, pace=pace(), execute=execute, told=told)


async def test_retiring_deletes_the_migrated_rows_and_says_first_what_it_costs() -> None:
    town = await completed()
    looked = await retired(town, execute=False)
    assert looked.found == looked.write_units == len(town.tables[Side.SOURCE].images) == 9
    found = await retired(town)
    assert (found.written, found.kept) == (9, 0)
    assert not town.tables[Side.SOURCE].images
    town.check()


async def test_what_others_wrote_since_complete_stays_and_so_does_what_never_moved() -> None:
    town = await completed()
    town.now_s += 5
    image = town.tables[Side.SOURCE].images[key_of(4)]
    town.tables[Side.SOURCE].put({**image, "status": of_string("by somebody")})
    await cleaned(town, Side.SOURCE)  # its records are no writes of others
    found = await retired(town, keep={key_of(5)})
    assert set(town.tables[Side.SOURCE].images) == {key_of(4), key_of(5)}
    assert found.kept == 2
    assert any("written to after COMPLETE" in each for each in found.named)
    assert any("left out of the migration" in each for each in found.named)


async def test_nothing_is_retired_before_complete() -> None:
    town = FlipTown()
    await done(town, "start")
    await done(town, "cutover")
    state = await state_of(town)
    assert state.phase is Phase.BAKING
    with pytest.raises(ConfigError, match="retire is not possible in BAKING"):
        check_retire(state)
