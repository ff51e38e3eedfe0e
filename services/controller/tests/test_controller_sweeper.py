"""The sweeper: every key ends on the side aimed at, half-done handovers are completed, and a clean pass proves it."""

import msgspec

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.application.ownership import Ownership
from crossfade.contracts.letter import DIVERGED
from crossfade.core.migration.deeds import PassResult
from crossfade.core.protocol.keyed.item import is_active, is_fence, is_held_out
from crossfade.core.protocol.keyed.writes import Seal
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import decode_change
from crossfade.core.values import image as wire
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Direction, Side
from crossfade_controller.diverged import DivergedKeys, name_of
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.sweeper import SAMPLES, Sweeper
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet

SEED = 10**18
BEGUN = CommitUs(1_000_000_000)


class Yard:
    """Two tables, `count` wallets standby in the target, and a sweeper."""

    def __init__(self, count: int = 10, **settings: object) -> None:
        self.clock = MemoryClock(1_000_000_000)
        self.tables = {side: MemoryTable(MAPPING.shape(side), belongs=MAPPING.belongs) for side in Side}
        self.source, self.target = self.tables[Side.SOURCE], self.tables[Side.TARGET]
        for number in range(count):
            self.add(f"w{number}")
        for row in NOT_OURS:
            self.source.put(row)
        chosen = ControllerSettings(**{"sweep_page": 4, "helped_after_s": 5, "sweep_rest_s": 1, **settings})  # type: ignore[arg-type]  # pydantic checks them
        self.ownership = Ownership(self.source, self.target, MAPPING, clock=SYSTEM)
        self.letters, self.discarded = MemoryDeadLetters(), set[str]()
        self.diverged = DivergedKeys(self.tables, MAPPING, self.letters, self.discarded.__contains__, clock=self.clock)
        self.sweeper = Sweeper(
            self.tables,
            MAPPING.protocol,
            self.ownership,
            self.diverged,
            chosen,
            clock=self.clock,
        )

    def add(self, user: str) -> Key:
        row = legacy_wallet(user, "chan", 7)
        key = self.source.put(row)
        image = MAPPING.carry(Direction.FORWARD, row)
        standby = {**wire_key(user), **image, "cf_mv": wire.of_number(0), "cf_role": wire.of_string("S")}
        self.target.put(standby)
        return key

    async def seal(self, key: Key, generation: int) -> None:
        await self.source.perform(Seal(key, generation, SEED))

    async def pass_to(self, target: Side, generation: int) -> PassResult:
        for _ in range(100):
            result = await self.sweeper.move(target, generation, complete=False, budget_s=1.0, begun_us=BEGUN)
            if result is not None:
                return result
            self.clock.pass_s(0.5)
        raise AssertionError("the pass has no end")

    async def copy_back(self) -> None:
        """Reverse replication: each standby gets its owner's image."""
        rule = ApplyRule(MAPPING, Direction.REVERSE)
        for payload in self.target.changes:
            decision = rule.decide(decode_change(payload, MAPPING.shape(Side.TARGET).key), 0)
            if isinstance(decision, Transfer):
                await self.source.transfer([decision])

    def owner(self, key: Key) -> list[Side]:
        return [side for side in Side if is_active(self.tables[side].item(key), side)]


def wire_key(user: str) -> Image:
    return {"pk": wire.of_string(f"USER#{user}"), "sk": wire.of_string("POINTS#chan")}


def key_of(user: str) -> Key:
    return key_of_strings(f"USER#{user}", "POINTS#chan")


async def test_section_5_a_pass_moves_every_key_nobody_touched_and_the_next_one_proves_it() -> None:
    yard = Yard()
    others = {key: image for key, image in yard.source.images.items() if not MAPPING.belongs(key)}
    first = await yard.pass_to(Side.TARGET, 2)
    assert (first.moved, first.helped, first.is_clean) == (10, 0, False)
    second = await yard.pass_to(Side.TARGET, 2)
    assert second.is_clean
    assert second.keys == 10
    assert all(yard.owner(key_of(f"w{number}")) == [Side.TARGET] for number in range(10))
    assert {key: yard.source.images[key] for key in others} == others


async def test_the_way_back_leaves_no_key_behind() -> None:
    yard = Yard()
    await yard.pass_to(Side.TARGET, 2)
    assert (await yard.pass_to(Side.SOURCE, 4)).moved == 10
    assert (await yard.pass_to(Side.SOURCE, 4)).is_clean
    assert all(yard.owner(key_of(f"w{number}")) == [Side.SOURCE] for number in range(10))


async def test_a_key_standby_on_both_sides_makes_a_pass_unclean_and_is_helped() -> None:
    yard = Yard()
    await yard.pass_to(Side.TARGET, 2)
    await yard.seal(yard.add("late"), 2)
    result = await yard.pass_to(Side.TARGET, 2)
    assert (result.moved, result.helped, result.is_clean) == (0, 1, False)
    assert yard.owner(key_of("late")) == [Side.TARGET]


async def test_a_sealed_key_without_a_counterpart_is_activated_from_its_seal() -> None:
    yard = Yard(0)
    key = yard.source.put(legacy_wallet("lost", "chan", 7))
    await yard.seal(key, 2)
    assert (await yard.pass_to(Side.TARGET, 2)).helped == 1
    assert yard.owner(key) == [Side.TARGET]


async def test_a_tombstone_whose_source_row_is_gone_gets_an_owner_too() -> None:
    """Absent means active in the source table: such a key would belong to it forever."""
    yard = Yard(0)
    key = key_of("gone")
    await yard.target.transfer([Transfer(key, SEED, {"cf_deleted": wire.of_boolean(True)})])
    assert (await yard.pass_to(Side.TARGET, 2)).moved == 1
    assert (await yard.pass_to(Side.TARGET, 2)).is_clean
    assert yard.owner(key) == [Side.TARGET]
    item = yard.target.item(key)
    assert item is not None
    assert item.deleted


async def test_a_key_that_does_not_map_is_held_out_named_and_marked_in_its_row_and_the_pass_is_clean() -> None:
    yard = Yard(2)
    yard.source.put({**legacy_wallet("odd", "chan", 1), "surprise": wire.of_string("x")})
    await yard.pass_to(Side.TARGET, 2)
    result = await yard.pass_to(Side.TARGET, 2)
    assert result.is_clean
    assert result.held_out == 1
    assert "surprise" in result.held[0].because
    assert yard.owner(key_of("odd")) == [Side.SOURCE]
    assert is_held_out(yard.source.item(key_of("odd")))
    assert is_fence(yard.target.item(key_of("odd")))


async def test_the_number_of_held_out_keys_is_exact_and_the_named_ones_are_few() -> None:
    yard = Yard(2)
    for number in range(25):
        yard.source.put({**legacy_wallet(f"odd{number}", "chan", 1), "surprise": wire.of_string("x")})
    await yard.pass_to(Side.TARGET, 2)
    for _ in range(2):
        result = await yard.pass_to(Side.TARGET, 2)
        assert (result.held_out, len(result.held), result.is_clean) == (25, SAMPLES, True)


async def test_a_key_that_the_source_table_refuses_keeps_the_way_back_unclean() -> None:
    """On the way back there is no other home: the key would be lost to whoever deletes the target table."""
    yard = Yard(2)
    await yard.pass_to(Side.TARGET, 2)
    yard.ownership._excluded = lambda key: key == key_of("w1")
    await yard.pass_to(Side.SOURCE, 4)
    result = await yard.pass_to(Side.SOURCE, 4)
    assert (result.held_out, result.is_clean) == (1, False)
    assert yard.owner(key_of("w1")) == [Side.TARGET]


async def test_a_held_out_key_is_taken_up_again_under_a_higher_generation() -> None:
    yard = Yard(2)
    row = {**legacy_wallet("odd", "chan", 1), "surprise": wire.of_string("x")}
    key = yard.source.put(row)
    await yard.pass_to(Side.TARGET, 2)
    image = dict(yard.source.images[key])
    del image["surprise"]
    yard.source.put(image)
    assert (await yard.pass_to(Side.TARGET, 2)).held_out == 1, "its row says so, whatever it looks like now"
    assert (await yard.pass_to(Side.TARGET, 4)).moved == 1
    assert yard.owner(key) == [Side.TARGET]


async def test_a_held_out_key_whose_fence_is_gone_is_fenced_again() -> None:
    """Absent in the target table, it would be an empty wallet there as soon as the migration is complete."""
    yard = Yard(0)
    key = yard.source.put({**legacy_wallet("odd", "chan", 1), "surprise": wire.of_string("x")})
    await yard.pass_to(Side.TARGET, 2)
    yard.target.delete(key)
    assert (await yard.pass_to(Side.TARGET, 2)).is_clean
    assert is_fence(yard.target.item(key))


async def test_a_standby_with_its_owners_version_and_another_content_is_parked_and_not_overwritten() -> None:
    yard = Yard(3)
    key = key_of("w1")
    await yard.pass_to(Side.TARGET, 2)
    await yard.copy_back()
    yard.source.put({**yard.source.images[key], "balance": wire.of_number(999)})
    result = await yard.pass_to(Side.SOURCE, 4)
    assert (result.moved, result.diverged, result.is_clean) == (2, 1, False)
    assert yard.owner(key) == [Side.TARGET]
    (letter,) = await yard.letters.all(code=DIVERGED)
    assert (letter.key, letter.table, letter.consumer) == (key, "wallet", "forward")
    images = msgspec.json.decode(letter.payload)
    assert images["owner"] == "engagement"
    assert images["images"]["wallet"]["balance"] == {"N": "999"}
    assert images["images"]["engagement"]["points"] == {"N": "7"}
    await yard.pass_to(Side.SOURCE, 4)
    assert len(await yard.letters.all()) == 1, "found again, it is the same letter"


async def test_a_diverged_key_moves_once_its_letter_was_discarded_but_only_with_the_images_it_shows() -> None:
    yard = Yard(1)
    key = key_of("w0")
    await yard.pass_to(Side.TARGET, 2)
    await yard.copy_back()
    yard.source.put({**yard.source.images[key], "balance": wire.of_number(999)})
    await yard.pass_to(Side.SOURCE, 4)
    (letter,) = await yard.letters.all()
    yard.discarded.add(name_of(letter))
    await yard.letters.remove(letter)
    yard.source.put({**yard.source.images[key], "balance": wire.of_number(1000)})  # a later write nobody has seen
    assert (await yard.pass_to(Side.SOURCE, 4)).diverged == 1
    yard.source.put({**yard.source.images[key], "balance": wire.of_number(999)})
    assert (await yard.pass_to(Side.SOURCE, 4)).moved == 1
    assert yard.owner(key) == [Side.SOURCE]


async def test_the_letter_of_a_key_whose_rows_agree_again_leaves_on_its_own() -> None:
    yard = Yard(1)
    key = key_of("w0")
    await yard.pass_to(Side.TARGET, 2)
    await yard.copy_back()
    before = yard.source.images[key]
    yard.source.put({**before, "balance": wire.of_number(999)})
    await yard.pass_to(Side.SOURCE, 4)
    assert await yard.diverged.drop_agreed() == 0
    yard.source.put(before)
    assert await yard.diverged.drop_agreed() == 1
    assert await yard.letters.count() == 0


async def test_a_pass_for_an_older_wish_is_dropped() -> None:
    yard = Yard(40, sweep_moves_per_s=4)
    assert await yard.sweeper.move(Side.TARGET, 2, complete=False, budget_s=0.1, begun_us=BEGUN) is None
    result = await yard.pass_to(Side.SOURCE, 4)
    assert result.destination is Side.SOURCE
    assert all(yard.owner(key_of(f"w{number}")) == [Side.SOURCE] for number in range(40))


async def test_the_pace_bounds_how_many_keys_move_a_second() -> None:
    yard = Yard(40, sweep_moves_per_s=4)
    await yard.sweeper.move(Side.TARGET, 2, complete=False, budget_s=10.0, begun_us=BEGUN)
    current = yard.sweeper.current
    assert current is not None
    assert current.moved <= 4
    begun_s = yard.clock.monotonic()
    await yard.pass_to(Side.TARGET, 2)
    assert yard.clock.monotonic() - begun_s >= 40 / 4 - 2


async def test_section_4_a_key_standby_on_both_sides_is_helped_after_5_s_and_not_before() -> None:
    yard = Yard()
    key = key_of("w3")
    await yard.seal(key, 2)
    for _ in range(5):
        await yard.sweeper.help(complete=False, budget_s=1.0)
        yard.clock.pass_s(1.0)
    assert yard.owner(key) == []
    assert yard.sweeper.helped == 0
    yard.clock.pass_s(1.5)
    assert yard.sweeper.in_handover == 1
    await yard.sweeper.help(complete=False, budget_s=1.0)
    assert yard.owner(key) == [Side.TARGET]
    assert yard.sweeper.helped == 1
    await yard.sweeper.help(complete=False, budget_s=1.0)
    assert yard.sweeper.in_handover == 0


async def test_a_handover_that_somebody_completes_in_time_is_left_alone() -> None:
    yard = Yard()
    key = key_of("w3")
    await yard.seal(key, 2)
    await yard.sweeper.help(complete=False, budget_s=1.0)
    await yard.ownership.hand_over_many([key], Aim(Side.TARGET, 2))
    yard.clock.pass_s(60)
    await yard.sweeper.help(complete=False, budget_s=1.0)
    assert yard.sweeper.helped == 0
    assert yard.sweeper.in_handover == 0


async def test_helping_never_moves_a_key_that_has_an_owner() -> None:
    yard = Yard()
    for _ in range(20):
        await yard.sweeper.help(complete=False, budget_s=1.0)
        yard.clock.pass_s(1.0)
    assert all(yard.owner(key_of(f"w{number}")) == [Side.SOURCE] for number in range(10))


async def test_progress_counts_the_keys_that_left_the_source_table() -> None:
    yard = Yard()
    await yard.ownership.hand_over_many([key_of("w1"), key_of("w2")], Aim(Side.TARGET, 2))
    for _ in range(6):
        await yard.sweeper.help(complete=False, budget_s=1.0)
        yard.clock.pass_s(0.5)
    assert yard.sweeper.progress is not None
    assert yard.sweeper.progress.share == 0.2
