"""Rows of both tables, matched in memory: whatever order their pages come in, each key is judged once, and rightly."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.parity.classes import Difference, Pair, agrees
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.joining import (
    Join,
    Spilled,
    SpilledRows,
    Suspect,
    decode_spilled,
    encode_spilled,
    partition_of,
    spilled,
)
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import AnyPair, Compared, Page, Reading
from engagement_migration import MAPPING
from property_examples import examples
from verifier_world import World, wallet

WALLETS = 40
OWN = OwnRows()
FAULTS = (
    Difference.DIVERGED,
    Difference.MISSING,
    Difference.EXTRA,
    Difference.STUCK,
    Difference.AHEAD,
    Difference.TWO_OWNERS,
    Difference.UNREADABLE,
    Difference.IN_HANDOVER,
)


def planted(chance: random.Random) -> World:
    world = World(WALLETS)
    for number in chance.sample(range(WALLETS), 12):
        world.plant(chance.choice(FAULTS), wallet(number))
    return world


class Played:
    """Joins the rows of a world in an order that chance chooses, with everything that a unit does on the way.

    Attributes:
        judged: by key, how often it was judged.
        equal: keys that were found equal.
        most: most rows that waited at once.
    """

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance, self.reading = world, chance, Reading(MAPPING.declared)
        self.join = Join(self.reading, OWN)
        self.judged: Counter[bytes] = Counter()
        self.equal: set[bytes] = set()
        self.spilled: list[Spilled] = []
        self.most = 0

    def read(self, side: Side, keys: list[bytes]) -> dict[bytes, Any]:
        images = [self.world.tables[side].images.get(Key(key)) for key in keys]
        found = [image for image in images if image is not None]
        answer = msgspec.json.encode({"Responses": {"t": found}, "UnprocessedKeys": {}})
        return self.reading.batch(side, [answer])

    def note(self, compared: Compared) -> None:
        for key, _ in compared.proven:
            self.judged[key] += 1
            self.equal.add(key)
        for key, source, target in compared.left:
            self.judged[key] += 1
            if agrees(Pair(source, target), cast("Any", OWN)):
                self.equal.add(key)

    def pages(self, side: Side, shuffled: bool) -> list[Page]:
        images = list(self.world.tables[side].images.items())
        if shuffled:
            self.chance.shuffle(images)
        size = self.chance.randrange(1, 8)
        chunks = [images[first : first + size] for first in range(0, len(images), size)] or [[]]
        answers = [
            {"Items": [image for _, image in chunk], "ScannedCount": len(chunk)}
            | ({} if chunk is chunks[-1] else {"LastEvaluatedKey": {"pk": {"S": "x"}}})
            for chunk in chunks
        ]
        return [self.reading.page(side, msgspec.json.encode(each)) for each in answers]

    def scan(self, *, shuffled: bool) -> None:
        pages = {side: self.pages(side, shuffled) for side in Side}
        while any(pages.values()):
            side = self.chance.choice([side for side in Side if pages[side]])
            self.note(self.join.take(side, pages[side].pop(0)))
            self.most = max(self.most, len(self.join))
            match self.chance.randrange(8):
                case 0 | 1:
                    self.look()
                case 2:
                    self.spill(self.join.oldest(self.chance.randrange(1, 9)))
                case 3:
                    self.live_again()
                case _:
                    pass

    def look(self) -> bool:
        suspects = [] if self.spilled else self.join.suspects(5)
        there = {side: self.read(side, [each.key for each in suspects if each.side is side.other]) for side in Side}
        self.note(self.join.resolve(suspects, there))
        return bool(suspects)

    def spill(self, rows: list[Suspect]) -> None:
        forms = [spilled(key, self.reading.seen(side, row), OWN) for key, side, row in rows]
        self.spilled += decode_spilled(encode_spilled(forms))
        self.join.remove(rows)

    def live_again(self) -> None:
        """As after a kill right after a checkpoint."""
        before = self.join
        self.join = Join(self.reading, OWN, before.resolved)
        self.join.scanned_to_end = dict(before.scanned_to_end)
        for side in Side:
            self.join.put_back(side, self.read(side, before.waiting(side)))

    def end(self) -> None:
        while self.look():
            pass
        self.spill(self.join.oldest(len(self.join)))
        assert len(self.join) == self.join.bytes == 0
        pairs: dict[bytes, list[Spilled | None]] = {}
        for row in self.spilled:
            place = 0 if row.side == Side.SOURCE.value else 1
            pair = pairs.setdefault(row.key, [None, None])
            assert pair[place] is None, "a row is spilled once"
            pair[place] = row
        unequal = []
        for key, pair in pairs.items():
            if agrees(Pair(*cast("Any", pair)), cast("Any", SpilledRows())):
                self.judged[key] += 1
                self.equal.add(key)
            else:
                unequal.append(key)
        there = {side: self.read(side, unequal) for side in Side}
        read: list[AnyPair] = [(key, there[Side.SOURCE].get(key), there[Side.TARGET].get(key)) for key in unequal]
        self.note(self.reading.compare(read, OWN))

    def expected(self) -> set[bytes]:
        there = {side: self.read(side, [bytes(key) for key in self.world.tables[side].images]) for side in Side}
        keys = there[Side.SOURCE].keys() | there[Side.TARGET].keys()
        found = set()
        for key in keys:
            one, other = there[Side.SOURCE].get(key), there[Side.TARGET].get(key)
            pair = Pair(
                None if one is None else self.reading.seen(Side.SOURCE, one),
                None if other is None else self.reading.seen(Side.TARGET, other),
            )
            if agrees(pair, cast("Any", OWN)):
                found.add(key)
        return found


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_any_interleaving_of_pages_judges_each_key_once_and_as_if_both_rows_were_read_together(
    seed: int, shuffled: bool
) -> None:
    chance = random.Random(seed)
    played = Played(planted(chance), chance)
    played.scan(shuffled=shuffled)
    played.end()
    images = played.world.tables
    keys = {bytes(key) for side in Side for key in images[side].images}
    assert played.judged == dict.fromkeys(keys, 1), "no key is dropped, and none is judged twice"
    assert played.equal == played.expected()


def test_in_the_same_order_hardly_a_row_waits_and_a_missing_one_is_a_suspect_once_later_rows_are_matched() -> None:
    world = World(WALLETS)
    world.plant(Difference.MISSING, wallet(11))
    played = Played(world, random.Random(1))
    pages = {side: played.pages(side, shuffled=False) for side in Side}
    size = {side: len(pages[side][0].rows) for side in Side}
    named: set[bytes] = set()
    while any(pages.values()):
        left = [side for side in Side if pages[side]]
        side = min(left, key=played.join.ahead)
        played.note(played.join.take(side, pages[side].pop(0)))
        assert len(played.join) <= 2 * sum(size.values())
        if all(pages.values()):
            named |= {each.key for each in played.join.suspects(10)}
    assert named == {wallet(11)}


@given(st.lists(st.binary(min_size=1), unique=True, max_size=50), st.integers(1, 9), st.integers(1, 9))
def test_rounds_divide_the_keys_of_a_partition(keys: list[bytes], parts: int, rounds: int) -> None:
    for key in keys:
        whole = partition_of(key, parts * rounds)
        assert whole % parts == partition_of(key, parts)
        assert 0 <= whole // parts < rounds
