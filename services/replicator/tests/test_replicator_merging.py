"""A person and a stray: it is shown, merged exactly once, or discarded (ADR 0016)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply_cases import COMMITTED_US, KEY, V, payload, protocol, source, target
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import ControlStore, MemoryDeadLetters, MemoryJournal
from crossfade.contracts.letter import DeadLetter
from crossfade.core.ownership.trim import Trim, plan_trim
from crossfade.core.protocol.keyed.writes import Activate, Answer, Operate, Seal, Write
from crossfade.core.protocol.writing import Applied
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError, StoreUnavailable
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.streams import StreamWriter
from crossfade.runtime.masking import plain
from crossfade_controller.diverged import DivergedKeys, Rows
from crossfade_replicator.letters import name_of
from crossfade_replicator.merging import Merging, Shown, described, identity_of, lines_of
from crossfade_replicator.replay import Redrive
from engagement_api.operations import Kind, balance_of
from engagement_migration import MAPPING
from ownership_cases import SEED, operation
from property_examples import examples
from replicator_bench import Bench, Counting

REVERSE = Direction.REVERSE


async def earn(bench: Bench, side: Side = Side.SOURCE, seed: int = SEED, amount: int = 3) -> None:
    op = operation(Kind.EARN, amount, key=KEY, seed=seed, transaction_id=seed.to_bytes(16, "big"))
    assert isinstance(await bench.tables[side].perform(Operate(KEY, op, soft=32)), Applied)


async def strayed(*points: int) -> tuple[Bench, list[DeadLetter]]:
    """An owner of 3 points in the source table, and a plain writer that sets its standby to these in turn."""
    bench = Bench(strays_since_us=1)
    await earn(bench)
    await bench.forward(bench.source.changes)
    bench.target.changes.clear()
    for each in points:
        bench.target.put(bench.target.images[KEY] | {"points": wire.of_number(each)})
    await bench.apply(REVERSE, bench.target.changes)
    return bench, await bench.letters.all()


def merging(bench: Bench, letters: MemoryDeadLetters | None = None, store: ControlStore | None = None) -> Merging:
    return Merging(
        MAPPING,
        lambda side: bench.tables[side],
        letters or bench.letters,
        MemoryJournal(store or ControlStore(), who="ann@desk"),
        complete=False,
        clock=MemoryClock(COMMITTED_US),
    )


def balance(bench: Bench, side: Side = Side.SOURCE) -> int | Decimal:
    return balance_of(bench.tables[side].item(KEY), MAPPING.shape(side))


async def test_a_merge_brings_the_difference_to_the_present_owner_journals_it_and_lets_the_letter_go() -> None:
    bench, [letter] = await strayed(10)
    await earn(bench, seed=SEED + 1, amount=100)
    store = ControlStore()
    tool = merging(bench, store=store)
    [dry] = await tool.merge([name_of(letter)], execute=False)
    assert (dry.done, balance(bench), await bench.letters.count(), store.journal) == (True, Decimal(103), 1, [])
    [outcome] = await tool.merge([name_of(letter)], execute=True)
    assert outcome.done
    assert balance(bench) == 110
    assert await bench.letters.count() == 0
    [entry] = store.journal
    assert entry.body["merging"]["letter"] == name_of(letter)
    assert entry.body["merging"]["payload"] == letter.payload.decode()
    owner = bench.source.item(KEY)
    assert owner is not None
    assert identity_of(letter) in owner.recent
    assert owner.event_version != owner.version, "a merge is no event"


async def test_two_strays_on_one_row_are_two_differences() -> None:
    bench, letters = await strayed(4, 5)
    await merging(bench).merge([name_of(each) for each in letters], execute=True)
    assert balance(bench) == 5


async def test_a_merge_follows_the_key_to_the_table_that_owns_it_by_now() -> None:
    bench, [letter] = await strayed(10)
    sealed = await bench.source.perform(Seal(KEY, 2, SEED))
    assert isinstance(sealed, Applied)
    image = MAPPING.map_item(Direction.FORWARD, sealed.item)
    assert isinstance(await bench.target.perform(Activate(KEY, image)), Applied)
    await merging(bench).merge([name_of(letter)], execute=True)
    assert balance(bench, Side.TARGET) == 3 + 7


async def test_what_the_owner_changed_too_is_refused_with_all_values() -> None:
    bench = Bench(strays_since_us=1)
    gold, iron, tin = (wire.of_string(each) for each in ("gold", "iron", "tin"))
    bench.source.images[KEY] = source(tier=tin, **protocol(V + 5, "A", 1, V))
    bench.target.images[KEY] = target(tier=gold, **protocol(V, "S", 1, V))
    bench.target.put(bench.target.images[KEY] | {"tier": iron})
    await bench.apply(REVERSE, bench.target.changes)
    [letter] = await bench.letters.all()
    [outcome] = await merging(bench).merge([name_of(letter)], execute=True)
    assert not outcome.done
    assert not any(each in outcome.shown.because for each in ("gold", "iron", "tin"))
    assert outcome.shown.because.count("S of 4 characters #") == 2
    (tier,) = described(outcome.shown, plain)["changes"]
    assert [tier[name] for name in ("old", "new", "owner")] == [f'{{"S":"{each}"}}' for each in ("gold", "iron", "tin")]
    assert await bench.letters.count() == 1
    assert bench.source.images[KEY]["tier"] == tin


async def test_a_key_in_handover_a_deleted_owner_and_a_removal_are_not_merged() -> None:
    bench, [letter] = await strayed(10)
    await bench.source.perform(Seal(KEY, 2, SEED))
    [shown] = await merging(bench).show([name_of(letter)])
    assert "in handover" in shown.because
    bench, [letter] = await strayed(10)
    await bench.source.perform(Operate(KEY, operation(Kind.DELETE, key=KEY, transaction_id=b"z" * 16), 32))
    [shown] = await merging(bench).show([name_of(letter)])
    assert "is deleted" in shown.because
    bench, _ = await strayed()
    bench.target.delete(KEY)
    await bench.apply(REVERSE, bench.target.changes)
    [letter] = await bench.letters.all()
    [outcome] = await merging(bench).merge([name_of(letter)], execute=True)
    assert not outcome.done
    assert "deleted a row" in outcome.shown.because
    assert balance(bench) == 3


async def test_what_a_helper_took_along_is_not_merged_a_second_time() -> None:
    """The stray fell between the seal and an activation that read the sealed row after it."""
    bench = Bench(strays_since_us=1)
    await earn(bench)
    await bench.forward(bench.source.changes)
    sealed = await bench.source.perform(Seal(KEY, 2, SEED))
    assert isinstance(sealed, Applied)
    bench.source.changes.clear()
    bench.source.put(bench.source.images[KEY] | {"balance": wire.of_number(10)})
    await bench.forward(bench.source.changes)
    [letter] = await bench.letters.all()
    found = bench.source.item(KEY)
    assert found is not None
    await bench.target.perform(Activate(KEY, MAPPING.map_item(Direction.FORWARD, found)))
    [outcome] = await merging(bench).merge([name_of(letter)], execute=True)
    assert not outcome.done
    assert "carried the change along" in outcome.shown.because
    assert balance(bench, Side.TARGET) == 10


async def test_show_says_both_images_the_difference_and_what_stands_in_both_tables() -> None:
    bench, [letter] = await strayed(10)
    [shown] = await merging(bench).show([name_of(letter)])
    told = described(shown, plain)
    assert (told["old_image"]["points"], told["new_image"]["points"]) == ('{"N":"3"}', '{"N":"10"}')
    assert told["changes"] == [{"name": "balance", "old": '{"N":"3"}', "new": '{"N":"10"}', "owner": '{"N":"3"}'}]
    assert (told["owner"], told["tables"]["target"]["role"]) == ("source", "S")
    assert told["merge"] == {"sets": {"balance": '{"N":"10"}'}, "removes": []}
    assert told["committed_us"] == str(letter.committed_us)
    text = "\n".join(lines_of(shown))
    for each in (name_of(letter), "engagement", "became", "the owner has", "a merge sets balance"):
        assert each in text


@pytest.mark.parametrize("told", [lambda shown: str(described(shown)), lambda shown: "\n".join(lines_of(shown))])
async def test_values_are_shown_only_where_they_are_revealed(told: Callable[[Shown], str]) -> None:
    bench = Bench(strays_since_us=1)
    gold, iron, tin = (wire.of_string(each) for each in ("gold", "iron", "tin"))
    bench.source.images[KEY] = source(tier=tin, **protocol(V + 5, "A", 1, V))
    bench.target.images[KEY] = target(tier=gold, **protocol(V, "S", 1, V))
    bench.target.put(bench.target.images[KEY] | {"tier": iron})
    await bench.apply(REVERSE, bench.target.changes)
    [letter] = await bench.letters.all()
    [shown] = await merging(bench).show([name_of(letter)])
    elsewhere, other = await diverged()
    [apart] = await merging(elsewhere).show([name_of(other)])
    for each in (shown, apart):
        said = told(each)
        assert not any(value in said for value in ("gold", "iron", "tin", '"N":')), said
        assert "characters #" in said


async def test_a_settled_letter_is_shown_and_not_merged_since_its_owner_has_it() -> None:
    bench, _ = await strayed()
    bench.source.put(bench.source.images[KEY] | {"balance": wire.of_number(50)})
    await bench.forward(bench.source.changes)
    [letter] = await bench.letters.settled()
    [outcome] = await merging(bench).merge([name_of(letter)], execute=True)
    assert not outcome.done
    assert "carried over" in outcome.shown.because
    assert balance(bench) == 50


async def test_a_name_that_is_no_strays_is_refused_before_anything_is_written() -> None:
    bench, [letter] = await strayed(10)
    await bench.apply(REVERSE, [b"{"])
    other = next(each for each in await bench.letters.all() if each.code != "stray")
    for names in ([name_of(letter), "reverse/stray:1"], [name_of(letter), name_of(other)]):
        with pytest.raises(ConfigError):
            await merging(bench).merge(names, execute=True)
    assert balance(bench) == 3


async def diverged() -> tuple[Bench, DeadLetter]:
    """The sweeper's own letter of a key whose rows have one version and different content."""
    bench, [stray] = await strayed(10)
    await bench.letters.remove(stray)
    owner, standby = bench.source.item(KEY), bench.target.item(KEY)
    assert owner is not None
    assert standby is not None
    tables = {side: bench.tables[side] for side in Side}
    keys = DivergedKeys(tables, MAPPING, bench.letters, lambda _name: False, clock=MemoryClock(COMMITTED_US))
    assert await keys.hold(Side.SOURCE, {KEY: Rows(owner, standby)}) == {KEY}
    [letter] = await bench.letters.all()
    return bench, letter


async def test_a_diverged_key_is_shown_with_both_rows_as_its_letters_cure_says_and_never_merged_or_redriven() -> None:
    bench, letter = await diverged()
    assert f"replicator dead-letters show {name_of(letter)}" in letter.cure
    [shown] = await merging(bench).show([name_of(letter)])
    said = "\n".join(lines_of(shown, plain))
    assert "engagement had: " in said
    assert """'points': '{"N":"10"}'""" in said
    assert "wallet had: " in said
    assert "the owner's row overwrites the other one" in said
    assert described(shown)["images"].keys() == {"wallet", "engagement"}
    with pytest.raises(ConfigError, match="is not merged: it shows two rows"):
        await merging(bench).merge([name_of(letter)], execute=True)
    tables = {side: (bench.tables[side], bench.tables[side]) for side in Side}
    tool = Redrive(MAPPING, lambda side: tables[side], bench.letters, None, "", clock=bench.clock, execute=True)  # type: ignore[arg-type]  # no feed here
    [redriven] = await tool.run()
    assert (redriven.settled, "discard it" in redriven.reason) == (False, True)
    assert await bench.letters.all() == [letter]


async def test_a_redrive_never_writes_a_stray() -> None:
    bench, [letter] = await strayed(10)
    writers = {side: Counting(bench.tables[side]) for side in Side}
    no_feed = cast("StreamWriter", None)
    redrive = Redrive(
        MAPPING,
        lambda side: (bench.tables[side], writers[side]),
        bench.letters,
        no_feed,
        "",
        clock=bench.clock,
        execute=True,
    )
    [found] = await redrive.run()
    assert not found.settled
    assert "merge or discard" in found.reason
    assert [writer.calls for writer in writers.values()] == [[], []]
    assert await bench.letters.all() == [letter]


async def test_a_letter_that_a_redrive_finds_to_be_a_stray_becomes_one() -> None:
    """An older release couldn't read it, say; with the moment known it is told for what it is."""
    bench, _ = await strayed()
    record = payload(
        target(KEY, 9, **protocol(V, "S", 1, V)), target(KEY, 5, **protocol(V, "S", 1, V)), side=Side.TARGET
    )
    await bench.letters.park(
        DeadLetter("reverse", "shard-1:7", KEY, None, "unreadable", "poison_record", record, "", COMMITTED_US)
    )
    redrive = Redrive(
        MAPPING,
        lambda side: (bench.tables[side], bench.tables[side]),
        bench.letters,
        None,  # type: ignore[arg-type]  # no feed here
        "",
        clock=bench.clock,
        execute=True,
        strays_since_us={Side.TARGET: 1},
    )
    [found] = await redrive.run()
    assert found.settled
    assert [(each.code, each.payload) for each in await bench.letters.all()] == [("stray", record)]


# ---- exactly once ------------------------------------------------------------------------------


class Crash(Exception):
    """The process ends here."""


class Forgetful(MemoryDeadLetters):
    """The tool dies before a letter is removed."""

    dies = True

    async def remove(self, letter: DeadLetter) -> None:
        if self.dies:
            raise Crash
        await super().remove(letter)


class Uncertain:
    """A table that takes a write and whose answer is lost."""

    def __init__(self, table: object) -> None:
        self._table = table
        self.loses = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._table, name)

    async def perform(self, write: Write) -> Answer:
        answer: Answer = await self._table.perform(write)  # type: ignore[attr-defined]  # the table in memory
        if self.loses:
            raise StoreUnavailable("silence")
        return answer


async def test_a_crash_between_the_write_and_the_letters_removal_does_not_merge_twice() -> None:
    bench, [letter] = await strayed(10)
    letters = Forgetful()
    await letters.park(letter)
    with pytest.raises(Crash):
        await merging(bench, letters).merge([name_of(letter)], execute=True)
    assert balance(bench) == 10
    letters.dies = False
    [outcome] = await merging(bench, letters).merge([name_of(letter)], execute=True)
    assert (outcome.done, outcome.shown.merged, balance(bench), await letters.count()) == (True, True, Decimal(10), 0)


async def test_a_lost_answer_does_not_merge_twice() -> None:
    bench, [letter] = await strayed(10)
    bench.tables[Side.SOURCE] = uncertain = Uncertain(bench.source)  # type: ignore[assignment]  # same methods
    with pytest.raises(StoreUnavailable):
        await merging(bench).merge([name_of(letter)], execute=True)
    uncertain.loses = False
    await merging(bench).merge([name_of(letter)], execute=True)
    assert balance_of(bench.source.item(KEY), MAPPING.shape(Side.SOURCE)) == 10


async def test_a_record_that_is_delivered_again_after_its_merge_is_not_merged_again() -> None:
    bench, [letter] = await strayed(10)
    await merging(bench).merge([name_of(letter)], execute=True)
    await bench.pipelines[REVERSE].apply("another-shard", [_Record("900", letter.payload)])
    [again] = await bench.letters.all()
    assert name_of(again) == name_of(letter)
    [outcome] = await merging(bench).merge([name_of(again)], execute=True)
    assert (outcome.shown.merged, balance(bench), await bench.letters.count()) == (True, Decimal(10), 0)


class _Record:
    def __init__(self, sequence_number: str, data: bytes) -> None:
        self.sequence_number, self.data = sequence_number, data


async def test_no_trim_ever_takes_a_merges_identity() -> None:
    _, [letter] = await strayed(10)
    identity = identity_of(letter)
    for now_ms in (0, COMMITTED_US // 1000, 2**47):
        trim = plan_trim(frozenset({identity, b"\x00" * 16}), b"", now_ms)
        assert isinstance(trim, Trim)
        assert identity in trim.kept
        assert identity > trim.floor


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_any_sequence_of_merges_crashes_redeliveries_and_earns_applies_each_stray_once(data: st.DataObject) -> None:
    import asyncio

    async def run() -> None:
        deltas = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
        total, points = 3, []
        for delta in deltas:
            total += delta
            points.append(total)
        bench, letters = await strayed(*points)
        store = Forgetful()
        for letter in letters:
            await store.park(letter)
        expected, seed = 3, SEED
        merged: set[str] = set()
        for _ in range(data.draw(st.integers(1, 12))):
            step = data.draw(st.sampled_from(["merge", "crash", "redeliver", "earn"]))
            at = data.draw(st.integers(0, len(letters) - 1))
            if step == "earn":
                seed += 1
                await earn(bench, seed=seed, amount=2)
                expected += 2
            elif step == "redeliver":
                await store.park(letters[at])
            else:
                store.dies = step == "crash"
                name = name_of(letters[at])
                if name not in [name_of(each) for each in await store.all()]:
                    continue
                if store.dies:
                    with pytest.raises(Crash):
                        await merging(bench, store).merge([name], execute=True)
                else:
                    await merging(bench, store).merge([name], execute=True)
                expected += 0 if name in merged else deltas[at]
                merged.add(name)
            assert balance(bench) == expected

    asyncio.run(run())


def test_two_writes_never_share_an_identity() -> None:
    keys = [key_of_strings(f"USER#{n}", "POINTS#1") for n in range(2)]
    letters = [
        DeadLetter("reverse", f"stray:{n}", key, None, "", "stray", b"", "", 0, "t") for n, key in enumerate(keys)
    ]
    assert len({identity_of(each) for each in letters}) == 2
