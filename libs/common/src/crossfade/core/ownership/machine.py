"""Who owns a key: the decisions of one operation, and of the sweeper for one key (design.md, section 4).

A sans-I/O machine. `begin` and `advance` say what to ask of a table next; whoever runs them sends the request and
brings the reply. The flag only says where to try first: each write carries its own condition, so a pod may be wrong,
slow, or gone between any two steps, and another one completes what it left.

    try the operation on the side aimed at
      standby there, own generation higher:  read the other side -> seal it -> activate here -> try again
      standby there, own generation not higher:  follow: try it on the other side
      standby on both:  help: activate from the image with the higher generation -> try again
      the higher generation is odd:  help: take the other side back -> try again

A handover that the other side refuses for good is handed back (ADR 0014). An activation of another release may still be
on the wire, so the sealed side can't simply become active again:

    sealed at g, and the other side can't take it:  fence the other side at g + 1 -> take the sealed side back at g + 1
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from crossfade.core.mapping.copies import GIVEN_BACK, carried, why_not
from crossfade.core.mapping.interface import Mapping
from crossfade.core.ownership.carrying import why_it_stays
from crossfade.core.ownership.decisions import (
    Activating,
    Done,
    Fencing,
    Found,
    HandoverStep,
    Looking,
    Next,
    Outcome,
    Perform,
    Phase,
    Read,
    ReadingFar,
    ReadingNear,
    Reply,
    Resealing,
    Sealing,
    Seen,
    State,
    StepKind,
    Surveying,
    TakingBack,
    Task,
    Trimming,
    Trying,
)
from crossfade.core.ownership.trim import Full, plan_trim
from crossfade.core.protocol.keyed.item import Item, generation_of, is_active, is_fence, version_of
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.perform import Reason, why_refused
from crossfade.core.protocol.keyed.versions import above
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Fence,
    Operate,
    OperateAndTrim,
    Reseal,
    Seal,
    SealAbsent,
    TakeBack,
)
from crossfade.core.protocol.writing import Applied, Refused, Unfit
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side

ROUNDS: Final = 8
"""How often one operation starts over, because others move the key, before it gives up."""

_ENDS: Final = {
    Reason.MISMATCH: Outcome.MISMATCH,
    Reason.EXPIRED: Outcome.EXPIRED,
    Reason.INSUFFICIENT: Outcome.INSUFFICIENT,
    Reason.ABOVE_LIMIT: Outcome.ABOVE_LIMIT,
    Reason.NOTHING_THERE: Outcome.NOT_FOUND,
}


class _HalfWay(NamedTuple):
    """A handover that left both sides standby.

    Attributes:
        origin: the side that was sealed: its image is the key's.
        sealed: that image.
        fence: what stands on the other side, if that was shut: then the origin is to be taken back.
    """

    origin: Side
    sealed: Item | None
    fence: Item | None


class OwnershipRules:
    """The decisions. Holds no state of its own: everything that changes is in `State`."""

    def __init__(self, mapping: Mapping, *, rounds: int = ROUNDS) -> None:
        """Take the mapping that the images travel through, and how often an operation may start over."""
        self._mapping = mapping
        self._rounds = rounds

    def begin(self, task: Task, known: Seen | None = None) -> Next:
        """Start a task.

        Args:
            task: an operation, or (without one) a key to hand over or settle.
            known: for the sweeper: what a consistent read of the side *not* aimed at showed, as a scan does.
        """
        if task.op is not None or task.reads:
            return self.begin_again(State(task))
        if known is not None and is_active(known.item, task.aim.side.other, complete=task.complete):
            return self._looked(State(task), known.item, None)
        return self._ask(State(task), Surveying(known), Read(task.aim.side, task.key))

    def advance(self, state: State, reply: Reply) -> Next:
        """Take the reply to the last request, and say what comes next.

        Raises:
            PoisonRecord: an item's protocol attributes or a value that counts can't be read.
        """
        match reply:
            case Found(item):
                step = self._found(state, item)
            case Applied(item):
                step = self._applied(state, item)
            case Refused(item):
                step = self._refused(state, item)
            case Unfit(because):
                step = self._unfit(state, because)
        if step is None:
            raise TypeError(f"{type(reply).__name__} is no reply to {type(state.phase).__name__}")
        return step

    def _found(self, state: State, item: Item | None) -> Next | None:
        match state.phase:
            case Surveying(known):
                return self._surveyed(state, item, known)
            case Looking(opposite):
                return self._looked(state, item, opposite)
            case ReadingNear():
                return self._read_near(state, item)
            case ReadingFar(near):
                return self._read_far(state, near.item, item)
        return None

    def _applied(self, state: State, item: Item) -> Next | None:
        match state.phase:
            case Trying(side):
                return self._done(state, Outcome.APPLIED, side, item)
            case Trimming(side, soft):
                return self._done(state, Outcome.APPLIED, side, item, soft=soft)
            case Sealing(origin, absent):
                aim = state.task.aim
                reason = f"aims at {aim.side.value} with generation {aim.generation}"
                kind = StepKind.STUBBED if absent else StepKind.SEALED
                return self._activate(self._noted(state, kind, origin, item, reason), origin, item)
            case Resealing(origin):
                reason = f"{origin.other.value} was ahead"
                return self._activate(self._noted(state, StepKind.RESEALED, origin, item, reason), origin, item)
            case Activating(origin):
                reason = f"with the image of {origin.value}"
                state = self._noted(state, StepKind.ACTIVATED, origin.other, item, reason)
                return self._settled(state, origin.other, item)
            case Fencing(origin, sealed, because):
                state = self._noted(state, StepKind.FENCED, origin.other, item, because)
                return self._take_back(state, origin, sealed, item, because)
            case TakingBack(origin, because):
                state = self._noted(state, StepKind.GIVEN_BACK, origin, item, because)
                return self._settled(state, origin, item, because)
        return None

    def _refused(self, state: State, item: Item | None) -> Next | None:
        match state.phase:
            case Trying(side, opposite):
                return self._tried(state, side, opposite, item)
            case Trimming(side):
                return self._tried(replace(state, round=state.round + 1), side, None, item)
            case Sealing(origin):
                return self._again(state, f"{origin.value} changed before the seal")
            case Resealing(origin):
                return self._again(state, f"{origin.value} changed before the re-seal")
            case Activating(origin, sealed):
                return self._not_activated(state, origin, sealed, item)
            case Fencing(origin):
                return self._again(state, f"{origin.other.value} changed before the fence")
            case TakingBack(origin):
                return self._again(state, f"{origin.value} changed before it was taken back")
        return None

    def _unfit(self, state: State, because: str) -> Next:
        """The table will never take the write that was sent."""
        match state.phase:
            case Trying(side) | Trimming(side):
                return self._done(state, Outcome.REFUSED, side, None, because=because)
            case Sealing(origin):
                return self._stays(self._noted(state, StepKind.HELD_OUT, origin, None, because), None, None, because)
            case Activating(origin, sealed) | Resealing(origin, sealed):
                return self._give_back(state, origin, sealed, because)
            case Fencing(origin) | TakingBack(origin):
                return self._done(state, Outcome.REFUSED, origin, None, because=f"nobody owns it: {because}")
            case _:  # a read, of a table that no longer exists
                return self._done(state, Outcome.REFUSED, state.task.aim.side.other, None, because=because)

    # The operation.

    def _try(self, state: State, side: Side, opposite: Seen | None = None) -> Next:
        task = state.task
        generation = task.aim.generation if side is task.aim.side else 0
        write = Operate(task.key, _operation(task), task.soft, task.complete, generation)
        return self._ask(state, Trying(side, opposite), Perform(side, write))

    def _tried(self, state: State, side: Side, opposite: Seen | None, item: Item | None) -> Next:
        task = state.task
        reason = why_refused(_operation(task), item, self._mapping.shape(side), soft=task.soft, complete=task.complete)
        match reason:
            case None:
                return self._again(state, f"{side.value} changed between the write and its refusal")
            case Reason.REPLAY:
                active = is_active(item, side, complete=task.complete)
                return self._done(state, Outcome.REPLAYED, side, item, authoritative=active)
            case Reason.NOT_OWNER if side is task.aim.side:
                return self._elsewhere(state, item, opposite)
            case Reason.NOT_OWNER:
                near = opposite.item if opposite else None
                return self._help(state, far=item, near=near) if opposite else self._again(state, "the owner moved")
            case Reason.FULL if item is not None:
                return self._trim(state, side, item)
            case _:
                return self._done(state, _ENDS[reason], side, item)

    def _trim(self, state: State, side: Side, item: Item) -> Next:
        task = state.task
        plan = plan_trim(item.recent, item.floor, task.now_ms)
        if isinstance(plan, Full):
            return self._done(state, Outcome.FULL, side, item, retry_after_s=plan.retry_after_s)
        if state.round >= self._rounds:
            return self._done(state, Outcome.BUSY, side, item)
        generation = task.aim.generation if side is task.aim.side else 0
        write = OperateAndTrim(
            task.key, _operation(task), item.version, plan.kept, plan.floor, task.complete, generation
        )
        return self._ask(state, Trimming(side, plan.soft), Perform(side, write))

    def _elsewhere(self, state: State, near: Item | None, opposite: Seen | None) -> Next:
        """The side aimed at doesn't own the key."""
        task, far_side = state.task, state.task.aim.side.other
        if opposite is not None:
            return self._help(state, far=opposite.item, near=near)
        if task.may_hand_over and task.aim.generation > generation_of(near):
            return self._ask(state, Looking(Seen(near)), Read(far_side, task.key))
        return self._follow(state, Seen(near))

    def _follow(self, state: State, near: Seen | None) -> Next:
        """Go to the owner: a generation that is not above the item's never moves it."""
        return self._try(state, state.task.aim.side.other, near)

    # The handover.

    def _surveyed(self, state: State, near: Item | None, known: Seen | None) -> Next:
        task = state.task
        if is_active(near, task.aim.side, complete=task.complete):
            return self._done(state, Outcome.SETTLED, task.aim.side, near)
        if known is not None:
            return self._looked(state, known.item, Seen(near))
        return self._ask(state, Looking(Seen(near)), Read(task.aim.side.other, task.key))

    def _looked(self, state: State, far: Item | None, near: Seen | None) -> Next:
        """The other side was read: seal it, follow to it, or help."""
        task, far_side = state.task, state.task.aim.side.other
        if not is_active(far, far_side, complete=task.complete):
            # Only a known active item comes without a look at the side aimed at.
            return self._help(state, far=far, near=near.item if near else None)
        highest = max(generation_of(far), generation_of(near.item if near else None))
        creates = task.op is not None and task.op.verb.creates
        may_move = task.may_hand_over or task.hold_out
        if not may_move or task.aim.generation <= highest or (far is None and not creates):
            return self._stays(state, far, near, why_it_stays(self._mapping, task, far))
        if far is None:
            stub = SealAbsent(task.key, task.aim.generation, task.seed)
            return self._ask(state, Sealing(far_side, absent=True), Perform(far_side, stub))
        because = why_not(self._mapping, task.key, task.aim.side, far, near.item if near else None)
        if because and not task.hold_out:
            return self._stays(self._noted(state, StepKind.HELD_OUT, far_side, far, because), far, near, because)
        seal = Seal(
            task.key,
            task.aim.generation,
            task.seed,
            task.complete,
            stamped=far.version is not None,
            expires=bool(far.ttl),
        )
        return self._ask(state, Sealing(far_side), Perform(far_side, seal))

    def _stays(self, state: State, far: Item | None, near: Seen | None, because: str) -> Next:
        """The key stays where it is: an operation goes there, the sweeper is done."""
        if state.task.op is not None:
            return self._follow(state, near)
        outcome = Outcome.HELD_OUT if because else Outcome.SETTLED
        return self._done(state, outcome, state.task.aim.side.other, far, because=because)

    def _help(self, state: State, *, far: Item | None, near: Item | None) -> Next:
        """Both sides are standby: complete what somebody began."""
        half = self._half_way(state.task.aim.side, near, far)
        if isinstance(half, str):
            # A fence against another handover: the two sides were read at two moments, and what was seen is past.
            return self._again(state, half, ambiguous=generation_of(near) == generation_of(far))
        origin, sealed, fence = half
        if sealed is None or sealed.version is None:
            return self._again(state, f"{origin.value} is standby without a version", ambiguous=True)
        state = self._noted(state, StepKind.HELPED, origin, sealed, "both sides were standby")
        if fence is None:
            return self._activate(state, origin, sealed)
        because = why_not(self._mapping, state.task.key, origin.other, sealed) or GIVEN_BACK
        return self._take_back(state, origin, sealed, fence, because)

    def _half_way(self, side: Side, near: Item | None, far: Item | None) -> _HalfWay | str:
        """Say where a handover stands that left both sides standby; a reason where that can't be told."""
        chosen = self.helps_from(near, far)
        if chosen is None:
            return "both sides are standby in one generation"
        top = side if chosen is near else side.other
        if not self.gives_back(chosen):
            return _HalfWay(top, chosen, None)
        sealed = far if chosen is near else near
        if not generation_of(sealed) or generation_of(sealed) + 1 != chosen.generation:
            return f"{top.value} is fenced against another handover"
        return _HalfWay(top.other, sealed, chosen)

    def helps_from(self, one: Item | None, other: Item | None) -> Item | None:
        """Return which of two standby images has the last word: the higher generation; None if neither is."""
        if generation_of(one) == generation_of(other):
            return None
        return one if generation_of(one) > generation_of(other) else other

    def gives_back(self, top: Item) -> bool:
        """Say whether the image with the last word is a fence: then the handover goes back, on the other side."""
        return is_fence(top)

    def _activate(self, state: State, origin: Side, sealed: Item) -> Next:
        if state.task.hold_out and origin is not state.task.aim.side:
            return self._give_back(state, origin, sealed, state.task.hold_out)
        try:
            mapped = carried(self._mapping, state.task.key, origin.other, sealed)
        except PoisonRecord as error:
            return self._give_back(state, origin, sealed, str(error))
        write = Activate(state.task.key, mapped, state.task.complete)
        return self._ask(state, Activating(origin, sealed), Perform(origin.other, write))

    def _not_activated(self, state: State, origin: Side, sealed: Item, met: Item | None) -> Next:
        destination, task = origin.other, state.task
        if is_active(met, destination, complete=task.complete):
            state = self._noted(state, StepKind.OVERTAKEN, destination, met, f"{destination.value} is active already")
            return self._settled(state, destination, met)
        ahead = version_of(met) > version_of(sealed)
        if generation_of(met) < sealed.generation and ahead and state.round < self._rounds:
            state = replace(state, round=state.round + 1)
            return self._reseal(state, origin, sealed, above(met))
        return self._again(state, f"{destination.value} refused the activation")

    def _reseal(self, state: State, origin: Side, sealed: Item, version: int) -> Next:
        """The standby is ahead of the seal: lift the sealed item above it."""
        write = Reseal(state.task.key, sealed.generation, version_of(sealed), version)
        return self._ask(state, Resealing(origin, sealed), Perform(origin, write))

    # The way back: fence, then take back.

    def _give_back(self, state: State, origin: Side, sealed: Item, because: str) -> Next:
        """The other side refuses the sealed image for good: shut it, so that no activation on the wire can win."""
        state = self._noted(state, StepKind.HELD_OUT, origin, sealed, because)
        write = Fence(state.task.key, sealed.generation + 1, state.task.complete)
        return self._ask(state, Fencing(origin, sealed, because), Perform(origin.other, write))

    def _take_back(self, state: State, origin: Side, sealed: Item, fence: Item, because: str) -> Next:
        """The other side is shut: the sealed side owns the key again, above both versions."""
        write = TakeBack(state.task.key, sealed, fence.generation, above(sealed, fence))
        return self._ask(state, TakingBack(origin, because), Perform(origin, write))

    def _settled(self, state: State, owner: Side, item: Item | None, because: str = "") -> Next:
        """The key has an owner: the operation goes there, the sweeper is done."""
        if state.task.op is None:
            outcome = Outcome.HELD_OUT if because else Outcome.SETTLED
            return self._done(state, outcome, owner, item, because=because)
        if state.round >= self._rounds:
            return self._done(state, Outcome.BUSY, owner, item)
        return self._try(replace(state, round=state.round + 1), owner)

    # Reads: the active image answers; with both sides standby the one with the higher generation, but never a fence.

    def _read_near(self, state: State, near: Item | None) -> Next:
        task = state.task
        if is_active(near, task.aim.side, complete=task.complete):
            return self._done(state, Outcome.READ, task.aim.side, near)
        return self._ask(state, ReadingFar(Seen(near)), Read(task.aim.side.other, task.key))

    def _read_far(self, state: State, near: Item | None, far: Item | None) -> Next:
        task, other = state.task, state.task.aim.side.other
        if is_active(far, other, complete=task.complete):
            return self._done(state, Outcome.READ, other, far)
        half = self._half_way(task.aim.side, near, far)
        if isinstance(half, str):
            return self._again(state, half, ambiguous=True)
        return self._done(state, Outcome.READ, half.origin, half.sealed)

    # How every step ends.

    def _again(self, state: State, reason: str, *, ambiguous: bool = False) -> Next:
        side = state.task.aim.side
        if state.round >= self._rounds:
            return self._done(state, Outcome.AMBIGUOUS if ambiguous else Outcome.BUSY, side, None)
        state = self._noted(state, StepKind.RESTARTED, side, None, reason)
        return self.begin_again(replace(state, round=state.round + 1))

    def begin_again(self, state: State) -> Next:
        """Start over with nothing known."""
        key, side = state.task.key, state.task.aim.side
        if state.task.op is not None:
            return self._try(state, side)
        return self._ask(state, ReadingNear() if state.task.reads else Surveying(None), Read(side, key))

    def _ask(self, state: State, phase: Phase, request: Read | Perform) -> tuple[State, Read | Perform]:
        return State(state.task, phase, state.round, state.steps), request

    def _noted(self, state: State, kind: StepKind, side: Side, item: Item | None, reason: str) -> State:
        return replace(state, steps=(*state.steps, HandoverStep(kind, side, reason, version_of(item))))

    def _done(
        self,
        state: State,
        outcome: Outcome,
        side: Side,
        item: Item | None,
        *,
        authoritative: bool = True,
        retry_after_s: float | None = None,
        soft: int | None = None,
        because: str = "",
    ) -> Done:
        return Done(outcome, side, item, state.steps, authoritative, retry_after_s, soft, because)


def _operation(task: Task) -> Operation:
    if task.op is None:
        raise TypeError("the sweeper has no operation")
    return task.op
