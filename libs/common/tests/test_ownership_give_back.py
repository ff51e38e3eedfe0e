"""A refusal for good is a handover back (ADR 0014), on the machine and two items."""

from __future__ import annotations

import pytest

from crossfade.core.ownership.decisions import Outcome, Perform, Read, Request, StepKind
from crossfade.core.protocol.keyed.item import Item, Role, is_held_out
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Answer,
    Fence,
    Operate,
    OperateAndTrim,
    Seal,
    SealAbsent,
    TakeBack,
    Write,
)
from crossfade.core.protocol.writing import Refused, Unfit
from crossfade.core.values.shape import Side
from engagement_api.operations import balance_of
from engagement_migration import MAPPING
from ownership_cases import SEED, live, operation, stamped, tombstone, ulid
from ownership_tables import IMPORTED, ROW, L, N, Tables, steps

# A refusal for good is a handover back (ADR 0014).


class Unfitting(Tables):
    """The target table will never take some writes."""

    unfit: tuple[type[Write], ...] = (Activate,)

    def perform(self, request: Perform) -> Answer:
        if isinstance(request.write, self.unfit) and request.side is N:
            return Unfit("Item size has exceeded the maximum allowed size")
        return super().perform(request)


def test_adr_0014_a_handover_that_the_other_table_refuses_for_good_is_handed_back_and_the_operation_goes_on() -> None:
    tables = Unfitting(ROW, IMPORTED)
    done = tables.run(N, 2, operation(amount=3))
    assert (done.outcome, done.side) == (Outcome.APPLIED, L)
    assert tables.writes() == ["Operate", "Seal", "Activate", "Fence", "TakeBack", "Operate"]
    assert steps(done) == [StepKind.SEALED, StepKind.HELD_OUT, StepKind.FENCED, StepKind.GIVEN_BACK]
    assert {step.reason for step in done.steps[1:]} == {"Item size has exceeded the maximum allowed size"}
    assert tables.owner() == (L, 3)
    assert is_held_out(tables.at(L))
    assert tables.at(N) == IMPORTED._replace(generation=3), "the fence is the generation alone"
    assert balance_of(tables.at(L), MAPPING.shape(L)) == 8


def test_adr_0014_the_sweeper_names_a_key_that_was_given_back_with_its_cause() -> None:
    tables = Unfitting(ROW, IMPORTED)
    given = tables.run(N, 2)
    assert (given.outcome, given.side, given.item) == (Outcome.HELD_OUT, L, tables.at(L))
    assert given.because == "Item size has exceeded the maximum allowed size"
    asked = len(tables.asked)
    again = tables.run(N, 2)
    assert (again.outcome, again.side) == (Outcome.HELD_OUT, L)
    assert again.because == "the other table refused it for good, and it was given back"
    assert all(isinstance(each, Read) for each in tables.asked[asked:]), "the key isn't tried again"


def test_adr_0014_a_key_that_was_given_back_is_taken_up_by_a_higher_generation_and_by_no_other() -> None:
    tables = Unfitting(ROW, IMPORTED)
    tables.run(N, 2, operation())
    tables.unfit = ()
    done = tables.run(N, 2, operation(transaction_id=ulid(2)))
    assert (done.outcome, done.side, done.steps) == (Outcome.APPLIED, L, ()), "a client's flag of before moves nothing"
    done = tables.run(N, 4, operation(transaction_id=ulid(3)))
    assert (done.outcome, done.side, tables.owner()) == (Outcome.APPLIED, N, (N, 4))
    assert not is_held_out(tables.at(N))


def test_adr_0014_a_key_of_the_target_table_that_the_old_one_refuses_is_given_back_likewise() -> None:
    class Source(Unfitting):
        def perform(self, request: Perform) -> Answer:
            unfit = isinstance(request.write, Activate) and request.side is L
            return Unfit("no") if unfit else Tables.perform(self, request)

    tables = Source(stamped(L, Role.STANDBY, 2), stamped(N, Role.ACTIVE, 2, SEED + 1))
    assert tables.run(L, 4).outcome is Outcome.HELD_OUT
    assert tables.owner() == (N, 5)
    assert tables.at(L).generation == 5


def test_adr_0014_a_late_activation_of_another_release_finds_the_fence() -> None:
    tables = Unfitting(ROW, IMPORTED)
    late: list[Perform] = []

    def keep(request: Perform) -> None:
        if isinstance(request.write, Activate):
            late.append(request)

    tables.meanwhile = keep  # type: ignore[method-assign]  # looks on
    tables.run(N, 2, operation())
    (activation,) = late
    assert isinstance(perform(activation.write, tables.at(N), MAPPING.shape(N)), Refused)
    assert tables.owner() == (L, 3)


def test_adr_0014_the_side_taken_back_is_above_both_versions() -> None:
    ahead = live(N, balance=99, version=SEED + 50, role=Role.STANDBY)
    tables = Unfitting(ROW, ahead)
    tables.run(N, 2)
    assert tables.at(L).version == SEED + 51
    assert balance_of(tables.at(L), MAPPING.shape(L)) == 5, "from its own sealed image"


@pytest.mark.parametrize("aimed", [(L, 0), (N, 0), (N, 2), (L, 4)])
@pytest.mark.parametrize("fence", [IMPORTED._replace(generation=3), tombstone(Role.STANDBY, 3, SEED + 9)])
def test_adr_0014_whoever_finds_a_fence_on_top_completes_the_give_back(aimed: tuple[Side, int], fence: Item) -> None:
    tables = Tables(stamped(L, Role.STANDBY, 2, SEED + 1), fence)
    read = tables.run(*aimed, None, reads=True)
    assert (read.outcome, read.side, read.item) == (Outcome.READ, L, tables.at(L)), "never the fence's image"
    done = tables.run(*aimed, operation(amount=3))
    assert (done.outcome, done.side) == (Outcome.APPLIED, L)
    assert tables.owner() == (L, 3)
    assert balance_of(tables.at(L), MAPPING.shape(L)) == 8


def test_adr_0014_a_fence_against_another_handover_is_no_word_on_this_one() -> None:
    """The two sides were read at two moments: it is looked at again, and neither image is helped from."""
    tables = Tables(stamped(L, Role.STANDBY, 2), live(N, role=Role.STANDBY, version=SEED, generation=7))
    assert tables.run(N, 8, operation()).outcome is Outcome.BUSY
    assert set(tables.writes()) == {"Operate"}, "nothing of the handover is touched"
    assert tables.run(N, 8, reads=True).outcome is Outcome.AMBIGUOUS
    sealed = stamped(L, Role.STANDBY, 6, SEED + 7)

    class Moved(Tables):
        def before(self, request: Request) -> None:
            if len(self.asked) == 4:
                self.items[L] = sealed

    moved = Moved(*tables.items.values())
    assert moved.run(N, 8, operation(amount=3)).outcome is Outcome.APPLIED


def test_adr_0014_a_key_that_never_was_is_given_back_as_the_stub_that_sealed_it() -> None:
    tables = Unfitting(None, None)
    done = tables.run(N, 2, operation(amount=3))
    assert (done.outcome, done.side, tables.owner()) == (Outcome.APPLIED, L, (L, 3))
    assert tables.items[N] == Item(version=0, role=Role.STANDBY, generation=3, deleted=True)


@pytest.mark.parametrize("unfit", [Seal, SealAbsent])
def test_adr_0014_a_seal_that_is_refused_for_good_leaves_the_key_with_its_owner(unfit: type[Write]) -> None:
    class Sealless(Tables):
        def perform(self, request: Perform) -> Answer:
            return Unfit("too large") if isinstance(request.write, unfit) else super().perform(request)

    before = None if unfit is SealAbsent else ROW
    tables = Sealless(before, None)
    done = tables.run(N, 2, operation(amount=3))
    assert (done.outcome, done.side) == (Outcome.APPLIED, L)
    assert "Fence" not in tables.writes()
    if before is not None:
        swept = Sealless(before, None).run(N, 2)
        assert (swept.outcome, swept.side, swept.because) == (Outcome.HELD_OUT, L, "too large")


@pytest.mark.parametrize("unfit", [(Activate, Fence), (TakeBack,)])
@pytest.mark.parametrize("op", [operation(), None])
def test_adr_0014_a_give_back_that_is_refused_itself_ends_with_its_cause(
    unfit: tuple[type[Write], ...], op: Operation | None
) -> None:
    class Stranded(Tables):
        def perform(self, request: Perform) -> Answer:
            refused = isinstance(request.write, (Activate, *unfit))
            return Unfit("no") if refused else super().perform(request)

    tables = Stranded(ROW, IMPORTED)
    done = tables.run(N, 2, op)
    assert (done.outcome, done.because) == (Outcome.REFUSED, "nobody owns it: no")
    read = tables.run(N, 2, None, reads=True)
    assert (read.outcome, read.side) == (Outcome.READ, L)
    healed = Tables(tables.items[L], tables.items[N])
    assert healed.run(N, 0).outcome is Outcome.SETTLED or healed.owner() == (L, 3)


def test_an_operation_that_its_owner_refuses_for_good_ends_with_the_cause_and_applies_nothing() -> None:
    class Full(Tables):
        def perform(self, request: Perform) -> Answer:
            refused = isinstance(request.write, Operate | OperateAndTrim)
            return Unfit("too large") if refused else super().perform(request)

    tables = Full(ROW, IMPORTED)
    done = tables.run(L, 0, operation())
    assert (done.outcome, done.side, done.because) == (Outcome.REFUSED, L, "too large")
    assert tables.items == {L: ROW, N: IMPORTED}
