"""Who owns a key: each bullet of section 4 of design.md, on the machine and two items."""

from __future__ import annotations

import pytest

from crossfade.core.ownership.decisions import Done, Found, Outcome, Perform, Read, Request, Seen, StepKind, Task
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.ownership.trim import FULL_SIZE
from crossfade.core.protocol.keyed.item import Item, Role
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.writes import Reseal, Seal, SealAbsent
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind, balance_of
from engagement_migration import MAPPING
from ownership_cases import KEY, NOW_MS, SEED, live, operation, stamped, tombstone, ulid
from ownership_tables import IMPORTED, ROW, UNMAPPABLE, L, N, Tables, steps

# An operation is one conditional write on the owner.


def test_an_operation_where_the_flag_points_at_the_owner_is_one_write() -> None:
    tables = Tables(ROW, IMPORTED)
    done = tables.run(L, 0, operation())
    assert (done.outcome, done.side, done.steps) == (Outcome.APPLIED, L, ())
    assert tables.writes() == ["Operate"]


@pytest.mark.parametrize(
    ("item", "op", "outcome"),
    [
        (live(L, recent=frozenset({ulid(1)})), operation(), Outcome.REPLAYED),
        (live(L, floor=ulid(1)), operation(), Outcome.EXPIRED),
        (live(L, balance=2), operation(Kind.SPEND, 3), Outcome.INSUFFICIENT),
        (None, operation(Kind.SPEND, 3), Outcome.NOT_FOUND),
        (None, operation(Kind.DELETE), Outcome.NOT_FOUND),
        (tombstone(Role.ACTIVE, 0), operation(Kind.DELETE), Outcome.NOT_FOUND),
    ],
)
def test_what_fails_is_told_and_nothing_is_written(item: Item | None, op: Operation, outcome: Outcome) -> None:
    tables = Tables(item, None)
    done = tables.run(L, 0, op)
    assert done.outcome is outcome
    assert done.item == tables.items[L] == item


def test_a_replay_found_on_a_standby_says_that_its_balance_is_not_the_owners() -> None:
    done = Tables(ROW, IMPORTED._replace(recent=frozenset({ulid(1)}))).run(N, 2, operation())
    assert (done.outcome, done.side, done.authoritative) == (Outcome.REPLAYED, N, False)


# The flag only hints; generations decide.


def test_a_pod_whose_generation_is_not_above_the_items_follows_to_the_owner() -> None:
    tables = Tables(stamped(L, Role.STANDBY, 6), stamped(N, Role.ACTIVE, 6, SEED + 1))
    for generation in (0, 4, 6):
        done = tables.run(L, generation, operation(transaction_id=ulid(generation)))
        assert (done.outcome, done.side) == (Outcome.APPLIED, N)
    assert tables.owner() == (N, 6)


def test_a_pod_with_a_higher_generation_hands_over_and_then_operates() -> None:
    tables = Tables(ROW, IMPORTED)
    done = tables.run(N, 2, operation(amount=3))
    assert (done.outcome, done.side) == (Outcome.APPLIED, N)
    assert tables.owner() == (N, 2)
    assert tables.writes() == ["Operate", "Seal", "Activate", "Operate"]
    assert steps(done) == [StepKind.SEALED, StepKind.ACTIVATED]
    assert balance_of(tables.items[N], MAPPING.shape(N)) == 8


def test_a_handover_names_its_reason() -> None:
    done = Tables(ROW, IMPORTED).run(N, 2, operation())
    assert done.steps[0].reason == "aims at target with generation 2"
    assert done.steps[0].version == SEED + 1


def test_the_other_side_is_read_and_mapped_before_it_is_sealed() -> None:
    tables = Tables(ROW, IMPORTED)
    tables.run(N, 2, operation())
    reads = [n for n, each in enumerate(tables.asked) if isinstance(each, Read) and each.side is L]
    seals = [n for n, each in enumerate(tables.asked) if isinstance(each, Perform) and isinstance(each.write, Seal)]
    assert reads[0] < seals[0]


def test_an_image_that_does_not_map_stays_where_it_is_and_is_reported() -> None:
    tables = Tables(live(L)._replace(content=UNMAPPABLE), IMPORTED)
    done = tables.run(N, 2, operation(amount=3))
    assert (done.outcome, done.side) == (Outcome.APPLIED, L)
    assert steps(done) == [StepKind.HELD_OUT]
    assert "surprise" in done.steps[0].reason
    assert "Seal" not in tables.writes()
    assert tables.at(L).generation == 0, "a later handover must still be above it"


def test_a_ttl_that_can_not_travel_is_reported_before_the_seal() -> None:
    done = Tables(live(L, ttl=b'{"S":"tomorrow"}'), IMPORTED).run(N, 2)
    assert done.outcome is Outcome.HELD_OUT


def test_a_sealed_image_that_no_longer_maps_is_given_back() -> None:
    sealed = stamped(L, Role.STANDBY, 2, SEED + 1, content=UNMAPPABLE)
    tables = Tables(sealed, IMPORTED)
    done = tables.run(N, 4)
    assert (done.outcome, done.side, "surprise" in done.because) == (Outcome.HELD_OUT, L, True)
    assert steps(done) == [StepKind.HELPED, StepKind.HELD_OUT, StepKind.FENCED, StepKind.GIVEN_BACK]
    assert tables.items == {
        L: sealed._replace(role=Role.ACTIVE, generation=3, version=SEED + 2),
        N: IMPORTED._replace(generation=3),
    }


def test_an_excluded_key_stays_where_it_is() -> None:
    tables = Tables(ROW, IMPORTED)
    done = tables.run(N, 2, operation(), may_hand_over=False)
    assert (done.outcome, done.side, done.steps) == (Outcome.APPLIED, L, ())
    swept = tables.run(N, 2, None, may_hand_over=False)
    assert (swept.outcome, swept.side, swept.because) == (Outcome.HELD_OUT, L, "an operator excluded it")
    assert tables.run(N, 0, None, may_hand_over=False).outcome is Outcome.SETTLED, "nobody wanted to move it"


def test_rollback_is_the_same_handover_the_other_way() -> None:
    tables = Tables(stamped(L, Role.STANDBY, 2), stamped(N, Role.ACTIVE, 2, SEED + 1))
    done = tables.run(L, 4, operation())
    assert (done.side, tables.owner()) == (L, (L, 4))


# Stubs.


def test_an_absent_key_is_sealed_by_a_stub_and_only_by_an_operation_that_creates_it() -> None:
    tables = Tables(None, None)
    done = tables.run(N, 2, operation(amount=3))
    assert steps(done) == [StepKind.STUBBED, StepKind.ACTIVATED]
    assert tables.owner() == (N, 2)
    assert tables.items[L] == Item(version=SEED + 1, role=Role.STANDBY, generation=2, deleted=True)
    for op in (operation(Kind.SPEND, 1), operation(Kind.DELETE), None):
        untouched = Tables(None, None)
        untouched.run(N, 2, op)
        assert untouched.items == {L: None, N: None}


def test_a_read_creates_nothing() -> None:
    tables = Tables(None, None)
    done = tables.run(N, 2, None, reads=True)
    assert (done.outcome, done.side, done.item) == (Outcome.READ, L, None)
    assert tables.writes() == []


def test_a_stub_that_meets_a_row_starts_over_with_the_row() -> None:
    class Created(Tables):
        def before(self, request: Request) -> None:
            if isinstance(request, Perform) and isinstance(request.write, SealAbsent):
                self.items[L] = ROW

    tables = Created(None, None)
    done = tables.run(N, 2, operation(amount=3))
    assert (done.outcome, tables.owner()) == (Outcome.APPLIED, (N, 2))
    assert balance_of(tables.items[N], MAPPING.shape(N)) == 8


# Re-seal and help.


def test_a_standby_that_is_ahead_makes_the_seal_rise_above_it() -> None:
    tables = Tables(ROW, live(N, balance=99, version=SEED + 50, role=Role.STANDBY))
    done = tables.run(N, 2, operation(amount=3))
    assert StepKind.RESEALED in steps(done)
    assert [each.write for each in tables.asked if isinstance(each, Perform) and isinstance(each.write, Reseal)] == [
        Reseal(KEY, 2, SEED + 1, SEED + 51)
    ]
    assert balance_of(tables.items[N], MAPPING.shape(N)) == 8, "the owner's image, not the zombie's"


@pytest.mark.parametrize("aimed", [(L, 0), (N, 0), (N, 2), (L, 4)])
def test_whoever_finds_both_sides_standby_completes_from_the_higher_generation(aimed: tuple[Side, int]) -> None:
    tables = Tables(stamped(L, Role.STANDBY, 2, SEED + 1), live(N, balance=99, version=SEED, role=Role.STANDBY))
    done = tables.run(*aimed, operation(amount=3))
    assert done.outcome is Outcome.APPLIED
    assert StepKind.HELPED in steps(done)
    assert balance_of(done.item, MAPPING.shape(done.side)) == 8


def test_the_sweeper_completes_and_hands_over_without_an_operation() -> None:
    half = Tables(stamped(L, Role.STANDBY, 2, SEED + 1), IMPORTED)
    assert (half.run(L, 0).outcome, half.owner()) == (Outcome.SETTLED, (N, 2))
    whole = Tables(ROW, IMPORTED)
    assert (whole.run(N, 2).outcome, whole.owner()) == (Outcome.SETTLED, (N, 2))
    assert whole.writes() == ["Seal", "Activate"]


def test_the_sweeper_that_knows_the_row_from_its_scan_reads_nothing_again() -> None:
    tables = Tables(ROW, IMPORTED)
    assert tables.run(N, 2, known=Seen(ROW)).outcome is Outcome.SETTLED
    assert not [each for each in tables.asked if isinstance(each, Read)]


def test_the_sweeper_reports_what_does_not_map() -> None:
    done = Tables(live(L)._replace(content=UNMAPPABLE), IMPORTED).run(N, 2)
    assert (done.outcome, steps(done)) == (Outcome.HELD_OUT, [StepKind.HELD_OUT])
    assert "surprise" in done.because


def test_two_standbys_of_one_generation_are_left_to_a_person() -> None:
    tables = Tables(stamped(L, Role.STANDBY, 4), stamped(N, Role.STANDBY, 4))
    for op in (operation(), None):
        assert tables.run(N, 6, op).outcome is Outcome.AMBIGUOUS


def test_a_pod_that_is_overtaken_at_every_step_gives_up_busy() -> None:
    class Contested(Tables):
        generation = 100

        def before(self, request: Request) -> None:
            """Others hand the key over to the side that is not asked, again and again."""
            side = request.side
            self.generation += 2
            active = stamped(side.other, Role.ACTIVE, self.generation)
            self.items = {side: stamped(side, Role.STANDBY, self.generation), side.other: active}

    done = Contested(ROW, IMPORTED).run(N, 100, operation())
    assert done.outcome is Outcome.BUSY
    assert not done.item or ulid(1) not in done.item.recent


# Reads.


@pytest.mark.parametrize("aimed", [(L, 0), (N, 2)])
@pytest.mark.parametrize(
    ("source", "target", "side"),
    [
        (stamped(L, Role.ACTIVE, 4), stamped(N, Role.STANDBY, 4), L),
        (stamped(L, Role.STANDBY, 4), stamped(N, Role.ACTIVE, 4), N),
        (stamped(L, Role.STANDBY, 4), stamped(N, Role.STANDBY, 2, SEED + 9), L),
        (stamped(L, Role.STANDBY, 4, SEED + 9), stamped(N, Role.STANDBY, 6), N),
    ],
)
def test_a_read_is_answered_by_the_active_image_or_by_the_higher_generation(
    aimed: tuple[Side, int], source: Item, target: Item, side: Side
) -> None:
    tables = Tables(source, target)
    done = tables.run(*aimed, None, reads=True)
    assert (done.outcome, done.side, done.item) == (Outcome.READ, side, tables.items[side])
    assert tables.writes() == []


# Exactly once.


def test_a_write_is_blind_below_the_soft_size_and_trims_at_it() -> None:
    old = frozenset(ulid(n, age_ms=90_000) for n in range(32))
    tables = Tables(live(L, recent=old, version=SEED), None)
    done = tables.run(L, 0, operation())
    assert tables.writes() == ["Operate", "OperateAndTrim"]
    assert done.outcome is Outcome.APPLIED
    assert done.soft == 32
    assert tables.at(L).recent == {ulid(1)}
    assert tables.at(L).floor == max(old)


def test_the_hint_lets_a_busy_key_go_on_blindly() -> None:
    young = frozenset(map(ulid, range(10, 42)))
    tables = Tables(live(L, recent=young, version=SEED), None)
    done = tables.run(L, 0, operation())
    assert done.soft == 66
    again = tables.run(L, 0, operation(transaction_id=ulid(2)), soft=done.soft)
    assert tables.writes() == ["Operate", "OperateAndTrim", "Operate"]
    assert again.outcome is Outcome.APPLIED


def test_a_key_full_of_young_ids_is_refused_before_anything_is_applied() -> None:
    young = frozenset(ulid(n, age_ms=58_000) for n in range(10, 10 + FULL_SIZE))
    tables = Tables(live(L, recent=young, version=SEED), None)
    done = tables.run(L, 0, operation())
    assert (done.outcome, done.retry_after_s) == (Outcome.FULL, 2.0)
    assert tables.writes() == ["Operate"]


def test_a_trim_that_loses_the_race_is_planned_again() -> None:
    class Raced(Tables):
        def meanwhile(self, request: Perform) -> None:
            item = self.items[L]
            if len(self.asked) == 1 and item is not None:
                self.items[L] = item._replace(version=SEED + 5)

    old = frozenset(ulid(n, age_ms=90_000) for n in range(32))
    tables = Raced(live(L, recent=old, version=SEED), None)
    assert tables.run(L, 0, operation()).outcome is Outcome.APPLIED
    assert tables.writes() == ["Operate", "OperateAndTrim", "OperateAndTrim"]


def test_a_retry_after_a_delete_does_not_apply_again() -> None:
    tables = Tables(ROW, IMPORTED)
    tables.run(L, 0, operation(transaction_id=ulid(1)))
    tables.run(N, 2, operation(Kind.DELETE, transaction_id=ulid(2)))
    done = tables.run(L, 4, operation(transaction_id=ulid(1)))
    assert done.outcome is Outcome.REPLAYED
    owner, _ = tables.owner()
    assert tables.at(owner).deleted


def test_a_retry_applies_once_across_handovers_there_and_back() -> None:
    tables = Tables(ROW, IMPORTED)
    outcomes = [tables.run(side, generation, operation()).outcome for side, generation in ((L, 0), (N, 2), (L, 4))]
    assert outcomes == [Outcome.APPLIED, Outcome.REPLAYED, Outcome.REPLAYED]


# After COMPLETE.


def test_after_complete_an_absent_key_is_created_in_the_target_table_alone() -> None:
    tables = Tables(None, None)
    done = tables.run(N, 18, operation(), complete=True)
    assert (done.side, done.steps, tables.owner()) == (N, (), (N, 18))
    assert tables.items[L] is None
    missing_role = Tables(None, live(N))
    assert missing_role.run(N, 18, operation(), complete=True).side is N


def test_a_reply_of_the_wrong_kind_is_a_programming_error() -> None:
    rules = OwnershipRules(MAPPING)
    step = rules.begin(Task(KEY, Aim(L, 0), operation(), NOW_MS, SEED))
    assert not isinstance(step, Done)
    with pytest.raises(TypeError, match="Found is no reply to Trying"):
        rules.advance(step[0], Found(None))
