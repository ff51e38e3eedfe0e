"""Who owns the rows, and since when: the one item that says it, and the only ways in which it changes.

One table *owns*: it takes plain reads and writes, and nothing is added to its rows. The other is the *standby*, changed
by Crossfade alone. Everyone but this item has a view of it, which may be old.

    open → draining → sealed → open, with the other owner (a flip)
                  └────────────→ open, with the same one (an attempt that was given up)

Each change raises the epoch and is made by compare-and-swap of the whole item, so a coordinator that was replaced
changes nothing any more.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side

OVERLAP_US: Final = 5_000_000
"""The old owner's interval ends so long after the hold, the new owner's begins so long before it; each by the commit
times of its own table."""

SHORTEST_US: Final = 20_000_000
"""An interval lasts at least so long."""


class State(Enum):
    """Where the map stands between two flips."""

    OPEN = "open"
    DRAINING = "draining"  # the application's writes are stopped; appliers go on
    SEALED = "sealed"  # nobody writes a standby row but the coordinator's compare


class Interval(Struct, frozen=True):
    """A time in which one table owned.

    Attributes:
        owner: the table.
        since_us: its first moment, a commit time of that table, µs.
        held_us: when the hold that ended it was proven, likewise; 0 while it lasts.
    """

    owner: Side
    since_us: int
    held_us: int = 0

    @property
    def until_us(self) -> int:
        """Its last moment; 0 while it lasts."""
        return self.held_us + OVERLAP_US if self.held_us else 0

    def covers(self, committed_us: int) -> bool:
        """Say whether a record of the owner, committed then, is of this interval."""
        return self.since_us <= committed_us and (not self.held_us or committed_us <= self.until_us)


class OwnerMap(Struct, frozen=True):
    """The map item: one entry, for the whole table.

    Attributes:
        epoch: rises with each change.
        owner: the table that owns.
        state: see above.
        intervals: the oldest first; the last one is `owner`'s and lasts.
    """

    epoch: int
    owner: Side
    state: State
    intervals: tuple[Interval, ...]

    @property
    def interval(self) -> Interval:
        """The interval that lasts."""
        return self.intervals[-1]

    @property
    def begins_us(self) -> int:
        """The first moment of the first interval: older records are never applied, whenever they come."""
        return self.intervals[0].since_us

    @property
    def floor(self) -> int:
        """The lowest fence of this interval on the standby; 0 in the first one, whose standby was imported."""
        return version_at(self.interval.since_us) if len(self.intervals) > 1 else 0


def version_at(committed_us: int) -> int:
    """Return the version of a change committed then; the last three digits are Crossfade's own."""
    return committed_us * 1000


def first_map(since_us: int) -> OwnerMap:
    """Return the map of a migration that begins: the source owns.

    Args:
        since_us: the export's time minus the margin, a commit time of the source table, µs.
    """
    return OwnerMap(1, Side.SOURCE, State.OPEN, (Interval(Side.SOURCE, since_us),))


def drained_from(now: OwnerMap) -> OwnerMap:
    """Begin an attempt: the application is about to be held.

    Raises:
        ConfigError: another attempt is under way.
    """
    _expect(now, State.OPEN)
    return replace(now, epoch=now.epoch + 1, state=State.DRAINING)


def sealed_from(now: OwnerMap) -> OwnerMap:
    """Seal the standby: members acknowledge, and then wait.

    Raises:
        ConfigError: the application is not held.
    """
    _expect(now, State.DRAINING)
    return replace(now, epoch=now.epoch + 1, state=State.SEALED)


def flipped_from(now: OwnerMap, *, held_us: int, other_held_us: int) -> OwnerMap:
    """Give the rows to the standby. The state stays sealed until guard and hook are released (`opened_from`).

    Args:
        now: the map.
        held_us: when the hold was proven, a commit time of the owner, µs.
        other_held_us: the same moment by the standby's own table.

    Raises:
        ConfigError: it is not sealed, or the interval would be shorter than `SHORTEST_US`.
    """
    _expect(now, State.SEALED)
    if held_us - now.interval.since_us < SHORTEST_US:
        raise ConfigError(
            f"the {now.owner.value} table has owned for {(held_us - now.interval.since_us) / 1e6:.1f} s only; a flip "
            f"is possible after {SHORTEST_US // 1_000_000} s"
        )
    ended = replace(now.interval, held_us=held_us)
    begun = Interval(now.owner.other, other_held_us - OVERLAP_US)
    intervals = (*now.intervals[:-1], ended, begun)
    return OwnerMap(now.epoch + 1, now.owner.other, State.SEALED, intervals)


def taken_back_from(now: OwnerMap) -> OwnerMap:
    """Give an attempt up: whoever drove it changes the map no more, a swap that is still on its way least of all.

    It comes before guard and hook are released to the owner. Else a slow flip could land after that, and the
    application would write to what has become the standby. A map that is open stays so at a higher epoch: a slow swap
    to draining fails, too.
    """
    return replace(now, epoch=now.epoch + 1, state=State.OPEN if now.state is State.OPEN else State.DRAINING)


def opened_from(now: OwnerMap) -> OwnerMap:
    """End a hold: right before and after the flip alike, and by whoever finds one."""
    return replace(now, epoch=now.epoch + 1, state=State.OPEN)


def _expect(now: OwnerMap, state: State) -> None:
    if now.state is not state:
        raise ConfigError(f"the map is {now.state.value} at epoch {now.epoch}, not {state.value}: read it again")
