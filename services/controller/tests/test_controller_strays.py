"""Writers outside the protocol are seen in every phase from BOTH_WAYS on, and halt what goes forward (ADR 0017)."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from controller_world import Town, run, settled
from crossfade.contracts.letter import DIVERGED, STRAY, DeadLetter
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


async def to(town: Town, phase: str) -> tuple[Context, Driver]:
    """Bring a migration into a phase, all at rest."""
    await settled(town, "start", exclude=[])
    if phase != "BOTH_WAYS":
        await settled(town, "ramp", share=5_000)
    if phase == "BAKING":
        await settled(town, "cutover")
    if phase == "CUT_OVER":
        town.silent_pods = {0, 1}  # the pass waits for their heartbeats
        town.parity = town.parity._replace(clean_pass_began_s=10**6)
        await town.ask("cutover")
        town.silent_pods = set()
        await run(town, lambda: town.entries("phase")[-1].body["to"] == "CUT_OVER")
    if phase == "ROLLED_BACK":
        await settled(town, "rollback")
    ctx, driver = await town.start()
    await ticks(town, driver, 8)
    assert ctx.state.phase.value == phase
    return ctx, driver


async def test_before_dual_write_plain_writers_are_said_and_alarm_nobody() -> None:
    town = Town()
    await town.ask("start", exclude=[])
    ctx, driver = await run(town, lambda: town.entries("phase") != [] and len(town.entries("phase")) == 3)
    town.plain_add(Side.SOURCE, "w1", 5)
    await ticks(town, driver, 1)
    body = status_of(ctx, driver.wait)
    assert body["strays"] == {"watched": False, "since_us": {}, "last_us": 0, "waiting": 0, "named": []}
    assert body["halted"] == ""
    assert "writers outside the protocol: normal until BOTH_WAYS" in status_text(body)


async def test_a_plain_writer_on_rows_that_no_pod_touched_shuts_the_gate_before_the_first_percent() -> None:
    """Issue 8: an unstamped write on an unstamped row wasn't counted, so plain writers passed all gates."""
    town = Town()
    _, driver = await to(town, "BOTH_WAYS")
    number = await town.ask("ramp", share=100)
    for turn in range(30):
        town.plain_add(Side.SOURCE, f"w{turn % 6}", 1)
        await ticks(town, driver, 1)
    assert town.outcome(number) is None
    assert "no_stray: a write outside the protocol was committed" in driver.waiting_for
    assert "Stop the writer" in driver.waiting_for
    assert town.flags.current().document.share == 0
    await run(town, lambda: town.outcome(number) is not None)  # it has stopped: a quiet window later the ramp goes on
    assert town.flags.current().document.share == 100


@pytest.mark.parametrize("phase", ["BOTH_WAYS", "RAMPING", "CUT_OVER", "BAKING", "ROLLED_BACK"])
async def test_in_every_phase_a_stray_halts_and_status_names_key_table_time_and_cure_after_any_restart(
    phase: str,
) -> None:
    town = Town()
    ctx, driver = await to(town, phase)
    side = Side.TARGET if phase == "BAKING" else Side.SOURCE
    committed_us = town.now_us()
    town.plain_add(side, "w1", 1)
    await ticks(town, driver, 2)
    assert "no_stray" in ctx.state.halt
    ctx, driver = await town.start()  # nothing is remembered but what the stores hold
    await ticks(town, driver, 1)
    body = status_of(ctx, driver.wait)
    assert "no_stray" in body["halted"]
    (named,) = body["strays"]["named"]
    assert (named["key"], named["at_us"]) == ('[{"S":"USER#w1"},{"S":"POINTS#chan"}]', committed_us)
    assert named["table"] == town.tables[side].shape.table
    assert "Stop the writer" in named["cure"]
    text = status_text(body)
    assert named["cure"] in text
    assert f"{named['key']} in {named['table']} at 2025-" in text
    assert body["strays"]["since_us"].keys() == {"source", "target"}


async def test_a_stray_on_a_standby_holds_the_halt_until_somebody_has_dealt_with_its_letter() -> None:
    town = Town()
    ctx, driver = await to(town, "BAKING")
    town.plain_add(Side.SOURCE, "w1", 1)
    await ticks(town, driver, 40)  # longer than any quiet window
    assert "1 writes outside the protocol" in ctx.state.halt
    (letter,) = await town.letters.all()
    await town.letters.remove(letter)  # as `replicator dead-letters discard` does
    await ticks(town, driver, 4)
    assert ctx.state.halt == ""


async def test_the_sweeper_stops_while_strays_are_about_and_goes_on_afterwards() -> None:
    town = Town(wallets=30, sweep_moves_per_s=2)
    _, driver = await to(town, "RAMPING")
    number = await town.ask("cutover")
    while town.owners()[Side.TARGET] < 6:
        await ticks(town, driver, 1)
    still = next(each for each in range(30) if town.owner_of(f"w{each}") is Side.SOURCE)
    moved = next(each for each in range(30) if town.owner_of(f"w{each}") is Side.TARGET)
    town.plain_add(Side.SOURCE, f"w{still}", 1)
    town.plain_add(Side.SOURCE, f"w{moved}", 1)
    await ticks(town, driver, 2)
    before = town.owners()
    await ticks(town, driver, 40)
    assert town.owners() == before
    assert driver.waiting_for.startswith("the halt to clear: no_stray: 1 writes")
    (letter,) = await town.letters.all()
    await town.letters.remove(letter)
    await run(town, lambda: town.outcome(number) is not None, ticks=2_000)
    assert town.owners()[Side.SOURCE] == 0


async def test_complete_takes_no_step_while_strays_are_about() -> None:
    town = Town()
    ctx, driver = await to(town, "BAKING")
    town.plain_add(Side.TARGET, "w1", 1)
    await ticks(town, driver, 2)
    number = await town.ask("complete", **COMPLETE)
    for _ in range(8):
        town.plain_add(Side.TARGET, "w1", 1)
        await ticks(town, driver, 1)
    assert driver.waiting_for.startswith("the halt to clear: no_stray")
    assert set(ctx.state.done) == {f"read-past-{number}"}
    assert not ctx.state.begun
    await run(town, lambda: town.outcome(number) is not None)


async def test_the_moment_from_which_writers_are_strays_is_the_first_entry_into_both_ways() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    first = next(each for each in town.entries("phase") if each.body["to"] == "BOTH_WAYS")
    since_us = first.body["strays_since_us"]
    assert since_us.keys() == {"source", "target"}
    assert all(0 <= first.at_us - each < 60_000_000 for each in since_us.values())
    await settled(town, "ramp", share=5_000)
    await settled(town, "rollback")
    ctx, _ = await settled(town, "ramp", share=5_000)
    assert ctx.state.strays_since_us == since_us


async def test_the_last_stray_is_journalled_several_times_a_quiet_window_at_most() -> None:
    town = Town()
    _, driver = await to(town, "BOTH_WAYS")
    for turn in range(24):  # 12 s, four quiet windows
        town.plain_add(Side.SOURCE, f"w{turn % 6}", 1)
        await ticks(town, driver, 1)
    assert 4 <= len(town.entries("stray")) <= 17


# The way back, and the end: nothing acknowledged is lost or unlisted.


class Book:
    """What a plain client was told "done" of, by wallet."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.before = {each: town.balance(f"w{each}") for each in range(6)}
        self.added = dict.fromkeys(self.before, 0)

    def add(self, side: Side, wallet: int, points: int) -> None:
        self.town.plain_add(side, f"w{wallet}", points)
        self.added[wallet] += points

    async def accounts_for_all(self, *, journal: bool = False) -> None:
        """Each acknowledged point is in the owner's row, or in a letter that a person can find; or in the journal."""
        listed = Counter[int]()
        payloads = [(each.key, each.payload) for each in await self.town.letters.all(code=STRAY)]
        if journal:
            notes = [each.body["discarded"] for each in self.town.entries("note") if "discarded" in each.body]
            payloads += [
                (Key(each["key"].encode()), each["payload"].encode()) for each in notes if each["code"] == STRAY
            ]
        for key, payload in payloads:
            for wallet in self.added:
                if key == wallet_key(f"w{wallet}", "chan"):
                    listed[wallet] += points_of(payload)
        for wallet, added in self.added.items():
            found = self.town.balance(f"w{wallet}") + listed[wallet]
            assert found == self.before[wallet] + added, f"w{wallet}"


def points_of(payload: bytes) -> int:
    """Return what the write of a record added."""
    record = msgspec.json.decode(payload)["dynamodb"]
    new, old = (
        next(int(image[name]["N"]) for name in ("balance", "points") if name in image)
        for image in (record["NewImage"], record["OldImage"])
    )
    return new - old


@pytest.mark.parametrize("phase", ["RAMPING", "CUT_OVER", "BAKING"])
async def test_after_a_rollback_no_acknowledged_plain_write_is_lost_or_unlisted(phase: str) -> None:
    town = Town()
    _, driver = await to(town, phase)
    book = Book(town)
    for turn in range(6):
        book.add(Side.SOURCE, turn, 100 + turn)
        book.add(Side.TARGET, (turn + 1) % 6, 1)
        await ticks(town, driver, turn % 2)
    number = await town.ask("rollback")
    for turn in range(6):  # the writer goes on while the keys go home
        book.add(Side.SOURCE, turn, 10)
        await ticks(town, driver, 1)
    await ticks(town, driver, 60)
    assert town.outcome(number) is None, "its end waits for a decision"
    letters = await town.letters.all()
    assert letters
    assert f"a decision about {len(letters)} writes outside the protocol" in driver.waiting_for
    assert f"crossfade rollback --discard-diverged {len(letters)} --execute" in driver.waiting_for
    await book.accounts_for_all()
    refused = await town.ask("rollback", discard_diverged=len(letters) - 1)
    await ticks(town, driver, 4)
    outcome = town.outcome(refused)
    assert outcome is not None
    assert (outcome["outcome"], len(await town.letters.all())) == ("refused", len(letters))
    await settled(town, "rollback", discard_diverged=len(letters))
    assert town.owners()[Side.TARGET] == 0
    assert await town.letters.count() == 0
    await book.accounts_for_all(journal=True)
    notes = [each.body["discarded"] for each in town.entries("note")]
    assert {each["who"] for each in notes} == {"ann"}
    assert len({each["letter"] for each in notes}) == len(letters)


async def test_a_rollback_waits_until_both_consumers_have_read_past_the_last_handover() -> None:
    """What a silent consumer has not read may be a stray that nobody would ever hear of."""
    town = Town()
    _, driver = await to(town, "BAKING")
    number = await town.ask("rollback")
    while town.owners()[Side.TARGET]:
        await ticks(town, driver, 1)
    town.silent_consumers = {"forward"}
    await ticks(town, driver, 60)
    assert town.outcome(number) is None
    assert "forward" in driver.waiting_for
    town.silent_consumers = set()
    await run(town, lambda: town.outcome(number) is not None)


async def test_a_rollback_with_a_diverged_key_leaves_it_until_it_is_discarded_by_number() -> None:
    """The stray is older than its stream: it was never read, but the rows show it."""
    town = Town()
    ctx, driver = await to(town, "BAKING")
    town.plain_add(Side.SOURCE, "w1", 500)
    (letter,) = [each for each in await _letters(town, driver) if each.code == STRAY]
    await town.letters.remove(letter)  # somebody discarded it, and left the row as it is
    number = await town.ask("rollback")
    await ticks(town, driver, 60)
    assert town.owner_of("w1") is Side.TARGET
    assert town.owners()[Side.TARGET] == 1
    (letter,) = await town.letters.all(code=DIVERGED)
    assert town.outcome(number) is None
    assert "--discard-diverged 1" in driver.waiting_for
    ctx, driver = await settled(town, "rollback", discard_diverged=1)
    assert town.owners()[Side.TARGET] == 0
    assert ctx.state.discarded == {f"{letter.consumer}/{letter.sequence}"}


async def _letters(town: Town, driver: Driver) -> list[DeadLetter]:
    await ticks(town, driver, 2)
    return await town.letters.all()


async def test_complete_wants_a_pass_that_began_after_the_last_stray() -> None:
    town = Town()
    ctx, driver = await to(town, "BAKING")
    town.parity = town.parity._replace(clean_pass_began_s=None)
    number = await town.ask("complete", **COMPLETE)
    while f"swept-{number}" not in ctx.state.done:
        await ticks(town, driver, 1)
    await ticks(town, driver, 8)
    town.plain_add(Side.TARGET, "w1", 1)
    await ticks(town, driver, 12)
    town.parity = town.parity._replace(clean_pass_began_s=8.0)  # after the look at all keys, before the stray
    await ticks(town, driver, 2)
    assert "no clean pass has begun and ended since the last write outside the protocol" in driver.waiting_for
    assert not ctx.state.document.complete
    assert town.outcome(number) is None
    town.parity = town.parity._replace(clean_pass_began_s=0.1)
    await run(town, lambda: town.outcome(number) is not None)


async def test_complete_wants_a_pass_that_began_after_its_own_look_at_all_keys() -> None:
    """A clean pass of minutes ago says nothing of what happened since."""
    town = Town()
    ctx, driver = await to(town, "BAKING")
    town.parity = town.parity._replace(clean_pass_began_s=200.0)
    town.now_s += 100.0
    await town.ask("complete", **COMPLETE)
    await ticks(town, driver, 30)
    assert "no clean pass has begun and ended since all keys were moved" in driver.waiting_for
    assert not ctx.state.document.complete


async def test_complete_discards_by_exact_number_or_not_at_all() -> None:
    town = Town()
    ctx, driver = await to(town, "BAKING")
    book = Book(town)
    for turn in range(3):
        book.add(Side.SOURCE, turn, 100)
    await ticks(town, driver, 4)
    number = await town.ask("complete", **COMPLETE, discard_diverged=2)
    await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "refused"
    assert "--discard-diverged says 2, there are 3 writes" in outcome["because"]
    ctx, _ = await settled(town, "complete", **COMPLETE, discard_diverged=3)
    assert ctx.state.phase.value == "COMPLETE"
    await book.accounts_for_all(journal=True)


async def test_a_discarded_letter_that_is_there_again_leaves_on_its_own() -> None:
    """A tool that died between journal and store, or a consumer that read the record again: the decision stands."""
    town = Town()
    ctx, driver = await to(town, "BAKING")
    town.plain_add(Side.SOURCE, "w1", 1)
    (letter,) = await _letters(town, driver)
    name = f"{letter.consumer}/{letter.sequence}"
    said = {"letter": name, "key": letter.key.decode(), "code": letter.code, "reason": letter.reason, "payload": "{}"}
    await town.journal().append("note", {"discarded": said})
    await ticks(town, driver, 6)
    assert await town.letters.count() == 0
    await ticks(town, driver, 8)
    assert ctx.state.halt == ""


async def test_the_way_forward_from_a_rollback_waits_while_strays_are_about() -> None:
    town = Town()
    ctx, driver = await to(town, "ROLLED_BACK")
    await town.ask("ramp", share=100)
    for turn in range(12):
        town.plain_add(Side.SOURCE, f"w{turn % 6}", 1)
        await ticks(town, driver, 1)
    assert ctx.state.phase.value == "ROLLED_BACK"
    assert "no_stray" in driver.waiting_for
    await run(town, lambda: town.flags.current().document.share == 100)
