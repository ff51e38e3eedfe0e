"""A migration from first to last on the shipped fakes, and every way back."""

from collections.abc import Callable

import pytest

from controller_world import Town, run, settled, start_again, to_ramping
from crossfade.adapters.memory.control import MemoryHeartbeats
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.journal import Entry
from crossfade.core.migration.phases import Phase
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Side
from crossfade_controller.canary import Canary
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver

CANARY = key_of_strings("USER#cf-canary", "POINTS#cf-canary")


async def test_start_brings_the_tables_together_and_switches_dual_writes_on() -> None:
    town = Town()
    ctx, _ = await settled(town, "start", exclude=[])
    assert ctx.state.phase is Phase.BOTH_WAYS
    assert town.flags.current().dual_write
    assert town.aws.calls.count("export") == town.aws.calls.count("import") == 1
    assert town.balances(Side.TARGET) == town.balances(Side.SOURCE)
    assert len(town.balances(Side.TARGET)) == 10


async def test_rows_of_others_stay_in_the_shared_table() -> None:
    town = Town()
    before = dict(town.tables[Side.SOURCE].images)
    await settled(town, "start", exclude=[])
    others = [key for key in before if not town.tables[Side.SOURCE]._belongs(key)]
    assert len(others) == 3
    assert not set(others) & set(town.tables[Side.TARGET].images)
    assert all(town.tables[Side.SOURCE].images[key] == before[key] for key in others)


async def test_the_canary_proves_the_reverse_path_before_the_first_client_key_moves() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    number = await town.ask("ramp", share=100)
    town.silent_consumers = {"reverse"}
    _, driver = await run(town, lambda: town.now_s > 1_764_000_060)
    assert town.outcome(number) is None
    assert "reverse_proven" in driver.waiting_for
    assert town.flags.current().document.share == 0
    town.silent_consumers = set()
    await run(town, lambda: town.outcome(number) is not None)
    target, source = (town.tables[side].item(CANARY) for side in (Side.TARGET, Side.SOURCE))
    assert target is not None
    assert target.deleted
    assert source is not None
    assert town.flags.current().document.share == 100


async def test_a_whole_migration_ends_with_every_key_on_the_target_table() -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "ramp", share=10_000)
    await settled(town, "cutover")
    assert town.owners()[Side.SOURCE] == 0
    ctx, _ = await settled(town, "complete", confirm="engagement", revoked=True)
    assert ctx.state.phase is Phase.COMPLETE
    flags = town.flags.current()
    assert flags.document.complete
    assert not flags.dual_write
    assert ctx.state.facts["revoked"]["by"] == "the operator's word"
    assert len(town.balances(Side.TARGET)) == 10


async def test_a_rollback_hands_every_key_back_also_those_nobody_touched() -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "cutover")
    assert town.owners()[Side.TARGET] == 11
    await settled(town, "rollback")
    assert town.owners() == {Side.SOURCE: 11, Side.TARGET: 0}
    document = town.flags.current().document
    assert document.share == 0
    assert document.source_gen > document.target_gen


async def test_after_a_rollback_the_way_forward_is_open_again_with_higher_generations() -> None:
    town = Town()
    await to_ramping(town)
    first = town.flags.current().document
    await settled(town, "rollback")
    ctx, _ = await settled(town, "ramp", share=2_500)
    assert ctx.state.phase is Phase.RAMPING
    document = town.flags.current().document
    assert document.target_gen > document.source_gen > first.target_gen
    await settled(town, "cutover")
    assert town.owners()[Side.SOURCE] == 0


async def one_process(town: Town, driver: Driver, until: Callable[[], bool], ticks: int = 400) -> None:
    """Tick one and the same controller: what it remembers stays."""
    for _ in range(ticks):
        if until():
            return
        await town.live()
        await driver.tick()
    raise AssertionError(f"after {ticks} ticks it waits for: {driver.waiting_for}")


async def asked(town: Town, driver: Driver, verb: str, **arguments: object) -> None:
    number = await town.ask(verb, **arguments)
    await one_process(town, driver, lambda: town.outcome(number) is not None)


async def test_the_canary_is_ahead_again_when_a_ramp_follows_a_rollback_at_once() -> None:
    """BOTH_WAYS may be passed between two probes: the proof of the reverse path must not get old forever."""
    town = Town(gate_probe_age_s=10_000.0)
    ctx, driver = await town.start()
    await asked(town, driver, "start", exclude=[])
    await asked(town, driver, "ramp", share=5_000)
    await asked(town, driver, "rollback")
    canary_of(ctx)._probed_s = float("inf")  # no probe while BOTH_WAYS lasts
    await asked(town, driver, "ramp", share=2_500)
    assert town.owners()[Side.TARGET] == 0
    canary_of(ctx)._probed_s = float("-inf")
    await one_process(town, driver, lambda: town.owners()[Side.TARGET] == 1)


def canary_of(ctx: Context) -> Canary:
    assert isinstance(ctx.observer._canary, Canary)
    return ctx.observer._canary


async def test_a_canary_that_was_handed_back_proves_nothing() -> None:
    town = Town(gate_probe_age_s=10_000.0)
    ctx, driver = await town.start()
    await asked(town, driver, "start", exclude=[])
    await asked(town, driver, "ramp", share=5_000)
    town.silent_consumers = {"reverse"}
    await one_process(town, driver, lambda: canary_of(ctx)._expected is not None)
    proven_at_s = canary_of(ctx)._proven_at_s
    await town.ask("rollback")
    await one_process(town, driver, lambda: town.owners()[Side.TARGET] == 0)
    await one_process(town, driver, lambda: canary_of(ctx)._expected is None)
    assert canary_of(ctx)._proven_at_s == proven_at_s


async def test_a_generation_is_never_given_out_twice_nor_published_before_it_is_durable() -> None:
    town = Town()
    published: list[tuple[int, int]] = []
    publish = town.flags.publish

    async def watched(document: FlagDocument, *, dual_write: bool) -> None:
        durable = max((int(each.body["counter"]) for each in town.entries("generation")), default=0)
        published.append((max(document.target_gen, document.source_gen), durable))
        await publish(document, dual_write=dual_write)

    town.flags.publish = watched  # type: ignore[method-assign]  # looks on, and passes on
    await to_ramping(town)
    await settled(town, "ramp", share=1000)
    await settled(town, "rollback")
    await settled(town, "ramp", share=100)
    assert all(given <= durable for given, durable in published)
    assert all(given % 2 == 0 for given, _ in published), "an odd one is a give-back's"
    counters = [int(each.body["counter"]) for each in town.entries("generation")]
    assert counters == sorted(set(counters))


async def test_an_abort_before_ramping_sends_the_canary_home_and_stops_dual_writes() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await run(town, lambda: town.tables[Side.TARGET].item(CANARY) is not None)
    ctx, _ = await settled(town, "abort", confirm="engagement")
    assert ctx.state.phase is Phase.ABORTED
    assert not town.flags.current().dual_write
    assert town.owners()[Side.TARGET] == 0


async def test_an_abort_after_a_rollback_waits_for_all_keys_to_be_back() -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "cutover")
    await town.ask("rollback")
    await run(town, lambda: town.entries("phase")[-1].body["to"] == "ROLLED_BACK")
    ctx, _ = await settled(town, "abort", confirm="engagement")
    assert ctx.state.phase is Phase.ABORTED
    assert town.owners()[Side.TARGET] == 0


async def test_a_rollback_is_refused_once_complete_is_published() -> None:
    town = Town(revoke_command=["revoke"])
    await to_ramping(town)
    await settled(town, "cutover")
    town.command_exit = 1
    completing = await town.ask("complete", confirm="engagement", revoked=False)
    await run(town, lambda: town.flags.current().document.complete)
    number = await town.ask("rollback")
    await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "refused"
    assert town.outcome(completing) is None  # it waits for the revocation
    town.command_exit = 0
    await run(town, lambda: town.outcome(completing) is not None)


async def test_complete_wants_the_migrations_name_in_writing() -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "cutover")
    number = await town.ask("complete", confirm="wallets", revoked=True)
    await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "refused"


async def test_the_revocation_is_the_hooks_when_there_is_one_and_its_failure_stops_the_way() -> None:
    town = Town(revoke_command=["revoke", "--now"])
    await to_ramping(town)
    await settled(town, "cutover")
    town.command_exit = 1
    number = await town.ask("complete", confirm="engagement", revoked=True)
    _, driver = await run(town, lambda: ("revoke", "--now") in town.commands)
    assert "it ended with 1" in driver.waiting_for
    assert town.outcome(number) is None
    town.command_exit = 0
    ctx, _ = await run(town, lambda: town.outcome(number) is not None)
    assert ctx.state.phase is Phase.COMPLETE
    assert ctx.state.facts["revoked"]["by"] == "hook"


async def test_an_intent_of_the_wrong_phase_is_refused_with_the_phases_that_would_do() -> None:
    town = Town()
    number = await town.ask("cutover")
    await run(town, lambda: town.outcome(number) is not None)
    assert town.outcome(number) == {
        "intent": number,
        "verb": "cutover",
        "outcome": "refused",
        "because": "cutover is not possible in PLANNED, only in: RAMPING, CUT_OVER, BAKING",
    }


async def test_the_cutover_waits_for_a_pod_that_works_under_an_older_document() -> None:
    town = Town()
    await to_ramping(town)

    def falls_silent(_when: str, _number: int, kind: str) -> None:
        if kind == "share":
            town.silent_pods = {1}

    town.kill = falls_silent
    number = await town.ask("cutover")
    _, driver = await run(town, lambda: town.flags.current().document.share == 10_000)
    await town.live(0.5)
    await driver.tick()
    assert town.outcome(number) is None
    assert "pod-1" in driver.waiting_for
    await run(town, lambda: town.outcome(number) is not None)  # its lease ends: an expired pod isn't counted


async def test_an_unmappable_row_blocks_the_snapshot_until_it_is_excluded() -> None:
    town = Town()
    bad = {**town.tables[Side.SOURCE].images[key_of_strings("USER#w0", "POINTS#chan")]}
    start = await town.ask("start", exclude=[])
    await run(town, lambda: town.entries("begun") != [] and town.entries("begun")[-1].body["step"] == "capture")
    bad["surprise"] = of_string("unknown to the mapping")
    town.tables[Side.SOURCE].put(bad)
    _, driver = await run(town, lambda: any(each.body["step"] == "map" for each in town.entries("begun")))
    for _ in range(3):
        await town.live()
        await driver.tick()
    assert "1 rows can't be mapped" in driver.waiting_for
    assert "surprise" in driver.waiting_for
    assert "import" not in town.aws.calls
    key = key_of_strings("USER#w0", "POINTS#chan").decode()
    again = await town.ask("start", exclude=[key])
    await run(town, lambda: any(each.body["step"] == "import" for each in town.entries("step")))
    assert town.outcome(again) is None
    outcome = town.outcome(start)
    assert outcome is not None
    assert outcome["outcome"] == "superseded"
    mapped = next(each.body for each in town.entries("step") if each.body["step"] == "map")
    assert (mapped["mapped"], mapped["excluded"], mapped["not_ours"], mapped["unmappable"]) == (10, 1, 3, 0)


async def test_a_rollback_before_the_first_share_brings_the_canary_back_anyway() -> None:
    """The canary is ahead at a generation of its own: the way back needs one above it, even from share 0."""
    town = Town()
    await settled(town, "start", exclude=[])

    def changes_her_mind(when: str, number: int, kind: str) -> None:
        if (when, kind) == ("after", "phase") and town.entries("phase")[-1].body["to"] == "RAMPING":
            asked = Entry(number + 1, "intent", town.now_us(), "ann", "0", {"verb": "rollback", "arguments": {}})
            town.store.journal.append(asked)

    town.kill = changes_her_mind
    await town.ask("ramp", share=100)
    await run(town, lambda: any(each.body["step"] == "all-moved" for each in town.entries("step")))
    assert [each.body["document"]["share"] for each in town.entries("share")] == [0, 0]
    assert town.owners()[Side.TARGET] == 0


async def test_an_import_of_fewer_rows_than_were_mapped_never_goes_on() -> None:
    town = Town()
    await town.ask("start", exclude=[])
    await run(town, lambda: "import" in town.aws.calls)
    for job in town.aws._imports.values():
        job.imported -= 1
    _, driver = await run(town, lambda: town.now_s > 1_764_000_020)
    assert "10 items were imported into engagement, 11 were mapped" in driver.waiting_for
    assert town.entries("phase")[-1].body["to"] == "SNAPSHOT"


async def test_baking_needs_a_clean_pass_that_began_after_all_keys_had_moved_and_asks_for_one() -> None:
    town = Town()
    await to_ramping(town)
    town.parity = town.parity._replace(clean_pass_began_s=500.0)
    number = await town.ask("cutover")
    _, driver = await run(town, lambda: ("pass",) in town.commands)
    assert town.outcome(number) is None
    assert "no clean pass has begun and ended since" in driver.waiting_for
    town.parity = town.parity._replace(clean_pass_began_s=0.1)
    ctx, _ = await run(town, lambda: town.outcome(number) is not None)
    assert ctx.state.phase is Phase.BAKING


async def test_section_5_a_pass_during_which_a_pod_was_behind_is_begun_again() -> None:
    """Else it could end clean, although the pod wrote to keys that it had looked at already."""
    town = Town(wallets=20, sweep_moves_per_s=1_000, sweep_rows_per_s=8)
    await to_ramping(town, percent=100)
    old = town.flags.current().document._replace(share=1)
    await town.ask("cutover")
    ctx, driver = await run(town, lambda: town.entries("phase")[-1].body["to"] == "CUT_OVER")
    while ctx.sweeper.current is None:
        await town.live()
        await driver.tick()
    begun_us = ctx.sweeper.current.begun_us
    straggler = MemoryHeartbeats(town.store)
    await straggler.beat(Heartbeat("straggler", old, True, 1.0, town.now_us()))
    await town.live()
    await driver.tick()
    await straggler.leave("straggler")
    await town.live()
    await driver.tick()
    assert ctx.sweeper.current is not None
    assert ctx.sweeper.current.begun_us > begun_us


async def test_a_ramp_waits_for_a_feed_that_never_ran_and_names_it() -> None:
    town = Town()
    town.silent_consumers = {"feed-source", "feed-target"}
    await settled(town, "start", exclude=[])
    number = await town.ask("ramp", share=1000)
    _, driver = await run(town, lambda: town.now_s > 1_764_000_060)
    assert town.outcome(number) is None
    assert "feed: feed-source: no live feed-source consumer reports on shardId-000000000000" in driver.waiting_for
    assert town.flags.current().document.share == 0
    town.silent_consumers = set()
    await run(town, lambda: town.outcome(number) is not None)
    assert town.flags.current().document.share == 1000


@pytest.mark.parametrize("broken", ["behind", "dead"])
async def test_each_step_and_complete_wait_for_the_feed(broken: str) -> None:
    town = Town()
    await to_ramping(town, 10)

    def break_it() -> None:
        town.feed_age_ms = 60_000 if broken == "behind" else 10
        town.silent_consumers = {"feed-target"} if broken == "dead" else set()

    def mend_it() -> None:
        town.feed_age_ms, town.silent_consumers = 10, set()

    for verb, phase, arguments in (
        ("ramp", Phase.RAMPING, {"share": 10_000}),
        ("cutover", Phase.RAMPING, {}),
        ("complete", Phase.BAKING, {"confirm": "engagement", "revoked": True}),
    ):
        break_it()
        ctx, driver = await start_again(town)
        for _ in range(30):  # the report of a dead consumer counts for a while
            await town.live()
            await driver.tick()
        number = await town.ask(verb, **arguments)
        for _ in range(60):
            await town.live()
            await driver.tick()
        assert town.outcome(number) is None, verb
        assert ctx.state.phase is phase, verb
        assert "feed: " in driver.waiting_for, (verb, driver.waiting_for)
        mend_it()
        await run(town, lambda: town.outcome(number) is not None)  # noqa: B023 - runs before the next
        assert town.outcome(number)["outcome"] == "done", verb  # type: ignore[index]  # there is one
    ctx, _ = await start_again(town)
    assert ctx.state.phase is Phase.COMPLETE


async def test_a_step_waits_for_a_pod_that_reports_no_calls_and_the_ramp_is_not_halted_by_it() -> None:
    town = Town()
    await to_ramping(town, 10)
    town.wordless_pods = {1}
    ctx, driver = await start_again(town)
    for _ in range(40):
        await town.live()
        await driver.tick()
    number = await town.ask("ramp", share=2000)
    for _ in range(20):
        await town.live()
        await driver.tick()
    assert "calls_reported: 1 of 2 pods report no calls: pod-1" in driver.waiting_for
    assert ctx.state.halt == ""
    town.wordless_pods = set()
    await run(town, lambda: town.outcome(number) is not None)
    assert town.flags.current().document.share == 2000
