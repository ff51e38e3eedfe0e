"""How long the write stop of a flip lasts: its parts, and the floor under each.

No part is a promise. A floor is what AWS's granularity or the operator's own settings make of it; the rest is reckoned
from rates. What a flip took in the end is measured and journalled.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

POLICY_SETTLES_S: Final = 15.0
"""PutResourcePolicy is asynchronous, and blocks another change of the same policy for 15 s (AWS)."""

METRIC_LATE_S: Final = 60.0
"""CloudWatch publishes a minute's value up to about a minute after its end (assumed)."""

KEYS_PER_S: Final = 2_000.0
"""Listed keys that the compare reads on both sides, a second, with eight requests of 25 keys in flight (assumed)."""

ROUND_TRIPS_S: Final = 0.5
"""Swaps of the map, marker rows, acknowledgements of members: some ten requests one after another (assumed)."""


class Part(NamedTuple):
    """A part of the stop.

    Attributes:
        name: of it.
        least_s: it can't be shorter.
        likely_s: what to expect.
        because: where that comes from.
    """

    name: str
    least_s: float
    likely_s: float
    because: str


class Stop(NamedTuple):
    """The write stop of one flip.

    Attributes:
        parts: one after another.
    """

    parts: tuple[Part, ...]

    @property
    def least_s(self) -> float:
        """The floor."""
        return sum(each.least_s for each in self.parts)

    @property
    def likely_s(self) -> float:
        """What to expect."""
        return sum(each.likely_s for each in self.parts)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        parts = [each._asdict() for each in self.parts]
        return {"least_s": self.least_s, "likely_s": self.likely_s, "parts": parts}


class How(NamedTuple):
    """How a flip will be made.

    Attributes:
        hook: whether a hold command is set.
        settle_s: how long the application's longest attempt and its back-off take; 0 where the guard stands for it.
        guard: whether a resource policy guards the tables.
        marker: whether a canary key is named, whose row proves that the stream has all.
        metric_period_s: of the first hop's metric otherwise.
        listed: keys changed since the last clean pass began, at a flip.
        whole: whether both tables are compared whole.
        rows: of the table.
        read_per_s: rows that a whole compare reads, a second.
    """

    hook: bool
    settle_s: float
    guard: bool
    marker: bool
    metric_period_s: float
    listed: int
    whole: bool = False
    rows: int = 0
    read_per_s: float = 20_000.0


def stop_of(how: How) -> Stop:
    """Reckon a write stop."""
    parts = []
    if how.hook:
        parts.append(Part("hold command", 0.0, 1.0, "your command's own time; its first run tells"))
    if how.guard:
        parts.append(
            Part("guard", 0.0, POLICY_SETTLES_S, "a resource policy is applied eventually; a denied write proves it")
        )
    elif how.settle_s:
        parts.append(
            Part("settling", how.settle_s, how.settle_s, "the application's longest attempt and its back-off, as set")
        )
    if how.marker:
        parts.append(Part("first hop", 0.0, 0.5, "the canary's row has to come down the stream"))
    else:
        late = f"the metric has one value in {how.metric_period_s:g} s, published later: name a canary key to spare it"
        least_s = how.metric_period_s
        parts.append(Part("first hop", least_s, least_s + METRIC_LATE_S, late))
    if how.whole:
        whole_s = how.rows / how.read_per_s
        parts.append(Part("compare, whole", whole_s, whole_s, f"{how.rows:,} rows of both tables are read"))
    else:
        compare_s = how.listed / KEYS_PER_S
        because = f"{how.listed:,} keys changed since the last clean pass began are read on both sides"
        parts.append(Part("compare", compare_s, compare_s, because))
    parts.append(Part("map, members, release", 0.0, ROUND_TRIPS_S, "some ten requests, one after another"))
    return Stop(tuple(parts))
