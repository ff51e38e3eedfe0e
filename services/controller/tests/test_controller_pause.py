"""A pause holds the migration in every phase, and nothing that clients or the other table live on (ADR 0017)."""

from __future__ import annotations

from typing import Any

import pytest

from controller_world import Killed, Town, run, settled
from crossfade.core.migration.phases import PAUSE_GOES_ON, PAUSE_RESTS
from crossfade.core.protocol.keyed.writes import Seal
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.shape import Side
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of
from engagement_api.keys import wallet_key

QUIET_TICKS = 60
COMPLETE = {"confirm": "engagement", "revoked": True}
WAY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("start", {"exclude": []}),
    ("ramp", {"share": 5_000}),
    ("cutover", {}),
    ("complete", COMPLETE),
)


async def ticks(town: Town, driver: Driver, count: int) -> None:
    for _ in range(count):
        await town.live()
        await driver.tick()


def journalled(town: Town) -> int:
    """Count what the controller decided: entries other than an operator's, and other than about a pause."""
    return sum(
        each.who == "controller" and each.kind not in ("pause", "outcome", "halt") for each in town.store.journal
    )


async def test_paused_at_each_step_of_each_phase_nothing_is_decided_published_or_moved_until_the_resume() -> None:
    """Every command, from start to complete, is paused after each single entry of the controller's."""
    town = Town(wallets=2)
    ctx, driver = await town.start()
    for verb, arguments in WAY:
        number = await town.ask(verb, **arguments)
        while town.outcome(number) is None:
            before = journalled(town)
            while journalled(town) == before and town.outcome(number) is None:
                await ticks(town, driver, 1)
            if town.outcome(number) is not None:
                break
            await _paused_for_a_while(town, ctx, driver)
    assert town.entries("phase")[-1].body["to"] == "COMPLETE"


async def _paused_for_a_while(town: Town, ctx: Context, driver: Driver) -> None:
    await town.ask("pause")
    await ticks(town, driver, 1)
    decided, flags, owners, calls = journalled(town), town.flags.current(), town.owners(), list(town.aws.calls)
    await ticks(town, driver, 6)
    assert driver.waiting_for.startswith("crossfade resume --execute: ann paused the migration"), ctx.state.phase
    assert (journalled(town), town.flags.current(), town.owners()) == (decided, flags, owners), ctx.state.phase
    assert town.aws.calls == calls
    await town.ask("resume")
    await ticks(town, driver, 1)


@pytest.mark.parametrize(("verb", "phase"), [("rollback", "RAMPING"), ("abort", "BOTH_WAYS")])
async def test_the_way_back_waits_for_the_resume_and_says_so(verb: str, phase: str) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    if phase == "RAMPING":
        await settled(town, "ramp", share=5_000)
    _, driver = await town.start()
    await town.ask("pause")
    number = await town.ask(verb, **({"confirm": "engagement"} if verb == "abort" else {}))
    await ticks(town, driver, QUIET_TICKS)
    assert town.entries("phase")[-1].body["to"] == phase
    assert town.outcome(number) is None
    assert f"; {verb} is waiting for that, too" in driver.waiting_for
    await town.ask("resume")
    await run(town, lambda: town.outcome(number) is not None)


async def test_a_key_left_between_the_tables_is_helped_while_paused() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=100)
    ctx, driver = await town.start()
    await town.ask("pause")
    await ticks(town, driver, 2)
    key = wallet_key("w3", "chan")
    generation = ctx.state.document.target_gen
    await town.tables[Side.SOURCE].perform(Seal(key, generation, town.now_us() << 10))
    await ticks(town, driver, QUIET_TICKS)
    image = await ctx.world.ownership.owner_read(key, Aim(Side.TARGET, generation))
    assert (image.side, image.item is not None) == (Side.TARGET, True)
    assert ctx.sweeper.helped == 1
    assert town.entries("pause")[-1].body["paused"]


async def test_flags_decided_before_a_pause_are_not_published_by_a_restart() -> None:
    """Killed between the decision and the publication, then paused: a controller that starts must not publish."""
    town = Town()
    await settled(town, "start", exclude=[])
    before = town.flags.current()

    def dies(when: str, _number: int, kind: str) -> None:
        if (when, kind) == ("after", "share"):
            raise Killed

    town.kill = dies
    await town.ask("ramp", share=5_000)
    _, driver = await town.start()
    with pytest.raises(Killed):
        await ticks(town, driver, QUIET_TICKS)
    town.kill = lambda _when, _number, _kind: None
    await town.ask("pause")
    _, driver = await town.start()
    await ticks(town, driver, QUIET_TICKS)
    assert town.flags.current() == before
    await settled(town, "resume")
    await run(town, lambda: town.flags.current().document.share == 5_000)


async def test_status_says_what_rests_and_what_goes_on() -> None:
    town = Town()
    ctx, driver = await town.start()
    await town.ask("pause")
    await ticks(town, driver, 2)
    body = status_of(ctx, driver.wait)
    assert body["pause"] == {"by": "ann", "rests": PAUSE_RESTS, "goes_on": PAUSE_GOES_ON}
    text = status_text(body)
    assert "PAUSED by ann" in text
    assert all(f"on hold: {each}" in text for each in PAUSE_RESTS)
    assert all(f"continues: {each}" in text for each in PAUSE_GOES_ON)
