"""The phase table, held to the design's picture of it, transition by transition."""

import itertools
from typing import cast

import pytest

from crossfade.contracts.journal import Entry
from crossfade.core.migration.keyed import KEYED_PHASES, phases_of
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.state import Migration, fold
from crossfade.core.protocol.seam import WriterProtocol
from crossfade.core.values.errors import ConfigError, IllegalTransition
from engagement_migration import MAPPING

DESIGN = """
PLANNED CAPTURING
CAPTURING SNAPSHOT
SNAPSHOT CATCHING_UP
CATCHING_UP BOTH_WAYS
BOTH_WAYS RAMPING
RAMPING CUT_OVER
CUT_OVER BAKING
BAKING COMPLETE
RAMPING ROLLED_BACK
CUT_OVER ROLLED_BACK
BAKING ROLLED_BACK
BAKING CUT_OVER
ROLLED_BACK BOTH_WAYS
ROLLED_BACK ABORTED
PLANNED ABORTED
CAPTURING ABORTED
SNAPSHOT ABORTED
CATCHING_UP ABORTED
BOTH_WAYS ABORTED
"""
"""Section 5: an arrow a line; BAKING to CUT_OVER is ADR 0017: keys that were held out are taken up again."""

ARROWS = {tuple(map(Phase, line.split())) for line in DESIGN.split("\n") if line}


@pytest.mark.parametrize(("here", "there"), list(itertools.product(Phase, Phase)), ids=lambda phase: phase.value)
def test_section_5_a_transition_is_legal_exactly_if_the_design_draws_it(here: Phase, there: Phase) -> None:
    if (here, there) in ARROWS:
        KEYED_PHASES.check_transition(here, there)
    else:
        with pytest.raises(IllegalTransition, match=f"{here.value} can't be followed by {there.value}"):
            KEYED_PHASES.check_transition(here, there)


def test_every_phase_has_a_row_and_only_two_end_the_migration() -> None:
    assert set(KEYED_PHASES.transitions) == set(Phase)
    assert {Phase.COMPLETE, Phase.ABORTED} == KEYED_PHASES.finished


def test_every_phase_can_be_reached_from_the_first() -> None:
    reached, todo = {Phase.PLANNED}, [Phase.PLANNED]
    while todo:
        for phase in KEYED_PHASES.transitions[todo.pop()] - reached:
            reached.add(phase)
            todo.append(phase)
    assert reached == set(Phase)


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
def test_rollback_and_abort_are_possible_exactly_where_their_transition_is(phase: Phase) -> None:
    # Asked again where it is under way, a rollback settles strays, and a cutover takes up what was held out.
    again = {Intent.ROLLBACK: Phase.ROLLED_BACK, Intent.CUTOVER: Phase.CUT_OVER}
    for intent, there in again.items():
        assert (phase in KEYED_PHASES.allowed[intent]) == (there in KEYED_PHASES.transitions[phase] or phase is there)
    assert (phase in KEYED_PHASES.allowed[Intent.ABORT]) == (Phase.ABORTED in KEYED_PHASES.transitions[phase])
    assert (phase in KEYED_PHASES.allowed[Intent.COMPLETE]) == (Phase.COMPLETE in KEYED_PHASES.transitions[phase])


@pytest.mark.parametrize("intent", Intent, ids=lambda intent: intent.value)
def test_a_refused_intent_names_the_phases_that_would_do(intent: Intent) -> None:
    for phase in Phase:
        if phase in KEYED_PHASES.allowed[intent]:
            KEYED_PHASES.check_intent(intent, phase)
        else:
            with pytest.raises(IllegalTransition) as refusal:
                KEYED_PHASES.check_intent(intent, phase)
            assert all(each.value in str(refusal.value) for each in KEYED_PHASES.allowed[intent])


def test_nothing_can_be_asked_of_a_migration_that_has_ended() -> None:
    assert not any(phases & KEYED_PHASES.finished for phases in KEYED_PHASES.allowed.values())


def test_a_migration_goes_by_the_table_of_its_writer_protocol() -> None:
    assert phases_of(MAPPING.protocol) is KEYED_PHASES
    with pytest.raises(ConfigError, match="no phase table for the writer protocol Plain"):
        phases_of(cast(WriterProtocol, type("Plain", (), {})()))


def test_the_state_is_folded_by_its_own_table_and_no_other() -> None:
    """A protocol that brings other transitions is held to those."""
    short = KEYED_PHASES._replace(transitions={**KEYED_PHASES.transitions, Phase.PLANNED: frozenset({Phase.ABORTED})})
    entry = Entry(1, "phase", 0, "pod", "1", {"from": "PLANNED", "to": "CAPTURING"})
    assert fold(Migration(KEYED_PHASES), [entry]).phase is Phase.CAPTURING
    with pytest.raises(IllegalTransition, match="PLANNED can't be followed by CAPTURING, only by: ABORTED"):
        fold(Migration(short), [entry])
