"""A flip under the plain protocol, on the shipped fakes: there, back, and there again."""

from crossfade.core.migration.phases import Phase
from crossfade.core.values.shape import Side
from flip_world import FlipTown, done, run


async def test_a_plain_migration_goes_there_and_back_and_there_again() -> None:
    town = FlipTown()
    await done(town, "start")
    assert town.map is not None
    town.write(1, "paid")
    town.delete(2)
    said = await done(town, "cutover")
    assert "writes were stopped for" in said
    town.check()
    town.check_open()
    assert town.map.owner is Side.TARGET
    town.write(3, "shipped")
    town.delete(4)
    await town.live(25)
    await done(town, "rollback")
    town.check()
    town.check_open()
    assert town.writes_to is Side.SOURCE
    town.write(5, "late")
    await town.live(25)
    await done(town, "cutover")
    town.check()
    ctx, _ = await run(town, lambda: True)
    assert ctx.state.phase is Phase.BAKING
