"""The state machine decides purely: each state that can be reached is asked, in good worlds and bad ones (ADR 0030).

`reached` plays all commands against all phases, from PLANNED on: each decision is asked in a world where all goes well,
in one where each gate is shut, and in one for each deed that goes badly; what it journals leads to more states.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from crossfade.core.migration import deeds
from crossfade.core.migration.acts import Admit, Enter, Halt, Publish, Record, Rest, Settle, Wait, Withdraw
from crossfade.core.migration.asking import POINT_OF_NO_RETURN, refusal
from crossfade.core.migration.evidence import Stray
from crossfade.core.migration.foresight import foresee
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Seen, Setup
from crossfade.core.migration.state import Migration, fold
from crossfade.core.migration.step import step
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.shape import Side

pytestmark = pytest.mark.deep

SETUP = Setup(
    migration="m",
    tables={Side.SOURCE: "old", Side.TARGET: "target"},
    streams=("a", "b", "c"),
    bucket="files",
    revoke=("revoke",),
    stop=("stop",),
)
GATES = [gate.__name__ for gate in KEYED_PHASES.all_gates()]
OPEN = {name: GateResult(name, True, {"pods": 2} if name == "heartbeats" else 0, 0, "") for name in GATES}
SHUT = {name: each._replace(open=False, because="it is shut") for name, each in OPEN.items()}
ALL_DEEDS = [each for each in deeds.Deed.__subclasses__() if each.__module__ == deeds.__name__]
WORLDS: dict[str, tuple[Mapping[str, GateResult], type[deeds.Deed[Any]] | None]] = {
    "good": (OPEN, None),
    "gates shut": (SHUT, None),
    "nothing known": ({}, None),
    "filled by writes": (OPEN, None),
    **{f"{each.__name__} goes badly": (OPEN, each) for each in ALL_DEEDS},
}

COMMANDS: tuple[tuple[Intent, dict[str, Any]], ...] = (
    (Intent.START, {"exclude": ["k"]}),
    (Intent.START, {"fresh_export": True}),
    (Intent.START, {"retake": True}),
    (Intent.RAMP, {"share": 5_000}),
    (Intent.RAMP, {"share": 100}),
    (Intent.CUTOVER, {}),
    (Intent.ROLLBACK, {}),
    (Intent.ROLLBACK, {"discard_diverged": 1}),
    (Intent.COMPLETE, {"confirm": "m"}),
    (Intent.COMPLETE, {"confirm": "m", "leave_behind": 3}),
    (Intent.ABORT, {"confirm": "m"}),
    (Intent.PAUSE, {}),
    (Intent.RESUME, {}),
    (Intent.WITHDRAW, {}),
)


class Written(NamedTuple):
    number: int
    kind: str
    body: Mapping[str, Any]
    at_us: int = 0
    who: str = "ann"
    code: str = ""


def after(state: Migration, entries: list[tuple[str, dict[str, Any]]]) -> Migration:
    return fold(state, [Written(state.number + n, kind, body) for n, (kind, body) in enumerate(entries, 1)])


def asked(state: Migration, intent: Intent, arguments: dict[str, Any]) -> Migration:
    if intent is Intent.WITHDRAW:
        arguments = {"entry": state.pending[0].number if state.pending else 0}
    return after(state, [("intent", {"verb": intent.value, "arguments": arguments})])


def comes_of(deed: deeds.Deed[Any], state: Migration, goes_well: bool) -> Any:
    """What comes of a deed, in this world."""
    pass_of = deeds.PassResult(Side.TARGET, 0, CommitUs(0))
    match deed:
        case deeds.CheckPlan():
            return deeds.PlanSeen("" if goes_well else "there is no table", ())
        case deeds.TakeMoment():
            return 10**15 + state.number * 10**9
        case deeds.Elapsed():
            return 1e9 if goes_well else -1.0
        case deeds.LookAtExport():
            return deeds.ExportSeen("COMPLETED" if goes_well else "IN_PROGRESS", "manifest")
        case deeds.MapFiles() | deeds.Load():
            counts = {"mapped": 7, "read": 8, "not_ours": 1, "excluded": 0, "written": 4, "there": 2, "newer": 1}
            return deeds.Mapped("", counts) if goes_well else deeds.Mapped("1 row can't be mapped, or loaded")
        case deeds.LookAtImport():
            return deeds.ImportSeen("COMPLETED" if goes_well else "IN_PROGRESS", 7, 0, "", True)
        case deeds.Sweep(destination, generation, _, begun_us):
            found = pass_of._replace(
                destination=destination, generation=generation, begun_us=begun_us, diverged=not goes_well
            )
            return deeds.Swept(found, True)
        case deeds.ReadAftermath():
            return deeds.AftermathSeen(CommitUs(10**17), deeds.Aftermath(0, 0, ()))
        case deeds.LookAtLetters():
            return () if goes_well else (Stray("forward/1", "k", "old", 1, False, ""),)
        case deeds.RunHook():
            return (0, "") if goes_well else (1, "no")
        case deeds.ForgetPass() | deeds.DiscardLetters() | deeds.BringCanaryHome():
            return None
    return "" if goes_well else "AWS"


class Round(NamedTuple):
    """One round: what was asked for, and how it ended."""

    asked: tuple[deeds.Deed[Any], ...]
    end: Wait | Record


def played(state: Migration, world: str) -> Round:
    gates, bad = WORLDS[world]
    seen = Seen(SETUP._replace(load="write" if world == "filled by writes" else "import"), gates, pass_began_s=0.0)
    answers: dict[deeds.Deed[Any], Any] = {}
    while isinstance(answer := step(state, seen._replace(answers=answers)), deeds.Deed):
        assert answer not in answers, f"{answer} is asked for again"
        answers[answer] = comes_of(answer, state, type(answer) is not bad)
    return Round(tuple(answers), answer)


def written(state: Migration, end: Record) -> Migration:
    """The journal after a record was carried out."""
    if isinstance(end, Publish) and not state.is_published:
        return after(state, [("published", {"share": state.share_entry})])
    return after(state, end.entries())


def signature(state: Migration) -> tuple[Any, ...]:
    """What tells states apart: numbers, counters and evidence aside."""
    pending = tuple((each.intent, str(each.arguments), each.admitted) for each in state.pending)
    steps = (frozenset(_named(name, state) for name in some) for some in (state.begun, state.done))
    flags = (state.document.share, state.document.complete, state.dual_write, state.is_published)
    held = (state.paused, bool(state.halt), state.came_from is Phase.BAKING, state.reserved.rstrip("0123456789"))
    by = state.begun.get("import", {}).get("by")
    return (state.phase, pending, *steps, flags, held, bool(state.exported_again), by)


def _named(name: str, state: Migration) -> str:
    """A step's name; a command's own step is one of the command that is under way, or of one that has ended."""
    kind = name.rstrip("0123456789")
    is_own = state.intent is not None and name == f"{kind}{state.intent.number}"
    return name if kind == name else f"{kind}own" if is_own else ""


def is_taken(state: Migration, intent: Intent, arguments: dict[str, Any]) -> bool:
    """Whether a command is taken; one while another is under way only if it is about that, or a way back."""
    beside = {Intent.PAUSE, Intent.RESUME, Intent.WITHDRAW, Intent.ROLLBACK, Intent.ABORT}
    if (state.pending and intent not in beside) or state.paused is (intent is Intent.PAUSE):
        return False
    if intent is Intent.WITHDRAW:
        return bool(state.pending)
    return not refusal(state, intent, arguments, migration="m", revokes=True)


def worlds(state: Migration) -> Iterator[tuple[str, Round]]:
    """Play a round in each world that makes a difference: a deed goes badly only where it is asked for."""
    good = played(state, "good")
    yield "good", good
    if state.phase is Phase.SNAPSHOT:
        yield "filled by writes", played(state, "filled by writes")
    for world in ("gates shut", "nothing known", *(f"{type(deed).__name__} goes badly" for deed in good.asked)):
        yield world, played(state, world)


@functools.cache
def reached() -> tuple[Migration, ...]:
    """Every state that a migration can be in, up to its numbers."""
    first = Migration(KEYED_PHASES)
    found, todo = {signature(first): first}, [first]
    while todo:
        state = todo.pop()
        onward = [written(state, told.end) for _, told in worlds(state) if isinstance(told.end, Record)]
        if all(each.admitted for each in state.pending):
            onward += [asked(state, *each) for each in COMMANDS if is_taken(state, *each)]
        for each in onward:
            if signature(each) not in found:
                found[signature(each)] = each
                todo.append(each)
    return tuple(found.values())


@functools.cache
def rounds() -> tuple[tuple[Migration, str, Round], ...]:
    return tuple((state, world, told) for state in reached() for world, told in worlds(state))


def test_every_phase_is_reached_and_every_act_is_asked_for() -> None:
    assert {each.phase for each in reached()} == set(Phase)
    acts = {type(deed) for _, _, told in rounds() for deed in told.asked}
    assert acts == set(ALL_DEEDS)
    ends = {type(told.end) for _, _, told in rounds()}
    assert ends - {Wait} == set(Record.__subclasses__())


def test_every_state_answers_something_and_a_wait_says_at_what_and_why() -> None:
    for state, world, told in rounds():
        assert isinstance(told.end, Wait | Record), (state, world)
        if isinstance(told.end, Wait):
            assert told.end.gate, (state, world)
            assert told.end.text, (state, world)


def test_shut_gates_hold_every_way_forward_and_no_way_back() -> None:
    back = {Phase.ROLLED_BACK, Phase.ABORTED}
    for state, world, told in rounds():
        if world in {"gates shut", "nothing known"} and isinstance(told.end, Enter):
            taken_up_again = (state.phase, told.end.phase) == (Phase.BAKING, Phase.CUT_OVER)
            assert told.end.phase in back or taken_up_again, (state, told)
        gateless = {*back, Phase.CUT_OVER, Phase.CAPTURING, Phase.SNAPSHOT}
        if isinstance(told.end, Enter) and told.end.phase not in gateless:
            assert told.end.gates, "the evidence goes into the journal"
            assert all(each.open for each in told.end.gates)


def test_while_paused_nothing_is_done_and_only_commands_and_halts_are_journaled() -> None:
    paused = [(state, told) for state, _, told in rounds() if state.paused]
    assert paused
    for state, told in paused:
        assert not told.asked, state
        assert isinstance(told.end, Wait | Admit | Settle | Rest | Withdraw | Halt), (state, told)


def test_what_was_decided_is_published_before_anything_else_is_done() -> None:
    unpublished = [(state, told) for state, _, told in rounds() if not state.is_published]
    assert unpublished
    for state, told in unpublished:
        assert not told.asked, state
        assert isinstance(told.end, Publish | Wait | Admit | Settle | Rest | Withdraw | Halt), (state, told)
        if isinstance(told.end, Publish):
            assert (told.end.document, told.end.dual_write) == (state.document, state.dual_write)


def test_past_the_point_of_no_return_nothing_leads_back() -> None:
    past = [(state, told) for state, _, told in rounds() if POINT_OF_NO_RETURN in state.begun]
    assert past
    for state, told in past:
        assert not isinstance(told.end, Enter) or told.end.phase is Phase.COMPLETE, (state, told)
        if isinstance(told.end, Publish) and state.document.complete:
            assert told.end.document.complete


def test_before_the_point_of_no_return_its_proofs_are_there() -> None:
    begins = [state for state, _, told in rounds() if getattr(told.end, "step", "") == POINT_OF_NO_RETURN]
    for state in begins:
        if POINT_OF_NO_RETURN not in state.begun:
            assert "at-final" in state.done
            assert any(name.startswith("swept-") for name in state.done)
            assert not state.halt


def test_a_step_begun_and_not_done_is_taken_up_again() -> None:
    """Killed after any entry: with all well and no new command, what was begun comes to its end, or its phase does."""
    for state in reached():
        undone = {name for name in state.begun if name not in state.done}
        if not undone or state.paused or state.intent is None or any(not each.admitted for each in state.pending):
            continue
        at = state
        for _ in range(100):
            end = played(at, "good").end
            if isinstance(end, Wait):
                break
            at = written(at, end)
        else:
            raise AssertionError(f"no end: {state}")
        assert at.entered != state.entered or undone <= set(at.done) | _given_up(state), (state, end)


def _given_up(state: Migration) -> set[str]:
    """A step continues as soon as a command of its kind does: a cutover's new generation, and the end of COMPLETE."""
    kinds = {Phase.CUT_OVER: "taken-up-", Phase.BAKING: ""}
    kind = kinds.get(state.phase)
    return {name for name in state.begun if kind is not None and name.startswith(kind)}


def test_with_all_well_every_command_comes_to_its_outcome_or_waits_for_a_command() -> None:
    ended: set[tuple[Any, ...]] = set()
    for state in reached():
        at, way = state, list[tuple[Any, ...]]()
        while signature(at) not in ended:
            assert len(way) < 100, f"no end: {state}"
            way.append(signature(at))
            end = played(at, "good").end
            if isinstance(end, Wait):
                assert end.gate in {"command", "finished", "paused"}, (state, end)
                break
            at = written(at, end)
        ended.update(way)


@pytest.mark.parametrize("world", ["good", "gates shut"])
def test_a_dry_run_and_the_driver_agree(world: str) -> None:
    """What the dry run says is in the way is what the controller then waits for; else it goes where that said."""
    gates, _ = WORLDS[world]
    calm = [each for each in reached() if not each.pending and each.is_published]
    assert {each.phase for each in calm} == set(Phase)
    for state, (intent, arguments) in itertools.product(calm, COMMANDS):
        if intent is Intent.WITHDRAW or refusal(state, intent, arguments, migration="m", revokes=True):
            continue
        told = foresee(state, Seen(SETUP, gates, pass_began_s=0.0), intent, arguments)
        at, deeds_done = asked(state, intent, arguments), 0
        number = at.number
        for _ in range(100):
            round_ = played(at, world)
            deeds_done += len(round_.asked)
            ours = not isinstance(round_.end, Settle) or round_.end.number == number
            if isinstance(round_.end, Wait) or (isinstance(round_.end, Enter | Publish | Rest | Settle) and ours):
                break
            at = written(at, round_.end)
        assert type(told.end) is type(round_.end), (state, intent, told)
        if isinstance(told.end, Wait) and isinstance(round_.end, Wait):
            assert (told.end.gate, told.shut) == (round_.end.gate, round_.end.shut), (state, intent)
        if isinstance(told.end, Enter) and isinstance(round_.end, Enter):
            assert told.end.phase is round_.end.phase


def test_the_same_question_has_the_same_answer() -> None:
    for state, world, told in rounds():
        assert played(state, world) == told


def test_a_generation_is_durable_before_any_pod_could_see_it() -> None:
    for state, _, told in rounds():
        used = [deed.generation for deed in told.asked if isinstance(deed, deeds.HoldOut)]
        if isinstance(told.end, Publish):
            used += [told.end.document.target_gen, told.end.document.source_gen]
        assert all(each <= state.counter for each in used), (state, told)
