"""A whole migration while the controller's clock jumps and its process dies: no proof is skipped, and it ends.

The oracle is AWS's clock, which the controller never sees but in commit times and in `Date`.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller_world import Killed, Town, start_again
from crossfade.core.values.shape import Side
from engagement_migration.samples import legacy_wallet
from property_examples import examples

STORY: list[tuple[str, dict[str, Any]]] = [
    ("start", {"exclude": []}),
    ("ramp", {"share": 5_000}),
    ("ramp", {"share": 10_000}),
    ("cutover", {}),
    ("complete", {"confirm": "engagement", "revoked": True}),
]
FORWARD = {"CAPTURING", "SNAPSHOT", "CATCHING_UP", "BOTH_WAYS", "RAMPING", "CUT_OVER", "BAKING", "COMPLETE"}
SETTLING_S = 5.0
TICKS = 1_500


class Watched(Town):
    """A town that notes AWS's time and the controller's skew at each journal entry, and kills at some."""

    def __init__(self, kills: set[int], skew_s: float, pass_every_s: float) -> None:
        super().__init__(settling_s=SETTLING_S, sweep_page=50, gate_quiet_s=2, gate_skew_s=skew_s)
        self.kills = set(kills)
        self.pass_began_s, self.pass_every_s = self.now_s, pass_every_s
        self.noted: dict[int, tuple[float, float, float]] = {}
        self.kill = self._at_entry

    def _at_entry(self, when: str, number: int, _kind: str) -> None:
        if when == "before" and number in self.kills:
            self.kills.remove(number)
            raise Killed
        if when == "after":
            self.noted[number] = (self.now_s, self.ahead_s, self.pass_began_s)

    def verify(self) -> None:
        """Let the verifier begin a pass now and then; each is clean and over at once."""
        if self.now_s - self.pass_began_s >= self.pass_every_s:
            self.pass_began_s = self.now_s
        self.parity = self.parity._replace(clean_pass_age_s=0.0, clean_pass_began_s=self.now_s - self.pass_began_s)


async def lived(town: Watched, jumps: dict[int, float]) -> None:
    """Run the whole story; set the clock at some ticks, and right at the end."""
    _, driver = await start_again(town)
    story, asked, opened = list(STORY), -1, False
    for tick in range(TICKS):
        if tick == max(jumps, default=0) + 20:
            town.ahead_s = 0.0
        town.ahead_s = jumps.get(tick, town.ahead_s)
        if asked < 0 or town.outcome(asked) is not None:
            if not story:
                return
            verb, arguments = story.pop(0)
            asked = await town.ask(verb, **arguments)
        opened = opened or town.flags.current().dual_write
        if not opened:  # pods of the old release create wallets
            town.tables[Side.SOURCE].put(legacy_wallet(f"client-{tick}", "chan", tick))
        await town.live()
        town.verify()
        try:
            await driver.tick()
        except Killed:
            _, driver = await start_again(town)
    raise AssertionError(f"no end after {TICKS} ticks; it is waiting for: {driver.waiting_for}")


def check(town: Watched) -> None:
    """No proof was skipped, by AWS's clock."""
    steps = {each.body["step"]: each for each in town.entries("step")}
    flows_us, settled_us = steps["capture"].body["flows_us"], steps["settled"].body["moment_us"]
    assert settled_us - flows_us >= SETTLING_S * 1e6
    assert flows_us < steps["export"].body["at_s"] * 1_000_000 <= settled_us
    entered = {each.body["to"]: each for each in town.entries("phase")}
    for phase in FORWARD:
        assert all(gate["open"] for gate in entered[phase].body["gates"]), entered[phase].body
        assert abs(town.noted[entered[phase].number][1]) <= town.settings.gate_skew_s + 1.0, (
            f"{phase}: the clock was off"
        )
    moved = next(each for each in town.entries("step") if each.body["step"] == "all-moved")
    assert moved.body["pass"]["begun_us"] < moved.body["ended_us"] <= town.noted[moved.number][0] * 1e6
    assert town.noted[entered["BAKING"].number][2] * 1e6 >= moved.body["ended_us"], "an older pass counted"
    assert town.owners()[Side.SOURCE] == 0
    source, target = town.balances(Side.SOURCE), town.balances(Side.TARGET)
    assert target == source
    assert len(target) > 10


@pytest.mark.deep
@settings(max_examples=examples(20), deadline=None)
@given(
    jumps=st.dictionaries(
        st.integers(0, 150), st.sampled_from([-600.0, -40.0, -1.5, 0.0, 1.5, 40.0, 600.0]), max_size=6
    ),
    kills=st.sets(st.integers(1, 70), max_size=4),
    skew_s=st.sampled_from([2.0, 1e6]),
    pass_every_s=st.sampled_from([1.7, 7.3, 29.0]),
)
@example(jumps={0: 1.5}, kills=set(), skew_s=2.0, pass_every_s=7.3)
@example(jumps={0: -40.0, 30: 600.0, 60: -600.0}, kills={5, 9, 17}, skew_s=2.0, pass_every_s=7.3)
@example(jumps={17: -600.0}, kills=set(), skew_s=2.0, pass_every_s=1.7)
@example(jumps={each: 600.0 * (each % 7 == 0) for each in range(150)}, kills=set(), skew_s=2.0, pass_every_s=7.3)
@example(jumps={each: 4.0 * each for each in range(300)}, kills={30}, skew_s=1e6, pass_every_s=29.0)
@example(jumps={each: -4.0 * each for each in range(300)}, kills={30}, skew_s=1e6, pass_every_s=29.0)
async def test_no_step_of_the_clock_skips_a_proof_and_the_migration_ends_once_it_is_right(
    jumps: dict[int, float], kills: set[int], skew_s: float, pass_every_s: float
) -> None:
    """With the gate as it is, and with the gate wide open: then nothing but the proofs themselves stands in the way."""
    town = Watched(kills, skew_s, pass_every_s)
    await lived(town, jumps)
    check(town)
