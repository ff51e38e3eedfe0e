"""What would come of a command: the same `step` is asked, and each deed that it asks for is taken to turn out well.

So a dry run says what the controller would do, and stops where the controller would stop.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from crossfade.core.migration import deeds, flip_deeds
from crossfade.core.migration.acts import Admit, Answer, Enter, Publish, Rest, Settle, Wait, Withdraw
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Seen
from crossfade.core.migration.state import Migration, fold
from crossfade.core.migration.step import step
from crossfade.core.protocol.plain.map import Interval, OwnerMap, State
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.shape import Side

ROUNDS: Final = 100
"""More than any phase takes."""

_LATER: Final = CommitUs(2**62)


class Foreseen(NamedTuple):
    """What would come of a command.

    Attributes:
        ahead: what would be done, in order.
        end: the first thing that waits, or that all pods would see: flags, a phase, an outcome.
    """

    ahead: tuple[str, ...]
    end: Answer

    @property
    def shut(self) -> tuple[GateResult, ...]:
        """The gates that stand in the way."""
        return self.end.shut if isinstance(self.end, Wait) else ()


class _Imagined(NamedTuple):
    """A journal entry that nobody wrote."""

    number: int
    kind: str
    body: Mapping[str, Any]
    at_us: int
    who: str = ""
    code: str = ""


def foresee(
    state: Migration, seen: Seen, intent: Intent, arguments: Mapping[str, Any], *, held_out: int = 0
) -> Foreseen:
    """Say what would come of a command.

    Args:
        state: of the migration.
        seen: what the controller told last.
        intent: the verb.
        arguments: of it.
        held_out: keys that can't move, as far as is known.
    """
    state = _written(state, [("intent", {"verb": intent.value, "arguments": arguments})], seen)
    number, ahead = state.number, []
    answers: dict[deeds.Deed[Any], Any] = {}
    for _ in range(ROUNDS):
        answer = step(state, seen._replace(answers=answers))
        if isinstance(answer, deeds.Deed):
            is_plain = isinstance(answer, flip_deeds.LookAtMap | flip_deeds.SwapMap | flip_deeds.WorkOff)
            answers[answer] = _hoped_plain(answer, state) if is_plain else _hoped(answer, state, held_out)
            ahead.append(_words(answer))
            continue
        is_ours = not isinstance(answer, Settle) or answer.number == number
        if isinstance(answer, Wait) or (isinstance(answer, Enter | Publish | Rest | Withdraw | Settle) and is_ours):
            return Foreseen(tuple(ahead), answer)
        if not isinstance(answer, Admit):
            ahead.append(_words(answer))
        state, answers = _written(state, answer.entries(), seen), {}
    return Foreseen(tuple(ahead), Wait("", "more than can be foreseen"))


def _written(state: Migration, entries: list[tuple[str, dict[str, Any]]], seen: Seen) -> Migration:
    numbered = enumerate(entries, state.number + 1)
    return fold(state, [_Imagined(number, kind, body, seen.now_us) for number, (kind, body) in numbered])


def _words(act: object) -> str:
    """Return the name of an act as words, and the step that it is about."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(act).__name__).lower()
    step_name = getattr(act, "step", "")
    return f"{words} {step_name}".strip()


def _map_of(state: Migration) -> OwnerMap | None:
    """Return a map as it should be in a phase, for as far as a dry run looks at one."""
    if "owner-map" not in state.facts:
        return None
    since_us = int(state.facts["owner-map"]["since_us"])
    owner = Side.TARGET if state.phase is Phase.BAKING else Side.SOURCE
    return OwnerMap(1, owner, State.OPEN, (Interval(owner, since_us),))


def _hoped_plain(deed: deeds.Deed[Any], state: Migration) -> Any:
    match deed:
        case flip_deeds.LookAtMap():
            return _map_of(state)
        case flip_deeds.WorkOff():
            return flip_deeds.Round(0, 0)
    return True


def _hoped(deed: deeds.Deed[Any], state: Migration, held_out: int) -> Any:
    """Return what comes of a deed that turns out well."""
    match deed:
        case deeds.CheckPlan():
            return deeds.PlanSeen("")
        case deeds.TakeMoment():
            return _LATER
        case deeds.Elapsed():
            return math.inf
        case deeds.LookAtExport():
            return deeds.ExportSeen("COMPLETED")
        case deeds.MapFiles() | deeds.Load():
            rows = int(state.done.get("map", {"mapped": 1})["mapped"])
            return deeds.Mapped("", {"mapped": rows, "written": rows, "there": 0, "newer": 0})
        case deeds.LookAtImport():
            return deeds.ImportSeen("COMPLETED", int(state.done["map"]["mapped"]), 0, "", True)
        case deeds.Sweep(target, generation, _, begun_us):
            return deeds.Swept(deeds.PassResult(target, generation, begun_us, held_out=held_out), True)
        case deeds.ReadAftermath():
            return deeds.AftermathSeen(_LATER, deeds.Aftermath(0, 0, ()))
        case deeds.LookAtLetters():
            return ()
        case deeds.RunHook():
            return 0, ""
        case deeds.ForgetPass() | deeds.DiscardLetters() | deeds.BringCanaryHome():
            return None
    return ""  # nothing to wait for, or an ARN
