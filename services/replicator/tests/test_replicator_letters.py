"""Dead letters leave the store: overtaken ones by a redrive, the rest by an operator's word (rules 1, 9 and 11)."""

from __future__ import annotations

import pytest

from apply_cases import COMMITTED_US, KEY, V, payload, protocol, source
from crossfade.adapters.memory.control import ControlStore, MemoryDeadLetters, MemoryJournal
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Direction
from crossfade_replicator.letters import discard, name_of
from crossfade_replicator.main import main
from crossfade_replicator.replay import Redrive, Redriven
from engagement_migration import MAPPING
from replicator_bench import Bench, Counting

COLOUR = {"colour": wire.of_string("red")}


def row(version: int | None, balance: int) -> Image:
    return source(KEY, balance, **({} if version is None else protocol(version, "A", 2, version)))


def unmappable(version: int | None, *, committed_us: int = COMMITTED_US) -> bytes:
    return payload(row(version, 5) | COLOUR, None, committed_us=committed_us)


def mappable(version: int | None, *, committed_us: int = COMMITTED_US) -> bytes:
    return payload(row(version, 6), None, committed_us=committed_us)


async def redriven(bench: Bench, *, execute: bool = True) -> Redriven:
    def tables(side: object) -> tuple[object, Counting]:
        table = bench.tables[side]  # type: ignore[index]  # a Side
        return table, Counting(table)

    redrive = Redrive(MAPPING, tables, bench.letters, None, "events", clock=bench.clock, execute=execute)  # type: ignore[arg-type]  # fakes
    (found,) = await redrive.run()
    return found


@pytest.mark.parametrize(("version", "later"), [(V, V + 1), (None, None)])
async def test_rule_1_a_record_that_never_maps_is_let_go_once_the_target_has_passed_it(
    version: int | None, later: int | None
) -> None:
    bench = Bench()
    await bench.forward([unmappable(version)])
    assert not (await redriven(bench)).settled
    await bench.forward([mappable(later, committed_us=COMMITTED_US + 1)])
    dry = await redriven(bench, execute=False)
    assert (dry.settled, dry.reason, dry.counts["overtaken"]) == (True, "", 1)
    assert await bench.letters.count() == 1
    assert (await redriven(bench)).settled
    assert await bench.letters.count() == 0


async def test_a_record_at_the_targets_own_version_stays_since_nobody_knows_whether_it_is_equal() -> None:
    bench = Bench()
    await bench.forward([unmappable(V), mappable(V)])
    assert not (await redriven(bench)).settled


async def test_rule_5_a_write_that_erased_the_version_stays_however_high_the_target_is() -> None:
    bench = Bench()
    await bench.forward([unmappable(None), mappable(V)])
    assert not (await redriven(bench)).settled


async def test_a_record_of_a_key_that_the_target_lacks_stays() -> None:
    bench = Bench()
    await bench.forward([unmappable(V)])
    assert not (await redriven(bench)).settled


async def test_a_letter_is_discarded_by_its_name_and_kept_in_the_journal() -> None:
    bench, store = Bench(), ControlStore()
    journal = MemoryJournal(store, who="ann@desk")
    await bench.forward([unmappable(V), b"{"])
    first, second = await bench.letters.all()
    assert await discard(bench.letters, journal, [name_of(second)], execute=False) == [second]
    assert (await bench.letters.count(), store.journal) == (2, [])
    await discard(bench.letters, journal, [name_of(second)], execute=True)
    assert await bench.letters.all() == [first]
    (entry,) = store.journal
    assert (entry.kind, entry.who) == ("note", "ann@desk")
    assert entry.body["discarded"]["letter"] == name_of(second)
    assert entry.body["discarded"]["payload"] == second.payload.decode()


async def test_one_wrong_name_discards_nothing() -> None:
    bench, store = Bench(), ControlStore()
    await bench.forward([unmappable(V)])
    (each,) = await bench.letters.all()
    with pytest.raises(ConfigError, match="no dead letter 'forward/shard-9:1'"):
        await discard(bench.letters, MemoryJournal(store), [name_of(each), "forward/shard-9:1"], execute=True)
    assert (await bench.letters.all(), store.journal) == ([each], [])


async def test_letters_of_two_roles_at_one_place_have_two_names() -> None:
    letters = MemoryDeadLetters()
    bench = Bench()
    await bench.forward([unmappable(V)])
    (each,) = await bench.letters.all()
    for consumer in (Direction.FORWARD.value, "feed-source"):
        await letters.park(each.replace(consumer=consumer))
    await discard(letters, MemoryJournal(ControlStore()), [name_of(each)], execute=True)
    assert [each.consumer for each in await letters.all()] == ["feed-source"]


@pytest.mark.parametrize(
    "wrong", [["discard"], ["show"], ["merge"], ["list", "forward/x:1"], ["redrive", "forward/x:1"]]
)
def test_what_acts_on_one_letter_wants_its_name_and_nothing_else_does(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dead-letters", *wrong])
    assert "show, merge, discard need the names of letters" in capsys.readouterr().err
