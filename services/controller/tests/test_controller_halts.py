"""What a halt holds up and what goes through meanwhile, on the shipped fakes."""

import pytest

from controller_world import Town, run, settled, to_ramping


async def halted(town: Town) -> None:
    """Break a halting gate, and run until the ramp has halted."""
    town.parity = town.parity._replace(drift={"diverged": 2})
    await run(town, lambda: bool(town.entries("halt")))


async def cured(town: Town) -> None:
    """Mend the gate, and run until the halt has cleared."""
    town.parity = town.parity._replace(drift={})
    await run(town, lambda: town.entries("halt")[-1].body["because"] == "")


@pytest.mark.parametrize(("verb", "arguments"), [("ramp", {"share": 10_000}), ("cutover", {})])
async def test_a_ramp_or_cutover_asked_for_while_halted_waits_says_why_and_goes_on_when_the_halt_clears(
    verb: str, arguments: dict[str, object]
) -> None:
    town = Town()
    await to_ramping(town)
    await halted(town)
    share = town.flags.current().document.share
    number = await town.ask(verb, **arguments)
    until_s = town.now_s + 30
    _, driver = await run(town, lambda: town.now_s > until_s)
    assert town.outcome(number) is None
    assert "halt" in driver.waiting_for
    assert "2 diverged" in driver.waiting_for
    assert town.flags.current().document.share == share
    await cured(town)
    await run(town, lambda: town.outcome(number) is not None)
    assert (town.outcome(number) or {})["outcome"] == "done"
    assert town.flags.current().document.share == 10_000


async def test_a_momentary_halt_does_not_end_an_intent_that_is_under_way() -> None:
    town = Town()
    await to_ramping(town)
    town.silent_consumers = {"forward", "reverse"}
    number = await town.ask("ramp", share=10_000)
    await run(town, lambda: any(each.body["intent"] == number for each in town.entries("admitted")))
    await halted(town)
    town.silent_consumers = set()
    await cured(town)
    await run(town, lambda: town.outcome(number) is not None)
    assert (town.outcome(number) or {})["outcome"] == "done"


async def test_the_share_is_lowered_while_halted() -> None:
    town = Town()
    await to_ramping(town)
    await halted(town)
    await settled(town, "ramp", share=1_000)
    document = town.flags.current().document
    assert document.share == 1_000
    assert document.source_gen > document.target_gen
    assert town.entries("halt")[-1].body["because"], "the halt was to last"


async def test_a_rollback_is_carried_out_while_halted() -> None:
    town = Town()
    await to_ramping(town)
    await halted(town)
    await town.ask("rollback")
    await run(town, lambda: bool(town.entries("halt")) and town.flags.current().document.share == 0)
    assert town.entries("phase")[-1].body["to"] == "ROLLED_BACK"


async def test_a_later_intent_replaces_the_one_that_waits() -> None:
    town = Town()
    await to_ramping(town)
    town.parity = town.parity._replace(clean_pass_age_s=None)
    waiting = await town.ask("ramp", share=9_000)
    await run(town, lambda: any(each.body["intent"] == waiting for each in town.entries("admitted")))
    await settled(town, "rollback")
    outcome = town.outcome(waiting)
    assert outcome is not None
    assert outcome["outcome"] == "superseded"
    assert town.flags.current().document.share == 0
