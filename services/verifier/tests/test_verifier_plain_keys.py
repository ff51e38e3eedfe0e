"""A plain migration whose keys change: rows go by their keys in the source table, and everything else is as before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import pytest
from msgspec import Raw

from crossfade.adapters.clock import SYSTEM
from crossfade.core.mapping.keying import KeyRule, joined, prefixed, split, swapped
from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.image import Image, of_string
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Direction, Side
from crossfade_verifier.offline.comparing import compare_exports
from export_files import write_both
from heard_world import Heard
from plain_world import PlainWorld
from verifier_world import BOUND_S

ROWS: Final = 9


def hashed(image: Image) -> Image:
    """A key that doesn't come back: the source's is kept in attributes."""
    number = sum(bytes(image["pk"]))
    return {"id": of_string(f"{number % 97}-{bytes(image['pk'])[6:-2].decode()}")}


PAIR: Final = (("pk", "sk"), "CUSTOMER#{}", "ORDER#{}")
WHOLE: Final = (("id",), "CUSTOMER#{}/ORDER#{}", "")
RULES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...], KeyRule]]] = {
    "split": (("id",), ("pk", "sk"), split("id", ("pk", "sk"), "/")),
    "joined": (("pk", "sk"), ("id",), joined(("pk", "sk"), "id", "/")),
    "prefixed": (("pk", "sk"), ("pk", "sk"), prefixed(("pk", "sk"), ("pk", "sk"), "SHOP#")),
    "swapped": (("pk", "sk"), ("pk", "sk"), swapped(("pk", "sk"), ("pk", "sk"))),
    "kept": (("pk", "sk"), ("id",), KeyRule(hashed, kept=("from_pk", "from_sk"))),
}


class KeysWorld(PlainWorld):
    """See `PlainWorld`."""

    def __init__(self, rule: str) -> None:
        ours, theirs, keys = RULES[rule]
        self.mapping = RuleMapping(
            f"keys-{rule}",
            source=Table("wallet", key=ours),
            target=Table("engagement", key=theirs),
            rules=(),
            belongs=lambda _key: True,
            is_open=True,
            protocol=PLAIN,
            keys=keys,
        )
        super().__init__()
        for number in range(ROWS):
            self.tables[Side.SOURCE].put(self.row(number))
            self.copy_last()

    def key(self, number: int) -> Key:
        names = self.mapping.shape(Side.SOURCE).key
        return encode_key(self.row(number), names)

    def row(self, number: int) -> Image:
        if self.mapping.shape(Side.SOURCE).key == ("id",):
            ours = {"id": of_string(f"CUSTOMER#{number}/ORDER#{number}")}
        else:
            ours = {"pk": of_string(f"CUSTOMER#{number}"), "sk": of_string(f"ORDER#{number}")}
        return ours | {"total": Raw(b'{"N":"%d"}' % number), "lines": Raw(b'{"L":[{"S":"a"}]}')}

    def copy_last(self) -> None:
        self.transfer(*self.changes[-1])

    def there(self, side: Side, number: int) -> Key:
        """Return a row's key in a table."""
        key = self.key(number)
        return key if side is Side.SOURCE else self.mapping.other_key(Direction.FORWARD, key, None)

    def change(self, side: Side, number: int, **changed: Raw | None) -> None:
        self.sets(side, self.there(side, number), **changed)


def sweep(world: KeysWorld) -> dict[Difference, list[Key]]:
    found = asyncio.run(world.sweep(units=3, page=4))
    assert found.book.verified == ROWS - sum(found.book.by_class.values()), "each key counts once"
    assert found.clean == (not found.keys)
    return {each: sorted(keys) for each, keys in found.keys.items() if keys}


EACH = pytest.mark.parametrize("rule", RULES)
SIDES = pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")


def world_of(rule: str, owner: Side) -> KeysWorld:
    world = KeysWorld(rule)
    if owner is Side.TARGET:
        world.flip()
        for number in range(ROWS):  # the application puts each row again, without a fence
            image = world.tables[Side.TARGET].images[world.there(Side.TARGET, number)]
            world.tables[Side.TARGET].put({name: raw for name, raw in image.items() if not name.startswith("cf_")})
            world.copy_last()
    return world


@EACH
@SIDES
def test_rows_are_matched_by_the_keys_that_they_come_from_whatever_segments_they_are_in(rule: str, owner: Side) -> None:
    assert sweep(world_of(rule, owner)) == {}


@EACH
@SIDES
def test_what_differs_is_called_by_its_key_in_the_source(rule: str, owner: Side) -> None:
    world = world_of(rule, owner)
    world.change(owner.other, 1, total=Raw(b'{"N":"99"}'))
    world.tables[owner.other].delete(world.there(owner.other, 2))
    world.tables[owner].delete(world.there(owner, 3))
    assert sweep(world) == {
        Difference.DIVERGED: [world.key(1)],
        Difference.MISSING: [world.key(2)],
        Difference.EXTRA: [world.key(3)],
    }


@EACH
@SIDES
def test_the_streams_are_matched_by_them_too(rule: str, owner: Side) -> None:
    world = world_of(rule, owner)
    heard = Heard(world)

    def hear(since: int) -> None:
        for side, change in world.changes[since:]:
            told = heard.both.told(side, change)
            assert told is not None
            heard.mode.hear(side, told)

    since = len(world.changes)
    for number in (1, 2):
        world.change(owner, number, total=Raw(b'{"N":"50"}'))
        if number == 1:
            world.copy_last()
    world.tables[owner].delete(world.there(owner, 4))
    world.copy_last()
    hear(since)
    assert heard.mode.counts.verified == 2
    asyncio.run(heard.goes_on(4 * BOUND_S))
    assert [key for keys in heard.found.values() for key in keys] == [world.key(2)]


@EACH
@SIDES
def test_two_exports_are_joined_by_them(rule: str, owner: Side, tmp_path: Path) -> None:
    world = world_of(rule, owner)
    world.tables[owner].delete(world.there(owner, 5))
    world.copy_last()  # a tombstone
    exports, out = write_both(tmp_path, world), tmp_path / "differences.jsonl"
    complete = owner is Side.TARGET

    def compared(folder: str) -> list[str]:
        work = tmp_path / folder
        report = compare_exports(
            world.mapping, *exports.values(), clock=SYSTEM, folder=work, out=out, complete=complete
        )
        assert report.verified + sum(each.count for each in report.differences.values()) == ROWS - 1
        assert bool(report.buckets.differing) == (not report.clean), "a tombstone is in no sum"
        return [msgspec.json.decode(line)["key"] for line in out.read_text().splitlines()]

    assert compared("equal") == []
    world.change(owner.other, 1, total=Raw(b'{"N":"99"}'))
    (tmp_path / "later").mkdir()
    exports = write_both(tmp_path / "later", world)
    assert compared("apart") == [world.key(1).decode()]


def test_rows_of_another_migration_into_the_same_table_are_none_of_ours() -> None:
    world = KeysWorld("prefixed")
    world.tables[Side.TARGET].put(key_image(world.key(1), ("pk", "sk")) | {"total": Raw(b'{"N":"1"}')})
    found = asyncio.run(world.sweep())
    assert (found.clean, found.not_ours) == (True, 0)


def test_a_row_without_a_way_back_is_listed_and_the_pass_is_not_clean() -> None:
    world = KeysWorld("kept")
    world.flip()
    world.tables[Side.TARGET].put({"id": of_string("new"), "total": Raw(b'{"N":"1"}')})
    found = asyncio.run(world.sweep())
    assert (found.clean, found.not_ours, found.others) == (False, 1, [b'[{"S":"new"}]'])
