"""Keys that change, through the plain pipeline on tables in memory (ADR 0043)."""

from __future__ import annotations

from crossfade.core.mapping.keying import KeyRule, swapped
from crossfade.core.mapping.rules import RuleMapping, Table, key_prefixes
from crossfade.core.protocol.plain.map import version_at
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.image import Image, of_string
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Side
from plain_bench import PlainBench
from plain_records import AT_US, FLIPPED, HELD_US, KEY, S, payload, row, told, total_of

LATER_US = HELD_US + 60 * S


def moved(keys: KeyRule, source: tuple[str, ...], target: tuple[str, ...]) -> RuleMapping:
    return RuleMapping(
        "moved",
        source=Table("orders", key=source),
        target=Table("orders-next", key=target),
        belongs=key_prefixes("CUSTOMER#", ""),
        rules=(),
        is_open=True,
        protocol=PLAIN,
        keys=keys,
    )


SWAPPED = moved(swapped(("customer", "entry"), ("entry", "customer")), ("customer", "entry"), ("entry", "customer"))


TURNED = key_of_strings("ORDER#1", "CUSTOMER#7")


async def test_a_row_travels_under_its_other_key_there_and_back_and_so_does_its_delete() -> None:
    bench = PlainBench(mapping=SWAPPED)
    await bench.forward(told(5))
    assert bench.target.images == {TURNED: row(5, mv=version_at(AT_US))}
    await bench.forward(payload(None, row(5), at_us=AT_US + 2 * S))
    assert bench.target.images == {TURNED: row(deleted=True, mv=version_at(AT_US + 2 * S))}
    bench = PlainBench(FLIPPED, mapping=SWAPPED)
    bench.source.put(row(4))
    await bench.reverse(told(5, 4, side=Side.TARGET, at_us=LATER_US))
    assert bench.source.images == {KEY: row(5, mv=version_at(LATER_US))}
    assert await bench.codes() == []


async def test_an_owner_is_asked_and_a_late_record_looked_into_under_both_keys() -> None:
    bench = PlainBench(mapping=SWAPPED)
    bench.source.put(row(9))
    await bench.forward(told(8), told(9))
    assert total_of(bench.target.images[TURNED]) == 9
    bench = PlainBench(FLIPPED, mapping=SWAPPED)
    bench.source.images[KEY] = row(5)
    bench.target.put(row(4))
    await bench.forward(told(5, 4, at_us=HELD_US - S))
    assert bench.target.images == {TURNED: row(5)}


def shortened(image: Image) -> Image:
    """Several sources may meet in one key of the target."""
    return {"customer": image["customer"], "entry": of_string("LAST")}


KEPT = moved(KeyRule(shortened, kept=("was_customer", "was_entry")), ("customer", "entry"), ("customer", "entry"))


async def test_a_second_source_key_on_a_taken_target_row_is_parked_and_never_merged() -> None:
    bench = PlainBench(mapping=KEPT)
    await bench.forward(told(5))
    await bench.forward(told(6, number=2, at_us=AT_US + 4 * S))
    there = key_of_strings("CUSTOMER#7", "LAST")
    assert total_of(bench.target.images[there]) == 5
    assert await bench.codes() == ["refused"]
    gone = payload(None, row(6, key_of_strings("CUSTOMER#7", "ORDER#2")), at_us=AT_US + 8 * S)
    await bench.forward(gone)
    assert total_of(bench.target.images[there]) == 5, "nor does its delete take the other one's row"
