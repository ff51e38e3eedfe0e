"""The deeds of a flip under the plain protocol (any table: hold, drain, compare, flip, release; ADR 0045)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from crossfade.core.migration.deeds import Deed
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.shape import Side


@dataclass(frozen=True)
class LookAtMap(Deed[OwnerMap | None]):
    """Read the map consistently; None before there is one."""


@dataclass(frozen=True)
class SwapMap(Deed[bool]):
    """Change the map by compare-and-swap; False if it is another by now."""

    seen: OwnerMap | None
    new: OwnerMap


class Round(NamedTuple):
    """What a round over the keys changed since the last clean pass began found.

    Attributes:
        compared: keys whose rows were read.
        left: keys that differed, or whose comparison proves nothing yet.
        unknown: why the list has a gap; empty when it has none.
    """

    compared: int
    left: int
    unknown: str = ""


@dataclass(frozen=True)
class WorkOff(Deed[Round]):
    """Compare the keys that changed since the last clean pass began, while writes go on; nothing is copied."""

    owner: Side


@dataclass(frozen=True)
class Guard(Deed[str]):
    """Let a table's policy deny all writers but Crossfade; what has to be waited for."""

    side: Side
    epoch: int


@dataclass(frozen=True)
class Unguard(Deed[str]):
    """Take that statement out of a table's policy; what has to be waited for."""

    side: Side
    epoch: int


@dataclass(frozen=True)
class RunHold(Deed[tuple[int, str]]):
    """Run the operator's hold or release command; its exit code and the end of its output."""

    command: tuple[str, ...]
    owner: Side
    epoch: int


@dataclass(frozen=True)
class LooksHeld(Deed[str]):
    """See that an owner takes an unprivileged write while nobody holds it: its refusal will prove a hold. Why it
    doesn't, empty when it does."""

    owner: Side


class Proof(NamedTuple):
    """The hold of an owner: what it waits for, or the moment of the proof on both tables' own clocks."""

    waiting: str
    held_us: CommitUs = CommitUs(0)
    other_held_us: CommitUs = CommitUs(0)
    by: str = ""


@dataclass(frozen=True)
class ProveHold(Deed[Proof]):
    """Prove that an owner takes no writes any more."""

    owner: Side
    settle_s: float


@dataclass(frozen=True)
class ReadPastHold(Deed[str]):
    """See that both hops of a table's changes are past the proof of the hold; what has to be waited for."""

    side: Side


@dataclass(frozen=True)
class LookAtMembers(Deed[tuple[Member, ...]]):
    """List the members, consistently. `look` tells two looks of one round apart."""

    look: str


@dataclass(frozen=True)
class Bury(Deed[None]):
    """Take out a member that died, after its requests can no longer take effect."""

    name: str


class Compared(NamedTuple):
    """How far the compare of a hold is.

    Attributes:
        has_ended: whether each key was compared.
        keys: compared so far.
        copied: keys of which the owner's content was copied to the standby.
        refused: what can't be settled without a person, by key; the first ones.
    """

    has_ended: bool
    keys: int = 0
    copied: int = 0
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compare(Deed[Compared]):
    """Compare each listed key while nobody else writes a standby row, and copy what differs; in a sealed map only."""

    owner: Side
    epoch: int
    whole: bool


class Purged(NamedTuple):
    """How far the purge of listed tombstones is."""

    has_ended: bool
    rows: int = 0


@dataclass(frozen=True)
class Purge(Deed[Purged]):
    """Delete the listed tombstones of the present owner, each while it is unchanged."""

    owner: Side


@dataclass(frozen=True)
class HeldFor(Deed[float]):
    """Tell for how long this process has been holding writes, s; 0.0 where it doesn't."""


@dataclass(frozen=True)
class MeasureStop(Deed[tuple[float, str]]):
    """Tell how long writes were stopped, s, and who measured it."""

    began_us: int


@dataclass(frozen=True)
class SwitchTtl(Deed[str]):
    """Switch a table's TTL on or off; what has to be waited for."""

    side: Side
    on: bool
