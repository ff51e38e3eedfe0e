"""What a seed stands for: who plays, what goes wrong and how often, what the operator asks for.

A script is a value, so a failing one is made smaller by replacing its fields: `only` leaves out what chance did, and
`smaller` proposes fewer players. Each act has a die of its own, so that leaving one out changes no other roll.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final


@dataclass(frozen=True)
class Faults:
    """How often each kind of fault happens.

    Attributes:
        lost: share of requests that never arrive; outcome unknown to the caller.
        unanswered: share of requests that take effect, and whose answer is lost.
        late: share of requests that take up to two seconds, so that the caller may have given up meanwhile.
        untold: share of operations that take effect, and whose answer is lost, beyond `unanswered`.
        half_way: share of a handover's writes that are lost, late or unanswered, beyond the above.
        lagging: share of transfers that are lost, or take up to two seconds.
        throttled: share of data-plane requests that are refused for the moment.
        twice: share of change records that come a second time.
        shuffled: share of change records that are held back, so that younger ones overtake them.
        kills_s: mean time between two kills of processes, s; 0 for none.
        skew_s: by how much the wall clocks of processes are off AWS's, at most.
        flushes_s: mean time between two losses of all marks, s; 0 for none.
    """

    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    untold: float = 0.0
    half_way: float = 0.0
    lagging: float = 0.0
    throttled: float = 0.0
    twice: float = 0.0
    shuffled: float = 0.0
    kills_s: float = 0.0
    skew_s: float = 0.0
    flushes_s: float = 0.0


@dataclass(frozen=True)
class Script:
    """One play.

    Attributes:
        seed: of all dice.
        keys: wallets that clients use; half of them exist at the beginning.
        cold: wallets that nobody uses but strays: the sweeper has to move them.
        clients: callers, each with calls of its own on wallets that all share.
        pods: of the API.
        pause_s: mean pause of a client between two calls.
        shards: of each stream.
        asks: what the operator asks for, in order; "start" comes before and "complete" after them.
        strays: writes of a pod of the old release, which adds to a row in place, or deletes a cold one.
        accidents: standby rows that are overwritten, so that somebody has to repair.
        outdated: how many pods are of a release whose activations the target table refuses, until they are replaced.
        faults: what goes wrong.
        only: what of all that chance wants does happen, by its name (`Network.happens`); None for everything.
    """

    seed: int
    keys: int = 4
    cold: int = 1
    clients: int = 3
    pods: int = 2
    pause_s: float = 0.4
    shards: int = 2
    asks: tuple[str, ...] = ("ramp 10000", "cutover")
    strays: int = 0
    accidents: int = 0
    outdated: int = 0
    faults: Faults = Faults()
    only: frozenset[str] | None = None


WAYS: Final = (
    ("ramp 10000", "cutover"),
    ("ramp 5000", "cutover"),
    ("ramp 7000", "ramp 2000", "cutover"),
    ("ramp 10000", "rollback", "ramp 10000", "cutover"),
    ("ramp 5000", "pause", "resume", "cutover"),
)


def script_of(seed: int) -> Script:
    """Return the script of a seed: of four kinds in turn, each steered towards what some faults need to show."""
    dice = random.Random(f"script {seed}")
    return (_any, _half_way, _ahead, _late)[seed % 4](seed, dice)


def small_script_of(seed: int) -> Script:
    """Return a smaller script with the same faults: fewer wallets, calls and ramps, for many seeds in little time."""
    whole = script_of(seed)
    back = ("ramp 0",) if seed % 8 in (1, 2) else ()
    return replace(
        whole,
        keys=min(whole.keys, 2),
        cold=min(whole.cold, 1),
        clients=min(whole.clients, 2),
        pods=min(whole.pods, 2),
        pause_s=1.5,
        shards=1,
        asks=("ramp 10000", *back, "cutover"),
        strays=min(whole.strays, 2),
        accidents=min(whole.accidents, 4),
    )


def _any(seed: int, dice: random.Random) -> Script:
    """A bit of everything."""
    rough = dice.choice((0.0, 0.004, 0.01, 0.02))

    def some(share: float) -> float:
        return dice.choice((0.0, share, share, 2 * share))

    faults = Faults(
        lost=some(rough),
        unanswered=some(rough),
        late=some(rough),
        throttled=some(rough),
        twice=dice.choice((0.0, 0.05, 0.3)),
        shuffled=dice.choice((0.0, 0.05, 0.3)),
        kills_s=dice.choice((0.0, 20.0, 8.0, 4.0)),
        skew_s=dice.choice((0.0, 0.5, 1.2)),
        flushes_s=dice.choice((0.0, 0.0, 10.0)),
    )
    return Script(
        seed,
        keys=dice.choice((1, 2, 3)),
        cold=dice.choice((0, 1, 2)),
        clients=dice.choice((1, 2, 3)),
        pods=dice.choice((1, 2, 3)),
        pause_s=dice.choice((0.6, 1.2, 2.0)),
        shards=dice.choice((1, 1, 2)),
        asks=dice.choice(WAYS),
        strays=dice.choice((0, 0, 0, 2)),
        accidents=dice.choice((0, 0, 1, 3)),
        outdated=dice.choice((0, 0, 1)),
        faults=faults,
    )


def _half_way(seed: int, dice: random.Random) -> Script:
    """Keys change hands again and again, and handovers stop half way: the target table refuses those of one release,
    whose pods fence, while an activation of another is still on the wire.
    """
    faults = Faults(
        half_way=dice.choice((0.2, 0.4, 0.6)),
        lagging=dice.choice((0.0, 0.5)),
        unanswered=dice.choice((0.0, 0.02)),
        twice=dice.choice((0.0, 0.1)),
        shuffled=dice.choice((0.0, 0.3)),
        kills_s=dice.choice((0.0, 0.0, 8.0)),
        skew_s=dice.choice((0.0, 0.5)),
    )
    return Script(
        seed,
        keys=3,
        clients=4,
        pods=3,
        pause_s=2.0,
        shards=1,
        asks=("ramp 10000", "ramp 0", "ramp 10000", "ramp 0", "cutover"),
        outdated=dice.choice((1, 2)),
        faults=faults,
    )


def _ahead(seed: int, dice: random.Random) -> Script:
    """As before, and strays get ahead of the owner just when its key is handed over."""
    script = _half_way(seed, dice)
    return replace(
        script,
        accidents=12,
        outdated=dice.choice((1, 1, 2)),
        faults=replace(
            script.faults,
            half_way=dice.choice((0.3, 0.5, 0.7)),
            lagging=dice.choice((0.0, 0.2)),
            shuffled=0.0,
            kills_s=0.0,
        ),
    )


def _late(seed: int, dice: random.Random) -> Script:
    """Copies are late, lost and throttled, consumers die, answers go missing, strays delete rows; many retries."""
    faults = Faults(
        lost=dice.choice((0.0, 0.02)),
        unanswered=0.01,
        untold=dice.choice((0.1, 0.3)),
        lagging=dice.choice((0.3, 0.7)),
        throttled=dice.choice((0.02, 0.08)),
        twice=0.3,
        shuffled=dice.choice((0.1, 0.5)),
        kills_s=dice.choice((2.0, 5.0)),
        skew_s=dice.choice((0.0, 1.2)),
        flushes_s=dice.choice((0.0, 8.0)),
    )
    return Script(
        seed,
        keys=dice.choice((1, 2)),
        cold=2,
        clients=3,
        pods=2,
        pause_s=0.8,
        shards=1,
        asks=dice.choice(WAYS[:4]),
        strays=4,
        faults=faults,
    )


def smaller(script: Script) -> Iterator[Script]:
    """Propose scripts with fewer players, rows and asks, the largest step first."""
    for name, least in (("outdated", 0), ("cold", 0), ("keys", 1), ("clients", 1), ("pods", 1), ("shards", 1)):
        value = getattr(script, name)
        if value > least:
            for fewer in sorted({least, value - 1}):
                simpler: dict[str, Any] = {name: fewer}
                yield replace(script, **simpler)
    if script.faults.skew_s:
        yield replace(script, faults=replace(script.faults, skew_s=0.0))
    for number in range(len(script.asks)):
        asks = script.asks[:number] + script.asks[number + 1 :]
        if asks and asks[0].startswith("ramp"):  # nothing else is possible in BOTH_WAYS
            yield replace(script, asks=asks)
