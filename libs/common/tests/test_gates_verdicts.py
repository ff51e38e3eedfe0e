"""Each gate open and shut, and shut whenever something is unknown."""

from collections.abc import Callable

import pytest

from crossfade.core.migration import gates, keyed
from crossfade.core.migration.evidence import ApiCalls, Bounds, Evidence, Lag, Parity, Pod, Probe, Stray, Strays
from crossfade.core.migration.gates import Gate, pass_since
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.clocks import Quiet, Skew

DOCUMENT = FlagDocument(share=100, target_gen=3)
OTHER = FlagDocument(share=50, target_gen=3)

PODS = (Pod("a", DOCUMENT, True), Pod("b", DOCUMENT, True))
CALLS = ApiCalls(calls=1000, failed=1, p99_ms=40.0, pods=("a", "b"))
GOOD = Evidence(
    forward=Lag(0.0, 1.0),
    reverse=Lag(0.0, 0.2),
    quiet_s=61.0,
    dead_letters=0,
    parity=Parity(reachable=True, clean_pass_age_s=30.0, clean_pass_began_s=40.0),
    strays=Strays(watched=True),
    imprecise_age_s=None,
    precisions={"wallet": "MICROSECOND", "engagement": "MICROSECOND"},
    oldest_unapplied_s=0.0,
    retention_s=168 * 3600.0,
    document=DOCUMENT,
    dual_write=True,
    pods=PODS,
    probe=Probe(proven_s=2.0, writes=10, failed=0, p99_ms=20.0, key="canary"),
    api=CALLS,
    feed={"feed-source": Lag(0.1, 0.2), "feed-target": Lag(0.1, 0.2)},
    skew=Skew(-0.6, 0.41),
    clock="controller-0",
)

Change = Callable[[Evidence], Evidence]


SHUT: list[tuple[Gate, str, Change]] = [
    (gates.forward_lag, "5.0 s behind", lambda e: e._replace(forward=Lag(0.0, 5.0))),
    (gates.forward_lag, "9.0 s behind", lambda e: e._replace(forward=Lag(9.0, 0.0))),
    (gates.forward_lag, "unknown", lambda e: e._replace(forward=Lag(None, 0.0, "no metric"))),
    (gates.forward_lag, "unknown", lambda e: e._replace(forward=Lag(0.0, None, "silent consumer"))),
    (gates.reverse_lag, "7.0 s behind", lambda e: e._replace(reverse=Lag(0.0, 7.0))),
    (gates.reverse_lag, "unknown", lambda e: e._replace(reverse=Lag(None, None))),
    (gates.feed, "feed-target is 6.0 s behind", lambda e: e._replace(feed={**e.feed, "feed-target": Lag(0.0, 6.0)})),
    (gates.feed, "feed-source is 7.0 s behind", lambda e: e._replace(feed={**e.feed, "feed-source": Lag(7.0, 0.0)})),
    (
        gates.feed,
        "feed-target: no living",
        lambda e: e._replace(feed={"feed-target": Lag(0.0, None, "no living consumer")}),
    ),
    (gates.feed, "no consumer of the feed", lambda e: e._replace(feed={})),
    (gates.calls_reported, "1 of 2 pods report no calls: b", lambda e: e._replace(api=CALLS._replace(pods=("a",)))),
    (gates.calls_reported, "2 of 2 pods report no calls: a, b", lambda e: e._replace(api=None)),
    (gates.quiet_window, "59.9 of 60", lambda e: e._replace(quiet_s=59.9)),
    (gates.dead_letters, "1 parked", lambda e: e._replace(dead_letters=1)),
    (gates.dead_letters, "could not be read", lambda e: e._replace(dead_letters=None)),
    (gates.clean_pass, "600 s old", lambda e: e._replace(parity=e.parity._replace(clean_pass_age_s=600.0))),
    (gates.clean_pass, "no clean pass yet", lambda e: e._replace(parity=e.parity._replace(clean_pass_age_s=None))),
    (gates.clean_pass, "doesn't answer", lambda e: e._replace(parity=Parity(detail="refused"))),
    (gates.no_drift, "2 diverged, 1 missing", lambda e: e._replace(parity=drift({"missing": 1, "diverged": 2}))),
    (gates.no_drift, "doesn't answer", lambda e: e._replace(parity=Parity())),
    (gates.no_stray, "59.0 s ago", lambda e: e._replace(strays=Strays(True, 59.0))),
    (gates.no_stray, "59.0 s ago or more: w1 in wallet at 2025", lambda e: e._replace(strays=stray(settled=True))),
    (gates.no_stray, "1 writes outside the protocol", lambda e: e._replace(strays=stray(settled=False))),
    (gates.no_stray, "the first: w1 in wallet at 2025", lambda e: e._replace(strays=stray(settled=False))),
    (gates.no_stray, "merge or discard", lambda e: e._replace(strays=stray(settled=False))),
    (gates.no_stray, "could not be read", lambda e: e._replace(strays=Strays(True, waiting=None))),
    (gates.reverse_proven, "not been seen", lambda e: e._replace(probe=e.probe._replace(proven_s=None))),
    (gates.reverse_proven, "60.0 s ago", lambda e: e._replace(probe=e.probe._replace(proven_s=60.0))),
    (gates.expiry, "expires in 23.0 h", lambda e: e._replace(oldest_unapplied_s=145 * 3600.0)),
    (gates.expiry, "unknown", lambda e: e._replace(retention_s=None)),
    (gates.precision, "wallet", lambda e: e._replace(precisions={**e.precisions, "wallet": "MILLISECOND"})),
    (gates.precision, "engagement", lambda e: e._replace(precisions={**e.precisions, "engagement": ""})),
    (gates.precision, "no stream known", lambda e: e._replace(precisions={})),
    (gates.precision, "somebody changed", lambda e: e._replace(imprecise_age_s=1.0)),
    (gates.heartbeats, "1 of 2 pods", lambda e: e._replace(pods=(PODS[0], Pod("b", OTHER, True)))),
    (gates.heartbeats, "b", lambda e: e._replace(pods=(PODS[0], Pod("b", DOCUMENT, False)))),
    (gates.heartbeats, "0 pods report; at least 1 must", lambda e: e._replace(pods=())),
    (gates.clock_skew, "unknown: no recent answer", lambda e: e._replace(skew=None)),
    (gates.clock_skew, "controller-0 is 2.1 s or more ahead of", lambda e: e._replace(skew=Skew(2.1, 3.2))),
    (
        gates.clock_skew,
        "39.0 s or more behind AWS's, 2 s are allowed: let NTP",
        lambda e: e._replace(skew=Skew(-40.0, -39.0)),
    ),
    (gates.error_rate, "1 of 10 canary", lambda e: e._replace(probe=e.probe._replace(failed=1))),
    (gates.error_rate, "11 of 1000 API", lambda e: e._replace(api=ApiCalls(1000, 11, 1.0))),
    (gates.latency, "canary's writes is 501", lambda e: e._replace(probe=e.probe._replace(p99_ms=501.0))),
    (gates.latency, "API's calls is 251", lambda e: e._replace(api=ApiCalls(1000, 0, 251.0))),
]


NOW_US = 1_764_000_000_000_000


def stray(*, settled: bool) -> Strays:
    """One stray of 59 s ago."""
    named = Stray("forward/stray:1", "w1", "wallet", NOW_US, settled, "Stop the writer.")
    return Strays(True, 59.0, named.at_us, 0 if settled else 1, (named,))


def drift(classes: dict[str, int]) -> Parity:
    return GOOD.parity._replace(drift=classes)


ALL = {gate for gate, _, _ in SHUT}


@pytest.mark.parametrize("gate", sorted(ALL, key=str), ids=lambda gate: str(getattr(gate, "__name__", gate)))
def test_each_gate_is_open_on_good_evidence(gate: Gate) -> None:
    result = gate(GOOD, Bounds())
    assert result.open, result.because
    assert result.name == getattr(gate, "__name__", "")
    assert result.because


@pytest.mark.parametrize(("gate", "because", "change"), SHUT, ids=lambda each: getattr(each, "__name__", str(each)))
def test_each_gate_shuts_and_says_why(gate: Gate, because: str, change: Change) -> None:
    result = gate(change(GOOD), Bounds())
    assert not result.open
    assert because in result.because


HALTING = sorted(KEYED_PHASES.halting.items(), key=lambda each: each[0].value)  # one order in all of xdist's workers


@pytest.mark.parametrize(
    "listed",
    [keyed.CATCHING_UP_GATES, keyed.RAMPING_GATES, *(gates for _, gates in HALTING), keyed.DRAINED_GATES],
    ids=["catching up", "ramping", *(f"halting in {phase.value}" for phase, _ in HALTING), "drained"],
)
def test_every_listed_gate_is_among_those_that_are_shown_to_shut(listed: tuple[Gate, ...]) -> None:
    assert set(listed) <= ALL


def test_section_5_all_gates_before_ramping_are_listed() -> None:
    assert {gate(GOOD, Bounds()).name for gate in keyed.RAMPING_GATES} == {
        "forward_lag",
        "reverse_lag",
        "quiet_window",
        "dead_letters",
        "clean_pass",
        "no_drift",
        "no_stray",
        "reverse_proven",
        "expiry",
        "precision",
        "heartbeats",
        "clock_skew",
        "feed",
        "calls_reported",
    }


def test_rule_12_old_duplicates_do_not_hold_a_gate_shut() -> None:
    """A stray is counted by its commit time: its duplicates that still arrive are as old as it is."""
    evidence = GOOD._replace(strays=Strays(True, 61.0))
    assert gates.no_stray(evidence, Bounds()).open


def test_strays_are_a_halt_in_every_phase_in_which_both_directions_replicate() -> None:
    assert set(KEYED_PHASES.halting) == KEYED_PHASES.replicating
    assert all(gates.no_stray in each for each in KEYED_PHASES.halting.values())


def test_before_dual_write_a_writer_outside_the_protocol_is_no_alarm_and_is_said() -> None:
    verdict = gates.no_stray(GOOD._replace(strays=Strays()), Bounds())
    assert verdict.open
    assert verdict.because == "writers outside the protocol are normal until BOTH_WAYS"


@pytest.mark.parametrize("skew", [Skew(-0.9, 0.2), Skew(0.0, 1.1), Skew(2.0, 3.0), Skew(-3.0, -2.0), Skew(-7.0, 1.0)])
def test_what_whole_seconds_and_the_round_trip_may_explain_is_no_skew(skew: Skew) -> None:
    assert gates.clock_skew(GOOD._replace(skew=skew), Bounds()).open


def test_the_design_s_bounds_are_the_defaults() -> None:
    bounds = Bounds()
    assert (bounds.lag_s, bounds.quiet_s, bounds.clean_pass_s, bounds.expiry_margin_s) == (5, 60, 600, 24 * 3600)


def test_without_api_figures_the_error_rate_says_that_it_knows_the_canary_only() -> None:
    result = gates.error_rate(GOOD._replace(api=None), Bounds())
    assert result.open
    assert "canary only" in result.because


def test_no_calls_are_no_praise() -> None:
    """Nobody called: the gates stay open on the canary's word, and say that it is nobody else's."""
    evidence = GOOD._replace(api=ApiCalls(calls=0, failed=0, p99_ms=None, pods=("a", "b")))
    for gate in (gates.error_rate, gates.latency):
        result = gate(evidence, Bounds())
        assert result.open
        assert "canary only" in result.because
        assert "0 of 0" not in result.because
    assert gates.error_rate(evidence, Bounds()).value["api"] is None


def test_without_a_feed_by_the_operator_s_word_nothing_waits_for_one() -> None:
    result = gates.feed(GOOD._replace(feed={}), Bounds(feed=False))
    assert result.open
    assert "CROSSFADE_GATE_FEED" in result.because


def test_a_clean_pass_counts_after_a_move_only_if_it_began_after_it() -> None:
    results = [gate(GOOD, Bounds()) for gate in (gates.clean_pass, gates.dead_letters)]
    assert [each.open for each in pass_since(results, GOOD.parity.clean_pass_began_s, 41.0, "all keys were moved")] == [
        True,
        True,
    ]
    late = pass_since(results, GOOD.parity.clean_pass_began_s, 39.0, "the last stray")
    assert [each.open for each in late] == [False, True]
    assert late[0].because == "no clean pass has begun and ended since the last stray"
    unknown = pass_since(results, None, 99, "the last stray")
    assert [each.open for each in unknown] == [False, True]


def test_a_quiet_window_starts_over_with_each_disturbance() -> None:
    quiet = Quiet().observe(True, 10.0).observe(True, 50.0)
    assert quiet.lasted_s(70.0) == 60.0
    quiet = quiet.observe(False, 71.0)
    assert quiet.lasted_s(72.0) == 0.0
    assert quiet.observe(True, 80.0).lasted_s(85.0) == 5.0


def test_waiting_for_names_each_shut_gate() -> None:
    results = [gate(GOOD._replace(dead_letters=3, quiet_s=1.0), Bounds()) for gate in keyed.RAMPING_GATES]
    assert gates.waiting_for(results).startswith("quiet_window: ")
    assert "dead_letters: 3 parked" in gates.waiting_for(results)
    assert gates.waiting_for([gate(GOOD, Bounds()) for gate in keyed.RAMPING_GATES]) == ""
