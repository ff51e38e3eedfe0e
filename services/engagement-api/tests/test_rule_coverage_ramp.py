"""Section 4, the flag: generations of a moving share. One generation has one target forever; none is given twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.migration.acts import document_json
from crossfade.core.migration.state import document_of
from crossfade.core.ownership.ramp import (
    FULL_SHARE,
    FlagDocument,
    aim,
    check_generations,
    next_generation,
    raised,
    ramp_point,
)
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.hashes import is_sampled
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side

KEYS = [key_of_strings(f"USER#{number}", "POINTS#c") for number in range(2_000)]
shares = st.integers(0, FULL_SHARE)
moves = st.lists(st.one_of(shares, st.sampled_from([0, FULL_SHARE])), max_size=12)


def published(counter: int, wanted: list[int]) -> list[tuple[FlagDocument, int]]:
    """The documents of one migration, in order, and the counter that was durable before each."""
    document, found = FlagDocument(), []
    for share in wanted:
        document, counter = raised(document, share, counter)
        found.append((document, counter))
    return found


def test_section_4_raising_the_share_keeps_both_generations() -> None:
    first, _ = raised(FlagDocument(), 100, 0)
    second, counter = raised(first, 5_000, 2)
    assert first == FlagDocument(share=100, target_gen=2)
    assert second == FlagDocument(share=5_000, target_gen=2)
    assert counter == 2


def test_section_4_lowering_raises_the_source_generation_and_the_next_raise_the_new_one_above_it() -> None:
    documents = [document for document, _ in published(0, [5_000, 0, 5_000])]
    assert [(each.target_gen, each.source_gen) for each in documents] == [(2, 0), (2, 4), (6, 4)]


def test_section_4_a_key_outside_a_lowered_share_is_wanted_back_above_every_earlier_wish() -> None:
    (up, _), (down, _) = published(0, [FULL_SHARE, 0])
    for key in KEYS[:50]:
        assert aim(up, key) == Aim(Side.TARGET, 2)
        assert aim(down, key) == Aim(Side.SOURCE, 4)


@given(st.integers(0, 50), moves)
def test_section_4_one_generation_has_one_target_forever_whatever_was_aborted(counter: int, wanted: list[int]) -> None:
    """Two migrations of one source table, the second after the first was aborted: its document starts over."""
    half = len(wanted) // 2
    first = published(counter, wanted[:half])
    second = published(first[-1][1] if first else counter, wanted[half:])
    targets: dict[int, Side] = {}
    for document, durable in (*first, *second):
        for generation, side in ((document.target_gen, Side.TARGET), (document.source_gen, Side.SOURCE)):
            assert generation <= durable, "a number is published that is not durable"
            if generation:
                assert targets.setdefault(generation, side) is side
    reused = {d.target_gen for d, _ in first} & {d.target_gen for d, _ in second}
    assert reused <= {0}, "the second migration gave a number of the first again"
    assert all(generation > counter for generation in targets), "a number of an earlier migration was given again"


@given(moves)
def test_section_4_the_last_move_always_wins_over_every_earlier_wish(wanted: list[int]) -> None:
    """A key must follow the newest document from wherever an older one has brought it."""
    documents = [FlagDocument(), *(document for document, _ in published(0, wanted))]
    last = documents[-1]
    for key in KEYS[:20]:
        wish = aim(last, key)
        opposite = [aim(older, key).generation for older in documents if aim(older, key).side is not wish.side]
        assert wish.generation > max(opposite, default=-1) or wish == Aim(Side.SOURCE, 0)


@given(st.integers(0, 50), moves)
def test_adr_0014_flags_carry_even_generations_whatever_an_earlier_migration_left(
    highest: int, wanted: list[int]
) -> None:
    """The odd number above each belongs to its give-back, so it may never be a wish."""
    assert next_generation(highest) % 2 == 0
    assert highest < next_generation(highest) <= highest + 2
    for document, counter in published(highest, wanted):
        assert document.target_gen % 2 == document.source_gen % 2 == 0
        assert counter == highest or counter % 2 == 0


@pytest.mark.parametrize("document", [FlagDocument(100, 3, 2), FlagDocument(0, 2, 5)])
def test_adr_0014_a_document_with_an_odd_generation_is_of_version_0_1(document: FlagDocument) -> None:
    with pytest.raises(ConfigError, match=r"odd: its migration was begun by version 0\.1"):
        check_generations(document)
    with pytest.raises(ConfigError, match="finish or abort it with that version"):
        document_of(document_json(document))


@given(moves)
def test_the_counter_never_falls(wanted: list[int]) -> None:
    counters = [counter for _, counter in published(7, wanted)]
    assert counters == sorted(counters)
    assert all(counter >= 7 for counter in counters)


def test_the_same_share_again_changes_nothing() -> None:
    document, counter = raised(FlagDocument(), 5_000, 0)
    assert raised(document, 5_000, counter) == (document, counter)


@pytest.mark.parametrize("share", [-1, FULL_SHARE + 1])
def test_a_share_out_of_bounds_is_refused(share: int) -> None:
    with pytest.raises(ConfigError, match="basis points"):
        raised(FlagDocument(), share, 0)


def test_the_ramp_is_sticky_a_key_within_a_share_stays_within_every_higher_one() -> None:
    lower, higher = FlagDocument(share=1_000, target_gen=1), FlagDocument(share=1_001, target_gen=1)
    within = {key for key in KEYS if aim(lower, key).side is Side.TARGET}
    assert within <= {key for key in KEYS if aim(higher, key).side is Side.TARGET}
    assert 0.06 < len(within) / len(KEYS) < 0.14


def test_no_key_is_within_no_share_and_every_key_within_the_whole() -> None:
    assert all(aim(FlagDocument(), key).side is Side.SOURCE for key in KEYS)
    assert all(aim(FlagDocument(share=FULL_SHARE), key).side is Side.TARGET for key in KEYS)


def test_ramp_and_sample_are_independent_of_each_other() -> None:
    """Else the first percent of the ramp would be the whole sample."""
    ramped = [key for key in KEYS if ramp_point(key) < FULL_SHARE // 10]
    sampled = [key for key in ramped if is_sampled(key, 100_000)]
    assert 0 < len(sampled) < len(ramped) / 2


def test_the_place_of_a_key_never_changes() -> None:
    """Written down: a release that moved keys on the ramp would hand over keys that nobody asked for."""
    assert [ramp_point(Key(b'[{"S":"USER#%d"},{"S":"POINTS#c"}]' % number)) for number in range(3)] == POINTS


POINTS = [8265, 9382, 6171]
