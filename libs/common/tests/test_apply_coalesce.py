"""Rule 8: within a batch only the highest version of each key is written, and a request holds a key once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.protocol.keyed.item import FIRST_STAMPED
from crossfade.core.protocol.keyed.versions import is_stamped
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.coalesce import coalesce
from crossfade.core.values.image import of_number
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.waves import waves


def transfer(user: str, version: int, points: int | None = None) -> Transfer:
    return Transfer(key_of_strings(user, "P"), version, {"points": of_number(version if points is None else points)})


def test_rule_8_only_the_highest_version_of_a_key_is_kept() -> None:
    batch = [transfer("a", 3), transfer("b", 1), transfer("a", 5), transfer("a", 4)]
    kept, twins, dropped = coalesce(batch, is_stamped)
    assert sorted(kept) == [1, 2]
    assert (twins, dropped) == ([], 2)


def test_rule_8_the_same_transfer_twice_is_one() -> None:
    assert coalesce([transfer("a", 3), transfer("a", 3)], is_stamped) == ([0], [], 1)


def test_one_version_with_two_contents_is_left_to_the_fence() -> None:
    kept, twins, dropped = coalesce([transfer("a", 3, 1), transfer("a", 3, 2), transfer("a", 2)], is_stamped)
    assert (kept, twins, dropped) == ([0], [1], 1)


def test_a_twin_that_was_overtaken_is_dropped() -> None:
    assert coalesce([transfer("a", 3, 1), transfer("a", 3, 2), transfer("a", 4)], is_stamped) == ([2], [], 2)


def test_rule_5_an_unstamped_write_is_not_overtaken_by_a_stamped_one_of_its_batch() -> None:
    """It may be a stray that lost the version: only the table can tell, and then the owner is lifted."""
    before, after, stamped = transfer("a", 5), transfer("a", 7), transfer("a", FIRST_STAMPED + 5)
    assert coalesce([before, stamped, after], is_stamped) == ([1], [2], 1)
    assert coalesce([after, before, stamped, stamped], is_stamped) == ([2], [0], 2)


transfers = st.lists(st.builds(transfer, st.sampled_from("abc"), st.integers(1, 5), st.integers(1, 2)), max_size=12)


@given(transfers)
def test_nothing_is_lost_to_coalescing(batch: list[Transfer]) -> None:
    kept, twins, dropped = coalesce(batch, is_stamped)
    assert len({batch[index].key for index in kept}) == len(kept)
    assert len(kept) + len(twins) + dropped == len(batch)
    for key in {each.key for each in batch}:
        highest = max(each.version for each in batch if each.key == key)
        contents = {bytes(each.image["points"]) for each in batch if (each.key, each.version) == (key, highest)}
        left = [batch[index] for index in (*kept, *twins) if batch[index].key == key]
        assert {each.version for each in left} == {highest}
        assert {bytes(each.image["points"]) for each in left} == contents


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers()), max_size=12))
def test_waves_hold_each_key_once_and_keep_its_order(items: list[tuple[bytes, int]]) -> None:
    found = waves((key, (key, number)) for key, number in items)
    assert all(len({key for key, _ in wave}) == len(wave) for wave in found)
    for key in (b"a", b"b", b"c"):
        assert [each for wave in found for each in wave if each[0] == key] == [each for each in items if each[0] == key]
