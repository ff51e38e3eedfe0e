"""An attempt that can't go on is given up: nobody stays held, the owner stays, the next attempt is as good as new."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.contracts.letter import STRAY, DeadLetter
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.map import State
from flip_world import FlipTown, done, ended, key_of, run, settled


async def started(**settings: Any) -> FlipTown:
    town = FlipTown(**settings)
    await done(town, "start")
    return town


async def gives_up(town: FlipTown, verb: str = "cutover", **arguments: Any) -> str:
    """Ask for a flip that is given up; return why."""
    assert town.map is not None
    owner = town.map.owner
    outcome = await ended(town, verb, **arguments)
    assert outcome["outcome"] == "given_up", outcome
    assert town.map.owner is owner
    town.check_open()
    town.check()
    return str(outcome["because"])


async def test_a_hold_command_that_fails_gives_the_attempt_up_and_its_output_is_shown() -> None:
    town = await started()
    town.hook_exit = [3]
    because = await gives_up(town)
    assert "ended with 3: no such service" in because
    assert "source table owns, and takes writes again" in because
    assert [name for name, _, _ in town.hooks] == ["hold", "release"], "it may have held a part of the writers"
    await done(town, "cutover")
    town.check()


async def test_a_release_that_fails_is_run_again_until_it_succeeds_and_says_so() -> None:
    town = await started()
    town.hook_exit = [0, 4, 4]
    number = await town.ask("cutover")
    _, driver = await run(town, lambda: len(town.hooks) == 2)
    assert "ended with 4: no such service. Writes are still held" in driver.waiting_for
    assert (await settled(town, number))["outcome"] == "done"
    town.check_open()


async def test_writes_are_held_for_no_longer_than_was_said() -> None:
    town = await started()
    town.deaf = {"forward"}
    because = await gives_up(town, hold_at_most_s=8)
    assert "8 s are allowed; it stood at: acknowledged, forward (forward) to acknowledge epoch" in because
    town.deaf = set()
    await done(town, "cutover")


async def test_a_member_with_a_request_on_the_wire_is_waited_for() -> None:
    town = await started()
    town.unanswered_s = {"reverse": 1.5}
    assert "the answer to a request that reverse (reverse) sent" in await gives_up(town, hold_at_most_s=8)


async def test_a_member_that_died_is_waited_out_before_writes_are_held() -> None:
    town = await started()
    town.silent = {"reverse"}
    await town.live(3)
    number, asked_s = await town.ask("cutover"), town.now_s
    _, driver = await run(town, lambda: town.now_s > asked_s + 4)
    assert "no live member is registered as reverse" in driver.waiting_for
    assert not town.hooks, "nobody is held while a gate is shut"
    town.silent = set()
    assert (await settled(town, number))["outcome"] == "done"


async def test_a_member_that_dies_in_the_hold_is_waited_out_before_the_flip() -> None:
    town = await started()
    number = await town.ask("cutover")
    await run(town, lambda: town.state is State.DRAINING)
    died_s = town.now_s
    await town.appliers.beat("redrive-1", "redrive", acked=0, unanswered_s=0.0)  # its last one
    assert (await settled(town, number))["outcome"] == "done"
    flipped_s = next(each.at_us for each in town.entries("step") if each.body["step"] == "flipped") / 1e6
    assert flipped_s - died_s >= 2 + 5, "its lease, and the signature limit"
    assert "redrive-1" not in town.owning.members


async def test_both_tables_consumers_are_past_the_hold_before_the_seal() -> None:
    """The new owner's interval begins 5 s before the hold: a stray unread by then would be taken for a write."""
    town = await started()
    number = await town.ask("cutover", hold_at_most_s=60)
    await run(town, lambda: "hooked" in town.steps())
    town.silent = {"reverse"}
    held_s = town.now_s
    _, driver = await run(town, lambda: town.now_s > held_s + 8)
    assert "drained" not in town.steps()
    assert "past the hold" in driver.waiting_for
    town.silent = set()
    assert (await settled(town, number))["outcome"] == "done"


async def test_a_stray_that_was_parked_in_the_hold_gives_it_up() -> None:
    town = await started()
    number = await town.ask("cutover")
    await run(town, lambda: "hooked" in town.steps())
    letter = DeadLetter(
        consumer="reverse",
        sequence="stray:1",
        key=key_of(1),
        version=None,
        reason="somebody changed the standby",
        code=STRAY,
        payload=b"{}",
        trace="",
        at_us=town.now_us(),
        table="orders-new",
        committed_us=town.now_us(),
    )
    await town.letters.park(letter)
    assert (await settled(town, number))["outcome"] == "given_up"
    assert "sealed" not in town.steps()


async def test_a_pause_in_the_hold_gives_it_up_and_then_rests() -> None:
    town = await started()
    town.deaf = {"forward"}
    number = await town.ask("cutover")
    await run(town, lambda: town.state is State.SEALED)
    await town.ask("pause")
    ctx, _ = await run(town, lambda: town.state is State.OPEN)
    await run(town, lambda: ctx.state.phase is Phase.BOTH_WAYS)
    town.check_open()
    assert ctx.state.paused
    assert town.outcome(number) is None, "a paused migration settles nothing"
    await town.ask("resume")
    assert "ann paused the migration" in (await settled(town, number))["because"]


async def test_a_cutover_that_is_withdrawn_in_the_hold_gives_it_up() -> None:
    town = await started()
    town.deaf = {"forward"}
    number = await town.ask("cutover")
    await run(town, lambda: town.state is State.SEALED)
    await done(town, "withdraw", entry=number)
    assert (await settled(town, number))["outcome"] == "withdrawn"
    await run(town, lambda: town.state is State.OPEN)
    town.check_open()
    assert "flipped" not in town.steps()


async def test_a_rollback_in_the_hold_of_a_cutover_gives_it_up() -> None:
    town = await started()
    town.deaf = {"forward"}
    await town.ask("cutover")
    await run(town, lambda: town.state is State.SEALED)
    town.deaf = set()
    assert "the source table owns" in await done(town, "rollback")
    town.check_open()


async def test_a_letter_that_is_parked_in_the_hold_gives_it_up() -> None:
    town = await started()
    town.deaf = {"forward"}
    number = await town.ask("cutover")
    await run(town, lambda: town.state is State.SEALED)
    letter = DeadLetter(
        consumer="forward",
        sequence="1",
        key=key_of(1),
        version=None,
        reason="can't be read",
        code="poison_record",
        payload=b"{}",
        trace="",
        at_us=town.now_us(),
    )
    await town.letters.park(letter)
    outcome = await settled(town, number)
    assert outcome["outcome"] == "given_up"
    assert "a gate shut during the hold: dead_letters: 1 parked" in outcome["because"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hold_command": [], "release_command": []}, "nothing can stop the application's writes"),
        ({"release_command": []}, "a hold command and a release command come together"),
        ({"settle_s": None}, "set CROSSFADE_SETTLE_S to the application's longest attempt"),
    ],
)
async def test_a_cutover_without_the_means_to_stop_writes_is_refused(settings: dict[str, Any], said: str) -> None:
    town = await started(**settings)
    outcome = await ended(town, "cutover")
    assert outcome["outcome"] == "refused"
    assert said in outcome["because"]


async def test_a_ramp_is_refused_with_the_reason() -> None:
    town = await started()
    outcome = await ended(town, "ramp", share=100)
    assert outcome["outcome"] == "refused"
    assert "this migration has no ramp: its writers follow no protocol" in outcome["because"]


async def test_a_table_owns_for_twenty_seconds_at_least() -> None:
    town = await started()
    await done(town, "cutover")
    assert town.map is not None
    await done(town, "rollback")
    source, target, _ = town.map.intervals
    assert target.held_us - target.since_us >= 20_000_000
    assert source.until_us
