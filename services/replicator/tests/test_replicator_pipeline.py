"""The replicator's apply pipeline on tables in memory (design.md, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec import Raw
from msgspec.structs import replace

from apply_cases import COMMITTED_US, KEY, V, payload, protocol, source, target
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.protocol.keyed.writes import Seal
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import decode_change
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreRefused, StoreUnavailable
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.sending import NotSent, Sent, sent_name
from crossfade.runtime.retry import wait_s
from crossfade_replicator.letters import drop_answered
from crossfade_replicator.records import Decoded
from crossfade_replicator.sender import FULL_SIZE, Sender
from engagement_migration import MAPPING
from ownership_cases import SEED
from replicator_bench import FORWARD, Bench, Counting, earn


def owned(version: int, balance: int = 5, number: int = 7) -> bytes:
    key = key_of_strings(f"USER#{number}", "POINTS#chan-3")
    older = source(key, balance - 1, **protocol(version - 1, "A", 2, version - 1))
    return payload(source(key, balance, **protocol(version, "A", 2, version)), older)


# ---- what is written ---------------------------------------------------------------------------


async def test_an_owner_write_arrives_as_a_standby_of_generation_0() -> None:
    bench = Bench()
    await earn(bench)
    assert await bench.forward(bench.source.changes) == {"records": 1, "applied": 1}
    item, owner = bench.target.item(KEY), bench.source.item(KEY)
    assert item is not None
    assert owner is not None
    assert (item.role, item.generation, item.version) == (Role.STANDBY, 0, owner.version)
    assert (item.recent, item.event_version) == (owner.recent, owner.event_version)


async def test_rule_8_only_the_newest_of_a_batch_is_written() -> None:
    bench = Bench()
    counts = await bench.forward([owned(V + 2), owned(V), owned(V + 1), owned(V, number=8)])
    assert counts == {"records": 4, "applied": 2, "coalesced": 2}
    assert bench.writers[FORWARD].sent == 2


async def test_rule_10_a_batch_goes_out_25_at_a_time() -> None:
    bench = Bench()
    await bench.forward(owned(V, number=number) for number in range(60))
    assert sorted(len(call) for call in bench.writers[FORWARD].calls) == [10, 25, 25]


# ---- marks -------------------------------------------------------------------------------------


async def test_rule_7_a_mark_saves_the_second_write() -> None:
    bench = Bench()
    await bench.forward([owned(V)])
    counts = await bench.forward([owned(V)])
    assert counts == {"records": 2, "applied": 1, "deduplicated": 1}
    assert bench.writers[FORWARD].sent == 1


async def test_rule_7_losing_all_marks_costs_a_write_and_nothing_else() -> None:
    bench = Bench()
    await bench.forward([owned(V + 1, 9)])
    bench.marks.flush()
    counts = await bench.forward([owned(V), owned(V + 1, 9)])
    assert counts["duplicate"] == 1
    item = bench.target.item(KEY)
    assert item is not None
    assert item.version == V + 1


async def test_rule_7_nothing_is_marked_before_it_is_written() -> None:
    bench = Bench()
    bench.writers[FORWARD].answers = [StoreRefused("gone", reason="ResourceNotFoundException")]
    with pytest.raises(StoreRefused):
        await bench.forward([owned(V)])
    assert await bench.marks.seen(FORWARD, [KEY]) == [None]


async def test_rule_7_a_stale_an_equal_and_an_owned_transfer_are_marked_too_and_a_conflict_is_not() -> None:
    for verdict, marked in (
        (Verdict.STALE, V), (Verdict.DUPLICATE, V), (Verdict.OWNED, V), (Verdict.CONFLICT, None),
        (Verdict.UNVERSIONED, None), (Unfit("too large"), None),
    ):  # fmt: skip
        bench = Bench()
        bench.writers[FORWARD].answers = [[verdict]]
        assert (await bench.forward([owned(V)]))[sent_name(verdict)] == 1
        assert await bench.marks.seen(FORWARD, [KEY]) == [marked]


async def test_a_redrive_ignores_marks() -> None:
    bench = Bench(use_marks=False)
    await bench.marks.mark(FORWARD, {KEY: V})
    assert await bench.forward([owned(V)]) == {"records": 1, "applied": 1}


# ---- throttling --------------------------------------------------------------------------------


async def test_rule_11_throttling_backs_off_shrinks_and_drops_nothing() -> None:
    bench = Bench()
    writer = bench.writers[FORWARD]
    writer.answers = [[NotSent.THROTTLED] * 25, [NotSent.THROTTLED] * 12]
    counts = await bench.forward(owned(V, number=number) for number in range(25))
    assert counts == {"records": 25, "applied": 25}
    assert len(bench.target.images) == 25
    assert [len(call) for call in writer.calls][:4] == [25, 12, 6, 7]
    assert bench.waits == [wait_s(1, 1.0), wait_s(2, 1.0)]
    assert bench.senders[FORWARD].throttled == 37


async def test_rule_11_the_size_grows_again() -> None:
    bench = Bench()
    bench.writers[FORWARD].answers = [[NotSent.THROTTLED] * 25]
    await bench.forward(owned(V, number=number) for number in range(25))
    assert bench.senders[FORWARD].size < FULL_SIZE
    for round_ in range(1, 15):
        await bench.forward([owned(V + round_)])
    assert bench.senders[FORWARD].size == FULL_SIZE


async def test_rule_11_a_table_that_does_not_answer_is_asked_until_it_does() -> None:
    bench = Bench()
    bench.writers[FORWARD].answers = [StoreUnavailable("silence"), StoreUnavailable("silence")]
    assert await bench.forward([owned(V)]) == {"records": 1, "applied": 1}
    assert len(bench.waits) == 2


async def test_requests_of_one_batch_overlap() -> None:
    """One that hangs doesn't keep the others from being written."""
    bench, gate = Bench(), asyncio.Event()
    written: list[int] = []

    class FirstHangs(Counting):
        async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
            if not self.calls:
                self.calls.append([])
                await gate.wait()
            written.append(len(transfers))
            return await super().transfer(transfers)

    transfers = [Transfer(key_of_strings(f"USER#{number}", "POINTS#1"), V, {}) for number in range(100)]
    task = asyncio.ensure_future(Sender(FirstHangs(bench.target), clock=bench.clock, in_flight=4).send(transfers))
    for _ in range(10):
        await asyncio.sleep(0)
    assert written == [25, 25, 25]
    gate.set()
    assert set(await task) == {Verdict.APPLIED}


# ---- dead letters ------------------------------------------------------------------------------


async def test_rule_11_a_poison_record_is_parked_with_its_payload_and_the_rest_is_applied() -> None:
    bench = Bench()
    assert await bench.forward([b"not json", owned(V)]) == {"records": 2, "applied": 1, "parked": 1}
    [letter] = await bench.letters.all()
    assert (letter.consumer, letter.sequence, letter.code, letter.payload) == (
        "forward", "shard-1:1", "poison_record", b"not json",
    )  # fmt: skip


async def test_rule_9_a_row_with_an_unknown_attribute_is_parked_and_names_it() -> None:
    bench = Bench()
    record = payload(source(surprise=wire.of_number(1), **protocol(V, "A", 2, V)), None)
    await bench.forward([record])
    [letter] = await bench.letters.all()
    assert (letter.code, letter.key, letter.payload) == ("unmappable", KEY, record)
    assert "surprise" in letter.reason
    assert letter.trace == "00-aa-bb-01"


async def test_rule_1_one_version_with_two_contents_is_parked_and_never_resolved_by_guessing() -> None:
    bench = Bench()
    await bench.forward([owned(V, 5)])
    bench.marks.flush()
    await bench.forward([owned(V, 6)])
    [letter] = await bench.letters.all()
    assert (letter.code, letter.version) == ("conflict", V)
    item = bench.target.item(KEY)
    assert item is not None
    assert dict(item.content)["points"] == b'{"N":"5"}'


async def test_twins_within_a_batch_are_parked_too() -> None:
    bench = Bench()
    counts = await bench.forward([owned(V, 5), owned(V, 6)])
    assert (counts["applied"], counts["conflict"], counts["parked"]) == (1, 1, 1)


async def test_rule_1_a_conflict_leaves_on_its_own_once_the_destination_has_passed_it() -> None:
    bench = Bench()
    await bench.forward([owned(V, 5), owned(V, 6), b"poison"])
    assert await drop_answered(bench.letters, MAPPING, Direction.FORWARD, bench.target) == 0
    await bench.forward([owned(V + 1, 7)])
    assert await drop_answered(bench.letters, MAPPING, Direction.REVERSE, bench.source) == 0
    assert await drop_answered(bench.letters, MAPPING, Direction.FORWARD, bench.target) == 1
    assert [each.code for each in await bench.letters.all()] == ["poison_record"], "poison waits for humans"


async def answered(bench: Bench) -> list[str]:
    """Let go what the rows answer; return the codes of the letters that stay."""
    for direction in Direction:
        await drop_answered(bench.letters, MAPPING, direction, bench.tables[direction.destination])
    return [each.code for each in await bench.letters.all()]


async def repaired(bench: Bench, record: bytes) -> None:
    """Do what the verifier's repair does: the owner's image at its own version, whatever stood there at that."""
    found = ApplyRule(MAPPING, Direction.FORWARD).decide(decode_change(record, ("pk", "sk")))
    assert isinstance(found, Transfer)
    assert await bench.target.transfer([replace(found, repair=True)]) == [Verdict.APPLIED]


async def test_b6_a_conflict_that_a_repair_has_healed_leaves() -> None:
    """The repair leaves the version as it is, so the letter stayed for good."""
    bench = Bench()
    await bench.forward([owned(V, 5), owned(V, 6)])
    assert await answered(bench) == ["conflict"], "at the same version, with another content"
    await repaired(bench, owned(V, 6))
    assert await answered(bench) == []


async def test_b6_a_letter_at_its_rows_version_with_another_content_stays() -> None:
    bench = Bench()
    await bench.forward([owned(V, 5), owned(V, 6)])
    await repaired(bench, owned(V, 7))
    assert await answered(bench) == ["conflict"]


async def test_b6_a_letter_leaves_at_its_version_though_the_row_is_an_owner_by_now() -> None:
    bench = Bench()
    await bench.forward([owned(V, 5), owned(V, 6)])
    await repaired(bench, owned(V, 6))
    row = bench.target.images[KEY]
    bench.target.put({**row, "cf_role": wire.of_string("A")})
    assert await answered(bench) == []


async def test_b6_a_letter_of_a_row_that_nobody_had_imported_leaves_when_the_row_has_its_content() -> None:
    bench = Bench()
    bench.target.put(target(KEY, 1))
    await bench.forward([owned(V, 5)])
    assert await answered(bench) == ["unversioned"]
    bench.target.delete(KEY)
    await repaired(bench, owned(V, 5))
    assert await answered(bench) == []


@pytest.mark.parametrize("code", ["stray", "diverged", "poison_record", "unmappable"])
async def test_b6_other_letters_keep_their_own_rules(code: str) -> None:
    bench = Bench()
    await bench.forward([owned(V, 5), owned(V, 6)])
    (letter,) = await bench.letters.all()
    await bench.letters.remove(letter)
    await bench.letters.park(letter.replace(code=code))
    await repaired(bench, owned(V, 6))
    await bench.forward([owned(V + 1, 7)])
    assert await answered(bench) == [code]


# ---- counting ----------------------------------------------------------------------------------


async def test_rule_12_an_old_duplicate_does_not_turn_back_the_commit_time() -> None:
    bench = Bench()
    newer = payload(source(**protocol(V, "A", 2, V)), None, committed_us=COMMITTED_US + 50)
    older = payload(source(**protocol(V - 1, "A", 2, V - 1)), None, committed_us=COMMITTED_US)
    await bench.forward([newer])
    await bench.forward([older])
    assert bench.tallies[FORWARD].applied_commit_us == COMMITTED_US + 50


async def test_rule_12_an_old_stray_counts_by_its_commit_time() -> None:
    bench = Bench(strays_since_us=1)
    stray = payload(
        source(KEY, 9, **protocol(V, "A", 2, V)), source(**protocol(V, "A", 2, V)), committed_us=COMMITTED_US
    )
    await bench.forward([stray])
    assert bench.tallies[FORWARD].stray_last_us == COMMITTED_US


async def test_rule_6_a_record_without_microseconds_is_applied_and_reported() -> None:
    bench = Bench()
    counts = await bench.forward([payload(source(), None, precise=False)])
    assert (counts["imprecise"], counts["applied"]) == (1, 1)
    assert bench.tallies[FORWARD].imprecise_last_us == COMMITTED_US // 1000 * 1000


async def test_rows_of_others_and_echoes_are_counted_and_cost_nothing() -> None:
    bench = Bench()
    other = source(key_of_strings("USER#7", "WALLET#EUR"))
    await earn(bench)
    await bench.source.perform(Seal(KEY, 1, SEED))
    sealed = bench.source.images[KEY]
    echo = payload(sealed | {"cf_mv": wire.of_number(V + 10)}, sealed)
    assert await bench.forward([payload(other, None), echo]) == {"records": 2, "not_ours": 1, "echo": 1}
    assert bench.writers[FORWARD].calls == []


# ---- what the target will never take ------------------------------------------------------------


async def test_a_refused_transfer_is_parked_with_the_stores_own_words() -> None:
    bench = Bench()
    bench.writers[FORWARD].answers = [[Unfit("Item size to update has exceeded the maximum allowed size")]]
    await bench.forward([owned(V)])
    [letter] = await bench.letters.all()
    assert letter.code == "refused"
    assert letter.reason.endswith(": Item size to update has exceeded the maximum allowed size")


async def test_a_row_that_does_not_fit_is_parked_with_its_cause_and_the_others_go_on() -> None:
    bench = Bench()
    large = source(preferences=Raw(b'{"M":{"note":{"S":"%b"}}}' % (b"x" * 409_600)), **protocol(V, "A", 2, V))
    counts = await bench.forward([payload(large, None), owned(V, number=1)])
    assert counts == {"records": 2, "applied": 1, "refused": 1, "parked": 1}
    [letter] = await bench.letters.all()
    assert "DynamoDB allows 409600" in letter.reason
    assert letter.payload == payload(large, None)


@pytest.mark.parametrize("role_and_generation", [("A", 3), ("S", 3), ("A", 4)])
async def test_a_refused_transfer_of_a_held_out_key_is_counted_and_not_parked(
    role_and_generation: tuple[str, int],
) -> None:
    """Such a key is active at an odd generation; a standby of one is the fence, and its record an echo."""
    bench = Bench()
    bench.writers[FORWARD].answers = [[Unfit("too large")]]
    counts = await bench.forward([payload(source(**protocol(V, *role_and_generation, V)), None)])
    if role_and_generation == ("A", 3):
        assert counts == {"records": 1, "refused": 1, "held_out": 1}
    assert await bench.letters.count() == (role_and_generation == ("A", 4))


async def test_a_held_out_row_that_does_not_map_is_counted_and_a_conflict_of_one_is_parked() -> None:
    bench = Bench()
    unknown = payload(source(surprise=wire.of_number(1), **protocol(V, "A", 3, V)), None)
    assert await bench.forward([unknown]) == {"records": 1, "held_out": 1}
    assert await bench.letters.count() == 0
    bench.writers[FORWARD].answers = [[Verdict.CONFLICT]]
    await bench.forward([payload(source(**protocol(V + 1, "A", 3, V)), None)])
    assert await bench.letters.count() == 1, "a conflict is no refusal: somebody has to look"


@pytest.mark.parametrize("gone", [True, False], ids=["removed", "deleted"])
async def test_a_deleted_row_with_an_unknown_attribute_is_parked_and_no_tombstone_goes_in_silence(gone: bool) -> None:
    bench = Bench()
    await bench.forward([owned(V)])
    if gone:
        record = payload(None, source(surprise=wire.of_number(1), **protocol(V, "A", 2, V)))
    else:
        bare = {name: source()[name] for name in MAPPING.shape(Side.SOURCE).key}
        record = payload(bare | {"surprise": wire.of_number(1)} | protocol(V + 1, "A", 2, V + 1, deleted=True), None)
    await bench.forward([record])
    [letter] = await bench.letters.all()
    assert (letter.code, letter.payload) == ("unmappable", record)
    assert "surprise" in letter.reason
    item = bench.target.item(KEY)
    assert item is not None
    assert not item.deleted


async def test_a_record_that_comes_decoded_is_not_decoded_again() -> None:
    change = decode_change(payload(source(KEY, 7, **protocol(V, "A", 1)), None), MAPPING.shape(Side.SOURCE).key)
    bench = Bench()
    outcome = await bench.pipelines[FORWARD].apply("shard-1", [Decoded("1", b"nobody reads this", change)])
    assert outcome.counts["applied"] == 1
    assert bench.target.item(KEY) is not None
