"""The values that the ownership machine (`core/ownership/machine.py`) takes and gives (design.md, section 4).

All are hashable, so that every interleaving of several pods can be explored, and none holds anything but values.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from crossfade.core.ownership.trim import SOFT_SIZE
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side


class Task(Struct, frozen=True, gc=False):
    """What is to be done with one key.

    Attributes:
        key: the encoded key.
        aim: where the flag says to try first, and the generation of that wish. The sweeper settles a key, without
            moving it, with generation 0.
        op: the operation; None for the sweeper, which only hands over and helps, and for a read.
        now_ms: wall clock, ms since the epoch; decides which transaction ids are old enough to trim.
        seed: of the version of a seal, wall clock in µs << 10; used only when the item has none.
        soft: size of the id set from which a write trims; the pod's hint for this key.
        complete: of the flag document: absent or missing role in the target table means active.
        may_hand_over: False for a key that an operator excluded: it stays where it is.
        reads: only find the image that answers; nothing is written.
        hold_out: the cause for which the sweeper marks a key that can't move, in its row: it is sealed and given back
            without the other table being asked. Empty: it is handed over.
    """

    key: Key
    aim: Aim
    op: Operation | None
    now_ms: int
    seed: int
    soft: int = SOFT_SIZE
    complete: bool = False
    may_hand_over: bool = True
    reads: bool = False
    hold_out: str = ""


class Outcome(Enum):
    """How a task ended."""

    APPLIED = "applied"
    REPLAYED = "replayed"  # this id was applied before
    MISMATCH = "mismatch"  # this id was applied before, and did something else; nothing was applied now
    EXPIRED = "expired"  # the id is below the floor: whether it was applied is unknown
    INSUFFICIENT = "insufficient"
    ABOVE_LIMIT = "above limit"  # a value is above what the operation allows; nothing was applied
    NOT_FOUND = "not found"  # an operation that creates nothing, on what does not exist; nothing is recorded
    FULL = "full"  # too many ids of the window; nothing was applied
    BUSY = "busy"  # the key moved too often; nothing was applied
    SETTLED = "settled"  # of the sweeper: the key has an owner
    READ = "read"
    HELD_OUT = "held out"  # of the sweeper: the other table refuses this key for good; it stays with its owner
    REFUSED = "refused"  # the store refuses for good what has to be written; nothing was applied
    AMBIGUOUS = "ambiguous"  # both sides standby in one generation: needs a human decision


class StepKind(Enum):
    """What happened to the key's ownership on the way."""

    SEALED = "sealed"
    STUBBED = "stubbed"  # sealed by a stub: the key was absent
    ACTIVATED = "activated"
    RESEALED = "re-sealed"
    HELPED = "helped"
    OVERTAKEN = "overtaken"  # somebody else activated first
    HELD_OUT = "held out"  # the other table would refuse the key, or did
    FENCED = "fenced"  # the refusing side was shut
    GIVEN_BACK = "given back"  # the sealed side is active again
    RESTARTED = "restarted"


class HandoverStep(Struct, frozen=True, gc=False):
    """One step, for spans and reports.

    Attributes:
        kind: what happened.
        side: the table it happened in.
        reason: why, for humans.
        version: of the item after it; 0 where there is none.
    """

    kind: StepKind
    side: Side
    reason: str
    version: int


class Done(Struct, frozen=True, gc=False):
    """The end of a task.

    Attributes:
        outcome: how it ended.
        side: the table that decided it: the owner, or for a replay found on a standby that standby.
        item: in that table after the task; of MISMATCH its events say what the id did. None when there is none, or
            when it is not known (BUSY, REFUSED, and HELD_OUT where the table refused the seal).
        steps: what happened to the key's ownership, in order.
        authoritative: whether `item` is the owner's. A replay may be found on a standby, whose values may be old:
            read the owner before answering.
        retry_after_s: of FULL: how long until an id may go.
        soft: of a trimming write: the new hint for `Task.soft`; None to keep the old one.
        because: of HELD_OUT and REFUSED: the cause, for humans; empty otherwise.
    """

    outcome: Outcome
    side: Side
    item: Item | None
    steps: tuple[HandoverStep, ...] = ()
    authoritative: bool = True
    retry_after_s: float | None = None
    soft: int | None = None
    because: str = ""

    @property
    def arrived(self) -> bool:
        """See `crossfade.ports.moving.Moved`."""
        return self.outcome is Outcome.SETTLED

    @property
    def stays(self) -> bool:
        """See `crossfade.ports.moving.Moved`."""
        return self.outcome is Outcome.HELD_OUT

    @property
    def was_moved(self) -> bool:
        """See `crossfade.ports.moving.Moved`."""
        return self.arrived and any(step.kind is StepKind.ACTIVATED for step in self.steps)

    @property
    def why(self) -> str:
        """See `crossfade.ports.moving.Moved`."""
        last = self.steps[-1].reason if self.steps else ""
        return self.because or last or f"{self.outcome.value} on {self.side.value}"


class Read(Struct, frozen=True, gc=False):
    """Ask for a strongly consistent read."""

    side: Side
    key: Key


class Perform(Struct, frozen=True, gc=False):
    """Ask for a write."""

    side: Side
    write: Write


Request: TypeAlias = Read | Perform


class Found(Struct, frozen=True, gc=False):
    """The reply to a read."""

    item: Item | None


Reply: TypeAlias = Found | Answer


class Seen(Struct, frozen=True, gc=False):
    """What stood on a side, maybe nothing; as opposed to not having looked."""

    item: Item | None


class Trying(Struct, frozen=True, gc=False):
    """The operation was sent to `side`; `opposite` is the other side, when it was seen standby on the way."""

    side: Side
    opposite: Seen | None = None


class Trimming(Struct, frozen=True, gc=False):
    """The operation was sent to `side` with a trim that makes `soft` the next hint."""

    side: Side
    soft: int


class Surveying(Struct, frozen=True, gc=False):
    """The sweeper reads the side aimed at; `known` is what a scan showed of the other."""

    known: Seen | None


class Looking(Struct, frozen=True, gc=False):
    """The side not aimed at is read; `opposite` is what the side aimed at showed."""

    opposite: Seen | None


class ReadingNear(Struct, frozen=True, gc=False):
    """A read asks the side aimed at."""


class ReadingFar(Struct, frozen=True, gc=False):
    """A read asks the other side; `near` is what the side aimed at showed: a standby."""

    near: Seen


class Sealing(Struct, frozen=True, gc=False):
    """A seal was sent to `origin`."""

    origin: Side
    absent: bool = False


class Activating(Struct, frozen=True, gc=False):
    """The other side is to take over with what was sealed in `origin` (in the names of `origin`)."""

    origin: Side
    sealed: Item


class Resealing(Struct, frozen=True, gc=False):
    """`origin` is lifted above the other side; `sealed` is what stood there before."""

    origin: Side
    sealed: Item


class Fencing(Struct, frozen=True, gc=False):
    """The other side, which refuses what was sealed in `origin`, is to be shut to this handover."""

    origin: Side
    sealed: Item
    because: str


class TakingBack(Struct, frozen=True, gc=False):
    """`origin` is to own the key again, since the other side is shut."""

    origin: Side
    because: str


Phase: TypeAlias = (
    Trying
    | Trimming
    | Surveying
    | Looking
    | ReadingNear
    | ReadingFar
    | Sealing
    | Activating
    | Resealing
    | Fencing
    | TakingBack
)


class State(Struct, frozen=True, gc=False):
    """Where a task stands.

    Attributes:
        task: what is to be done.
        phase: which request is out, and what is remembered until its reply.
        round: how often it started over.
        steps: what happened so far. No decision looks at it.
    """

    task: Task
    phase: Phase | None = None
    round: int = 0
    steps: tuple[HandoverStep, ...] = ()


Next: TypeAlias = tuple[State, Request] | Done
