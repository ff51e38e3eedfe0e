"""The gates: evidence in, verdicts out (design.md, section 5). What is unknown is shut.

Each gate is a function of `Evidence` and `Bounds`; the table of phases says which stand before what. The evidence is
collected by the controller, which journals the verdicts with each transition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from crossfade.core.migration.cures import CURES, UNKNOWN_CURES
from crossfade.core.migration.evidence import Bounds, Evidence, Lag


class GateResult(NamedTuple):
    """One gate's verdict.

    Attributes:
        name: of the gate.
        open: whether it lets the migration pass.
        value: what was measured; None when it is unknown.
        bound: what it was held against.
        because: a sentence for the operator: why it is shut, or what it is content with.
    """

    name: str
    open: bool
    value: Any
    bound: Any
    because: str

    @property
    def cure(self) -> str:
        """What helps; empty while it is open."""
        found = "" if self.open else CURES.get(self.name, "")
        return UNKNOWN_CURES.get(self.name, found) if found and self.value is None else found

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as evidence, and as `status` shows it."""
        return {**self._asdict(), "cure": self.cure}


APPLIERS: Final = ("forward", "reverse")
"""Roles of the members that a flip needs."""

Gate: TypeAlias = Callable[[Evidence, Bounds], GateResult]


def _lag(name: str, lag: Lag, bound_s: float) -> GateResult:
    value = {"unreplicated_s": lag.unreplicated_s, "iterator_s": lag.iterator_s}
    worst_s = lag.worst_s
    if worst_s is None:
        return GateResult(name, False, value, bound_s, f"the lag is unknown: {lag.why or 'nobody measures it'}")
    if worst_s >= bound_s:
        return GateResult(name, False, value, bound_s, f"{worst_s:.1f} s behind; it must be less than {bound_s:g} s")
    return GateResult(name, True, value, bound_s, f"{worst_s:.1f} s behind")


def forward_lag(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Both hops from the source table to the target."""
    return _lag("forward_lag", evidence.forward, bounds.lag_s)


def reverse_lag(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Both hops from the target table to the source table."""
    return _lag("reverse_lag", evidence.reverse, bounds.lag_s)


def feed(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Both consumers of the feed live on all shards and keep up; what they parked shuts `dead_letters`.

    Nothing else waits for the feed, so without this a migration would end with events that were never published.
    """
    bound_s = bounds.lag_s
    if not bounds.feed:
        return GateResult("feed", True, None, None, "off: CROSSFADE_GATE_FEED says that nobody consumes events")
    value = {name: lag.worst_s for name, lag in evidence.feed.items()}
    silent = {name: lag for name, lag in evidence.feed.items() if lag.worst_s is None}
    unknown = [f"{name}: {lag.why or 'no consumer reports'}" for name, lag in silent.items()]
    if unknown or not value:
        return GateResult("feed", False, value, bound_s, "; ".join(unknown) or "no consumer of the feed is known")
    behind = {name: worst_s for name, worst_s in value.items() if worst_s is not None and worst_s >= bound_s}
    if behind:
        named = ", ".join(f"{name} is {worst_s:.1f} s behind" for name, worst_s in behind.items())
        return GateResult("feed", False, value, bound_s, f"{named}; it must be less than {bound_s:g} s")
    return GateResult("feed", True, value, bound_s, "both tables' events keep up")


def quiet_window(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Both lags stayed below their bound for the whole quiet window."""
    quiet_s = evidence.quiet_s
    ok = quiet_s >= bounds.quiet_s
    because = f"both lags have been below {bounds.lag_s:g} s for {quiet_s:.1f} of {bounds.quiet_s:g} s"
    return GateResult("quiet_window", ok, round(quiet_s, 3), bounds.quiet_s, because)


def dead_letters(evidence: Evidence, _bounds: Bounds) -> GateResult:
    """No record needs a human decision."""
    count = evidence.dead_letters
    if count is None:
        return GateResult("dead_letters", False, None, 0, "the dead-letter store could not be read")
    because = "none" if count == 0 else f"{count} parked: look at their reasons, then redrive them"
    return GateResult("dead_letters", count == 0, count, 0, because)


def clean_pass(evidence: Evidence, bounds: Bounds) -> GateResult:
    """The verifier has passed over both tables and found nothing, lately."""
    parity, bound_s = evidence.parity, bounds.clean_pass_s
    age_s = parity.clean_pass_age_s
    if not parity.reachable:
        return GateResult("clean_pass", False, None, bound_s, f"the verifier doesn't answer: {parity.detail}")
    if age_s is None:
        return GateResult("clean_pass", False, None, bound_s, f"no clean pass yet: {parity.detail or 'none finished'}")
    if age_s >= bound_s:
        because = f"the last clean pass is {age_s:.0f} s old; it must be younger than {bound_s:g} s"
        return GateResult("clean_pass", False, age_s, bound_s, because)
    return GateResult("clean_pass", True, age_s, bound_s, f"clean {age_s:.0f} s ago")


def pass_since(results: Sequence[GateResult], began_s: float | None, since_s: float, what: str) -> list[GateResult]:
    """Ask more of `clean_pass`: the pass must have begun after something happened, so that it has seen its effect.

    Args:
        results: verdicts, `clean_pass` among them.
        began_s: since the verifier's last clean pass began; None when there was none.
        since_s: how long ago that something happened.
        what: it was, for the operator.
    """
    if began_s is not None and began_s <= since_s:
        return list(results)
    because = f"no clean pass has begun and ended since {what}"
    return [
        each._replace(open=False, because=because) if each.name == "clean_pass" and each.open else each
        for each in results
    ]


def no_drift(evidence: Evidence, _bounds: Bounds) -> GateResult:
    """The verifier knows of no difference that blocks."""
    parity = evidence.parity
    if not parity.reachable:
        return GateResult("no_drift", False, None, 0, f"the verifier doesn't answer: {parity.detail}")
    found = {name: count for name, count in parity.drift.items() if count}
    named = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    return GateResult("no_drift", not found, found, 0, named or "no blocking difference")


def no_stray(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Nobody writes outside the protocol, and what was written so is dealt with. By commit time: old duplicates keep
    arriving.
    """
    strays, bound_s = evidence.strays, bounds.quiet_s
    if strays.waiting is None:
        return GateResult("no_stray", False, None, bound_s, "the letters of strays could not be read")
    age_s = strays.age_s
    value = {"waiting": strays.waiting, "last_s": None if age_s is None else round(age_s, 3)}
    if strays.waiting:
        first = next((each for each in strays.named if not each.settled), None)
        named = f", the first: {first}" if first else ""
        because = (
            f"{strays.waiting} writes outside the protocol, or keys whose rows differ, need a decision{named}. Stop "
            "the writer; then `replicator dead-letters list`, and merge or discard each"
        )
        return GateResult("no_stray", False, value, bound_s, because)
    if age_s is not None and age_s < bound_s:
        last = max((each for each in strays.named if each.settled), key=lambda each: each.at_us, default=None)
        named = f": {last}" if last else ""
        because = (
            f"a write outside the protocol was committed {age_s:.1f} s ago or more{named}. Stop the writer; the gate "
            f"opens {bound_s:g} s after its last write"
        )
        return GateResult("no_stray", False, value, bound_s, because)
    if not strays.watched:
        return GateResult("no_stray", True, value, bound_s, "writers outside the protocol are normal until BOTH_WAYS")
    because = "none seen" if age_s is None else f"the last one was {age_s:.0f} s ago or more; none needs a decision"
    return GateResult("no_stray", True, value, bound_s, because)


def reverse_proven(evidence: Evidence, bounds: Bounds) -> GateResult:
    """A write of the canary on the target table arrived in the source table."""
    proven_s, bound_s, key = evidence.probe.proven_s, bounds.probe_age_s, evidence.probe.key
    if proven_s is None:
        because = f"canary {key} has not been seen coming back from the target table"
        return GateResult("reverse_proven", False, None, bound_s, because)
    because = f"canary {key} came back {proven_s:.1f} s ago"
    return GateResult("reverse_proven", proven_s < bound_s, round(proven_s, 3), bound_s, because)


def expiry(evidence: Evidence, bounds: Bounds) -> GateResult:
    """The oldest unapplied record is far from being lost to retention."""
    margin_s = bounds.expiry_margin_s
    if evidence.retention_s is None:
        return GateResult("expiry", False, None, margin_s, "the streams' retention is unknown")
    left_s = evidence.retention_s - evidence.oldest_unapplied_s
    because = f"the oldest unapplied record expires in {left_s / 3600:.1f} h; {margin_s / 3600:g} h are needed"
    return GateResult("expiry", left_s >= margin_s, round(left_s), margin_s, because)


def precision(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Both streams carry commit times in µs, and no record without them came lately (rule 6)."""
    wrong = sorted(table for table, found in evidence.precisions.items() if found not in ("MICROSECOND", None))
    value = dict(evidence.precisions)
    if wrong or not value:
        because = f"not MICROSECOND: {', '.join(wrong) or 'no stream known'}"
        return GateResult("precision", False, value, "MICROSECOND", because)
    age_s = evidence.imprecise_age_s
    if age_s is not None and age_s < bounds.quiet_s:
        because = f"a record without µs was committed {age_s:.1f} s ago: somebody changed the precision"
        return GateResult("precision", False, value, "MICROSECOND", because)
    if unasked := sorted(table for table, found in value.items() if found is None):
        because = f"unknown: AWS could not be asked how precise the commit times of {', '.join(unasked)} are"
        return GateResult("precision", False, None, "MICROSECOND", because)
    return GateResult("precision", True, value, "MICROSECOND", "both streams")


def heartbeats(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Every live pod works under the flags in force, and there are pods."""
    if evidence.pods is None:
        return GateResult("heartbeats", False, None, bounds.min_pods, "the heartbeats could not be read")
    wanted = (evidence.document, evidence.dual_write)
    behind = sorted(each.pod for each in evidence.pods if (each.document, each.dual_write) != wanted)
    count = len(evidence.pods)
    value = {"pods": count, "behind": behind}
    if behind:
        because = f"{len(behind)} of {count} pods work under other flags: {', '.join(behind[:5])}"
        return GateResult("heartbeats", False, value, bounds.min_pods, because)
    if count < bounds.min_pods:
        because = f"{count} pods report; at least {bounds.min_pods} must"
        return GateResult("heartbeats", False, value, bounds.min_pods, because)
    return GateResult("heartbeats", True, value, bounds.min_pods, f"all {count} pods are at the flag document")


def calls_reported(evidence: Evidence, _bounds: Bounds) -> GateResult:
    """Every live pod reports its calls: what clients see of a pod that reports none is unknown.

    It stands before each step, and halts nothing: a pod that has just started reports a moment later.
    """
    reporting = set(evidence.api.pods) if evidence.api else set()
    silent = sorted(each.pod for each in evidence.pods or () if each.pod not in reporting)
    if silent:
        because = f"{len(silent)} of {len(evidence.pods or ())} pods report no calls: {', '.join(silent[:5])}"
        return GateResult("calls_reported", False, silent, [], because)
    return GateResult("calls_reported", True, [], [], f"{len(reporting)} pods report")


def error_rate(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Neither the canary's writes nor the API's calls fail too often."""
    probe, api = evidence.probe, evidence.api
    probed = probe.failed / probe.writes if probe.writes else 0.0
    called = api.failed / api.calls if api and api.calls else 0.0
    value = {"probe": round(probed, 4), "api": round(called, 4) if api and api.calls else None}
    bound = {"probe": bounds.probe_errors, "api": bounds.api_errors}
    if probed > bounds.probe_errors:
        because = f"{probe.failed} of {probe.writes} canary writes failed"
        return GateResult("error_rate", False, value, bound, because)
    if api and called > bounds.api_errors:
        return GateResult("error_rate", False, value, bound, f"{api.failed} of {api.calls} API calls failed")
    if api is None:
        said = "canary only: no API pod reports its calls"
    elif not api.calls:
        said = f"canary only: nobody called the {len(api.pods)} API pods lately"
    else:
        said = f"{api.failed} of {api.calls} API calls failed"
    return GateResult("error_rate", True, value, bound, said)


def latency(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Neither the canary's writes nor the API's calls are too slow."""
    probe_ms, api_ms = evidence.probe.p99_ms, evidence.api.p99_ms if evidence.api else None
    value = {"probe_p99_ms": probe_ms, "api_p99_ms": api_ms}
    bound = {"probe_p99_ms": bounds.probe_p99_ms, "api_p99_ms": bounds.api_p99_ms}
    if probe_ms is not None and probe_ms > bounds.probe_p99_ms:
        return GateResult("latency", False, value, bound, f"p99 of the canary's writes is {probe_ms:.0f} ms")
    if api_ms is not None and api_ms > bounds.api_p99_ms:
        return GateResult("latency", False, value, bound, f"p99 of the API's calls is {api_ms:.0f} ms")
    said = "within bounds" if api_ms is not None else "canary only: no API call was timed"
    return GateResult("latency", True, value, bound, said)


def clock_skew(evidence: Evidence, bounds: Bounds) -> GateResult:
    """The controller's wall clock agrees with AWS's, as far as the `Date` of AWS's answers tells (ADR 0019).

    No proof depends on it: what is compared with commit times is one, and durations are monotonic. But versions are
    seeded with it, the journal is dated by it, and a step of it is to be named before its effects puzzle anybody.
    """
    skew, bound_s = evidence.skew, bounds.skew_s
    if skew is None:
        because = (
            "unknown: no recent answer from AWS carried a Date; make sure that nothing between here and AWS removes it"
        )
        return GateResult("clock_skew", False, None, bound_s, because)
    value = {"low_s": round(skew.low_s, 3), "high_s": round(skew.high_s, 3)}
    off_s = skew.surely_s
    if abs(off_s) <= bound_s:
        return GateResult("clock_skew", True, value, bound_s, f"{skew.low_s:+.1f} to {skew.high_s:+.1f} s off AWS's")
    way = "ahead of" if off_s > 0 else "behind"
    because = (
        f"the clock of {evidence.clock or 'the controller'} is {abs(off_s):.1f} s or more {way} AWS's, {bound_s:g} s "
        "are allowed: let NTP set the clock of its node"
    )
    return GateResult("clock_skew", False, value, bound_s, because)


def members(evidence: Evidence, bounds: Bounds) -> GateResult:
    """Both appliers are registered and live, and of none that died may a request still take effect (ADR 0045)."""
    bound_s, found = bounds.signature_s, evidence.members
    if found is None:
        return GateResult("members", False, None, bound_s, "the list of members could not be read")
    value = {each.name: each.duty for each in found if each.is_live}
    missing = [duty for duty in APPLIERS if duty not in value.values()]
    if missing:
        return GateResult("members", False, value, bound_s, f"no live member is registered as {' or '.join(missing)}")
    dead = [each for each in found if not each.is_live and each.left_s(bound_s) > 0]
    if dead:
        left_s = max(each.left_s(bound_s) for each in dead)
        named = ", ".join(f"{each.name} ({each.duty})" for each in dead[:3])
        because = f"{named} died; a request of its last moment may take effect for {left_s:.0f} s more"
        return GateResult("members", False, value, bound_s, because)
    return GateResult("members", True, value, bound_s, f"{len(value)} live")


def shut(results: Sequence[GateResult]) -> list[GateResult]:
    """Return the shut ones."""
    return [each for each in results if not each.open]


def halting(results: Sequence[GateResult], *, halted: bool) -> str:
    """Return what halts a migration, as one line; empty when nothing does.

    A halt needs knowledge: what is unknown holds up the next step, and doesn't halt; nor does it end a halt.

    Args:
        results: of the halting gates.
        halted: whether it has halted already.
    """
    return waiting_for([each for each in results if halted or each.value is not None])


def waiting_for(results: Sequence[GateResult]) -> str:
    """Return the shut gates as one line for the operator, each with its cure; empty when all are open."""
    return "; ".join(told(each) for each in shut(results))


def told(shut_gate: GateResult) -> str:
    """Return a shut gate as text for the operator: name, reason, cure."""
    cure = f" ({shut_gate.cure})" if shut_gate.cure else ""
    return f"{shut_gate.name}: {shut_gate.because}{cure}"
