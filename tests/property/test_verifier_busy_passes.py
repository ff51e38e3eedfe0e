"""Section 6: passes of the real verifier under live traffic, one after the other, in virtual time.

A record in five comes twice, records come in any order, and some later than the bound after which a key counts as
stuck; what is written arrives within the bound. There is no false alarm, and a verifier that is killed in the middle
of a pass finds what one left alone finds.
"""

from __future__ import annotations

import sys

import pytest

from busy_passes import BOUND_S, WALLETS, killed_under_traffic, passes_under_traffic
from crossfade.core.values.shape import Side
from planted_kinds import DIFFERENT
from verifier_world import wallet

PLANTED = [each for each in DIFFERENT if each.needs in (None, Side.SOURCE)]
KILLS = 5


def check(passes: int, seed: int, late: int) -> None:
    told = passes_under_traffic(passes, seed)
    sys.stdout.write(
        f"\n{told.passes} passes, {told.clean} of them clean; records: {dict(told.records)}; {told.listening}\n"
    )
    assert told.alarms == []
    assert told.clean >= passes * 0.8
    assert told.records["twice"] >= 0.15 * told.records["heard"]
    assert told.records["shuffled"] >= late
    assert told.listening.verified >= 0.25 * told.records["heard"]
    assert told.records["late"] >= late, f"too few came later than {BOUND_S} s"


@pytest.mark.parametrize("seed", range(3))
def test_five_passes_under_live_traffic_raise_no_false_alarm(seed: int) -> None:
    check(5, seed, late=50)


@pytest.mark.deep
def test_fifty_passes_under_live_traffic_raise_no_false_alarm() -> None:
    check(50, 7, late=100)


def test_copies_that_take_longer_than_the_bound_are_called() -> None:
    told = passes_under_traffic(3, 0, copy_s=(BOUND_S, 2 * BOUND_S, 3 * BOUND_S))
    assert any("stuck" in alarm for alarm in told.alarms)


def check_killed(seed: int, pods: int, waiting_rows: int = 5000) -> None:
    alone = killed_under_traffic(seed, PLANTED, kills=0)
    killed = killed_under_traffic(seed, PLANTED, kills=KILLS, pods=pods, waiting_rows=waiting_rows)
    sys.stdout.write(f"\nseed {seed}: {killed.scanned / killed.rows:.2f} times the rows, by {killed.lives} verifiers\n")
    assert alone.scanned == alone.rows
    assert killed.lives == KILLS + pods
    assert killed.found == alone.found
    planted = {wallet(number) for number in range(WALLETS, WALLETS + len(PLANTED))}
    assert {key for keys in killed.found.values() for key in keys} == planted
    assert killed.verified == alone.verified == WALLETS
    assert killed.scanned <= 1.2 * killed.rows


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pods", [1, 2])
def test_verifiers_killed_five_times_in_a_pass_find_what_one_left_alone_finds(seed: int, pods: int) -> None:
    check_killed(seed, pods)


@pytest.mark.deep
@pytest.mark.parametrize("seed", [*range(2, 8), *(pytest.param(each, marks=pytest.mark.slow) for each in range(8, 22))])
def test_whenever_they_are_killed(seed: int) -> None:
    check_killed(seed, 1 + seed % 3, waiting_rows=1 if seed % 2 else 5000)
