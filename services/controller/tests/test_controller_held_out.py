"""Keys that can't move: they stay at home, are named, and hold nothing open (ADR 0017)."""

from __future__ import annotations

from functools import partial

import pytest

from controller_world import Town, run, settled
from crossfade.core.mapping.copies import EXCLUDED
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.item import Role, is_active, is_fence, is_held_out
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of
from engagement_api.keys import wallet_key

COMPLETE = {"confirm": "engagement", "revoked": True}


async def ticks(town: Town, driver: Driver, count: int) -> None:
    for _ in range(count):
        await town.live()
        await driver.tick()


def widen(town: Town, user: str) -> Key:
    """Give a row an attribute that the mapping doesn't know, as a row of before BOTH_WAYS may have."""
    key = wallet_key(user, "chan")
    town.tables[Side.SOURCE].put({**town.tables[Side.SOURCE].images[key], "surprise": of_string("x")})
    return key


async def excluded(town: Town, *users: str) -> list[Key]:
    """Start a migration that leaves some rows out, since they stopped to map after the plan."""
    keys = [wallet_key(user, "chan") for user in users]
    await town.ask("start", exclude=[key.decode() for key in keys])
    await run(town, lambda: any(each.body["to"] == "CAPTURING" for each in town.entries("phase")))
    for user in users:
        widen(town, user)
    await run(town, lambda: town.outcome(1) is not None)
    return keys


async def test_excluded_keys_are_marked_in_their_rows_before_the_first_percent() -> None:
    """Before that nobody but the controller knew of them, and the verifier called them missing forever."""
    town = Town()
    (key,) = await excluded(town, "w1")
    assert is_held_out(town.tables[Side.SOURCE].item(key))
    assert is_fence(town.tables[Side.TARGET].item(key))
    assert await town.letters.count() == 0


async def test_an_excluded_key_stays_in_the_process_that_took_the_exclusion_too() -> None:
    """It maps by now: without the exclusion the sweeper would move it."""
    town = Town()
    key = wallet_key("w1", "chan")
    ctx, driver = await town.start()
    for verb, arguments in (("start", {"exclude": [key.decode()]}), ("ramp", {"share": 100}), ("cutover", {})):
        number = await town.ask(verb, **arguments)
        while town.outcome(number) is None:
            await ticks(town, driver, 1)
    assert town.owner_of("w1") is Side.SOURCE
    assert status_of(ctx, driver.wait)["held_out"]["named"] == [{"key": key.decode(), "because": EXCLUDED}]


async def test_a_refused_start_excludes_nothing() -> None:
    town = Town()
    key = wallet_key("w1", "chan")
    widen(town, "w2")
    ctx, driver = await town.start()
    number = await town.ask("start", exclude=[key.decode()])
    while town.outcome(number) is None:
        await ticks(town, driver, 1)
    assert town.outcome(number)["outcome"] == "refused"  # type: ignore[index]  # it has one
    assert ctx.world.excluded == set()


async def test_a_cutover_ends_with_excluded_keys_which_the_journal_and_status_name() -> None:
    town = Town()
    keys = await excluded(town, "w1", "w2")
    await settled(town, "ramp", share=5_000)
    number = await town.ask("cutover")
    ctx, driver = await run(town, lambda: town.outcome(number) is not None)
    assert ctx.state.phase is Phase.BAKING
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["because"] == "all keys are in the target table, but 2 that can't move"
    entry = town.entries("phase")[-1].body
    assert entry["held_out"] == 2
    assert {each["key"] for each in entry["held"]} == {key.decode() for key in keys}
    body = status_of(ctx, driver.wait)
    assert body["held_out"]["keys"] == 2
    assert {each["because"] for each in body["held_out"]["named"]} == {EXCLUDED}
    text = status_text(body)
    assert "held out (can't move to the target table): 2" in text
    assert "crossfade complete --leave-behind N" in text
    assert town.owners()[Side.SOURCE] == 2


@pytest.mark.parametrize("phase", ["BOTH_WAYS", "RAMPING", "CUT_OVER", "BAKING", "ROLLED_BACK"])
async def test_status_names_the_held_out_keys_in_every_phase_after_any_restart(phase: str) -> None:
    town = Town()
    (key,) = await excluded(town, "w1")
    if phase != "BOTH_WAYS":
        await settled(town, "ramp", share=5_000)
    if phase == "CUT_OVER":
        town.parity = town.parity._replace(clean_pass_began_s=10**6)
        await town.ask("cutover")
        await run(town, lambda: any(each.body["step"] == "all-moved" for each in town.entries("step")))
    elif phase == "BAKING":
        await settled(town, "cutover")
    elif phase == "ROLLED_BACK":
        await settled(town, "rollback")
    ctx, driver = await town.start()
    for _ in range(2):
        body = status_of(ctx, driver.wait)
        assert (body["phase"], body["held_out"]["keys"]) == (phase, 1)
        assert body["held_out"]["named"] == [{"key": key.decode(), "because": EXCLUDED}]
        assert body["held_out"]["cure"]
        await ticks(town, driver, 12)  # and the same from its own look at the rows


async def test_clients_may_write_to_a_held_out_key_while_the_cutover_is_proven() -> None:
    town = Town()
    (key,) = await excluded(town, "w1")
    await settled(town, "ramp", share=5_000)
    number = await town.ask("cutover")
    _, driver = await town.start()
    for _ in range(60):
        await town.earn("w1", 1)
        await ticks(town, driver, 1)
    assert town.outcome(number) is not None
    item = town.tables[Side.SOURCE].item(key)
    assert item is not None
    assert is_held_out(item), "an owner write leaves the generation alone"


def told_of(town: Town, number: int) -> bool:
    return town.outcome(number) is not None


async def test_complete_is_refused_by_name_without_the_exact_number_and_before_anything_irreversible() -> None:
    town = Town()
    keys = await excluded(town, "w1", "w2")
    await settled(town, "ramp", share=5_000)
    await settled(town, "cutover")
    for arguments in ({}, {"leave_behind": 1}, {"leave_behind": 3}):
        number = await town.ask("complete", **COMPLETE, **arguments)
        ctx, _ = await run(town, partial(told_of, town, number))
        outcome = town.outcome(number)
        assert outcome is not None
        assert outcome["outcome"] == "refused"
        assert outcome["because"].startswith("2 keys can't move to the target table")
        assert keys[0].decode() in outcome["because"]
        assert "publish-complete" not in ctx.state.begun
        assert not town.flags.current().document.complete
    ctx, _ = await settled(town, "complete", **COMPLETE, leave_behind=2)
    assert ctx.state.phase is Phase.COMPLETE
    assert ctx.state.facts["at-final"]["left_behind"] == 2


@pytest.mark.parametrize("there", ["nothing", "a row without a role"])
async def test_a_key_left_behind_never_becomes_an_empty_wallet_of_the_target_table(there: str) -> None:
    """Once complete is published, an absent row in the target table means active: so it must not be absent."""
    town = Town()
    (key,) = await excluded(town, "w1")
    await settled(town, "ramp", share=5_000)
    await settled(town, "cutover")
    fence = town.tables[Side.TARGET].images.pop(key)  # lost, and no record tells of it
    if there != "nothing":
        town.tables[Side.TARGET].images[key] = {
            name: value for name, value in fence.items() if name not in {"cf_role", "cf_gen"}
        }
    seen: list[bool] = []
    publish = town.flags.publish

    async def watched(document: object, *, dual_write: bool) -> None:
        if getattr(document, "complete", False):
            row = town.tables[Side.TARGET].item(key)
            seen.append(row is not None and not is_active(row, Side.TARGET, complete=True))
        await publish(document, dual_write=dual_write)  # type: ignore[arg-type]  # passes on

    town.flags.publish = watched  # type: ignore[method-assign]  # looks, and passes on
    await settled(town, "complete", **COMPLETE, leave_behind=1)
    assert seen
    assert all(seen)
    item = town.tables[Side.SOURCE].item(key)
    assert item is not None
    assert item.role is Role.ACTIVE, "said, so that `complete` doesn't read it as standby"


@pytest.mark.parametrize("phase", ["CUT_OVER", "BAKING"])
async def test_cutover_once_more_takes_up_the_corrected_rows_under_a_higher_generation(phase: str) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=5_000)
    key = _outgrown(town, "w1")
    if phase == "CUT_OVER":
        town.parity = town.parity._replace(clean_pass_began_s=10**6)
        await town.ask("cutover")
        await run(town, lambda: any(each.body["step"] == "all-moved" for each in town.entries("step")))
    else:
        await settled(town, "cutover")
    assert is_held_out(town.tables[Side.SOURCE].item(key))
    before = town.flags.current().document
    image = dict(town.tables[Side.SOURCE].images[key])
    del image["surprise"]
    town.tables[Side.SOURCE].images[key] = image
    town.parity = town.parity._replace(clean_pass_began_s=0.0)
    number = await town.ask("cutover")
    ctx, _ = await run(town, lambda: town.outcome(number) is not None)
    assert ctx.state.phase is Phase.BAKING
    assert ctx.state.document.target_gen > before.target_gen
    assert town.owners()[Side.SOURCE] == 0
    again = ["CUT_OVER", "BAKING"] if phase == "BAKING" else ["BAKING"]
    assert [each.body["to"] for each in town.entries("phase")][-len(again) :] == again
    await settled(town, "complete", **COMPLETE)


def _outgrown(town: Town, user: str) -> Key:
    """A row that stopped to map, without a record that shows it: only the sweeper's look finds it."""
    key = wallet_key(user, "chan")
    images = town.tables[Side.SOURCE].images
    images[key] = {**images[key], "surprise": of_string("x")}
    return key


async def test_a_rollback_leaves_held_out_keys_where_they_are() -> None:
    town = Town()
    (key,) = await excluded(town, "w1")
    await settled(town, "ramp", share=5_000)
    await settled(town, "cutover")
    before = town.tables[Side.SOURCE].images[key]
    await settled(town, "rollback")
    assert town.owners()[Side.TARGET] == 0
    assert town.tables[Side.SOURCE].images[key] == before


async def _unfit_while_ramping(town: Town) -> tuple[Key, Context, Driver]:
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=100)
    return await _unfit(town)


async def _unfit(town: Town) -> tuple[Key, Context, Driver]:
    """Let a client's write find that a row doesn't map any more: refused before the seal, so no mark tells of it."""
    ctx, driver = await town.start()
    key = _outgrown(town, "w1")
    await town.earn("w1", 5)
    await town.live()
    (letter,) = await town.letters.all()
    assert (letter.code, letter.key) == ("unmappable", key)
    return key, ctx, driver


async def test_a_row_that_becomes_unfit_while_ramping_is_marked_and_holds_up_neither_raise_nor_cutover() -> None:
    town = Town()
    key, ctx, driver = await _unfit_while_ramping(town)
    await ticks(town, driver, 12)
    assert is_held_out(town.tables[Side.SOURCE].item(key))
    assert is_fence(town.tables[Side.TARGET].item(key))
    assert await town.letters.count() == 0
    (named,) = status_of(ctx, driver.wait)["held_out"]["named"]
    assert (named["key"], "surprise" in named["because"]) == (key.decode(), True)
    await settled(town, "ramp", share=5_000)
    ctx, _ = await settled(town, "cutover")
    assert ctx.state.phase is Phase.BAKING
    assert town.owners()[Side.SOURCE] == 1


async def test_a_row_that_was_corrected_after_its_letter_is_not_marked() -> None:
    town = Town()
    key, _, driver = await _unfit_while_ramping(town)
    images = town.tables[Side.SOURCE].images
    images[key] = {name: value for name, value in images[key].items() if name != "surprise"}
    await ticks(town, driver, 12)
    assert not is_held_out(town.tables[Side.SOURCE].item(key))


async def test_a_pause_holds_the_marking_of_rows_that_became_unfit() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=100)
    await settled(town, "pause")
    key, _, driver = await _unfit(town)
    await ticks(town, driver, 12)
    assert not is_held_out(town.tables[Side.SOURCE].item(key))
    await town.ask("resume")
    await ticks(town, driver, 12)
    assert is_held_out(town.tables[Side.SOURCE].item(key))


async def test_what_the_sweep_held_out_is_named_at_once_by_a_restarted_controller() -> None:
    """Nobody excluded it, and no look of its own has ended yet: the journal tells."""
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=5_000)
    key = _outgrown(town, "w1")
    await settled(town, "cutover")
    ctx, driver = await town.start()
    body = status_of(ctx, driver.wait)
    assert (body["held_out"]["keys"], body["held_out"]["named"][0]["key"]) == (1, key.decode())


async def test_before_the_ramp_a_row_that_became_unfit_needs_a_human_decision() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    key, _, driver = await _unfit(town)
    await ticks(town, driver, 12)
    assert not is_held_out(town.tables[Side.SOURCE].item(key))
    assert await town.letters.count() == 1
