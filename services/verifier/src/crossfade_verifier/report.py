"""What GET /parity says (`crossfade.contracts.parity`), put together from what the verifier knows now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, overload

import msgspec

from crossfade.contracts.parity import (
    BucketReport,
    DifferenceReport,
    HandoverReport,
    InputReport,
    LagReport,
    OwnerReport,
    ParityReport,
    PassList,
    PassReport,
    SafeReport,
    SideReport,
    UnitReport,
    Verdict,
)
from crossfade.contracts.passes import UnitRecord
from crossfade.core.parity.classes import SETTLED, Difference
from crossfade.core.parity.meaning import CURE
from crossfade.core.parity.verdict import Input, Reading, Sense, Wanted, pair_of, wanted, why_not
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade_verifier.called import CalledKeys
from crossfade_verifier.continuous import Continuous
from crossfade_verifier.findings import Findings
from crossfade_verifier.lags import Crossings
from crossfade_verifier.pass_views import Pass, Progress, pod_of
from crossfade_verifier.passes import Passes
from crossfade_verifier.settings import Settings
from crossfade_verifier.tails import Tail
from crossfade_verifier.watch import JOURNAL_EVERY, Watch

DIFFERING_SHOWN: Final = 20
HANDOVERS_SHOWN: Final = 20


class _Digests(NamedTuple):
    """What the digests of one pass say.

    Attributes:
        pass_id: of the pass; empty before the first.
        sides: by the name of the side.
        buckets: which differ.
    """

    pass_id: str
    sides: dict[str, SideReport]
    buckets: BucketReport


class Reporter:
    """Puts together what is known now."""

    def __init__(
        self,
        passes: Passes,
        settings: Settings,
        tails: Mapping[Side, Tail],
        crossings: Crossings,
        watch: Watch,
        *,
        clock: Clock,
        continuous: Continuous | None = None,
    ) -> None:
        """Take the sources.

        Args:
            passes: what was compared.
            settings: bounds.
            tails: the verifier's reading of both streams.
            crossings: measured times between the tables.
            watch: what tables, captures, CloudWatch and journal say.
            clock: of the process.
            continuous: what both streams show.
        """
        self._continuous = continuous
        self._passes, self._settings, self._tails = passes, settings, tails
        self._crossings, self._watch = crossings, watch
        self._needs = wanted(watch.names, bounds_s(settings))
        self._clock = clock
        self._added_up = _Digests("", {side.value: SideReport() for side in Side}, BucketReport(settings.buckets, 0))

    def parity(self) -> ParityReport:
        """Return the whole report. Each source is asked once: some of the answers are put together from many parts."""
        passes, now_s, bound_s = self._passes, self._clock.monotonic(), self._settings.handover_bound_s
        called, last = passes.called, passes.last.findings if passes.last else None
        found: list[Findings | CalledKeys] = [*called, *([last] if last else [])]
        verdict, reason = self._verdict(called)
        over = passes.handovers.older_than(bound_s, now_s)
        readings = self._readings(verdict, reason, over=over)
        because = self._why_not(readings)
        clean = self.described(passes.last_clean)
        return ParityReport(
            verdict=verdict,
            reason=reason,
            at_us=str(self._clock.wall_us()),
            sides=self._digests().sides,
            buckets=self._digests().buckets,
            verified=last.book.verified if last else 0,
            left_out=last.left_out if last else 0,
            not_ours_in_target=max((each.not_ours for each in found), default=0),
            differences=_differences(found, self._settings.samples),
            not_ours=_not_ours(found, self._settings.samples),
            lags={side.value: self._lags(side) for side in Side},
            last_pass=self.described(passes.last),
            last_clean_pass=clean,
            last_clean_pass_age_s=clean.age_s if clean else None,
            running_pass=self.described(passes.running) if passes.progress() else None,
            resting=passes.resting or None,
            in_handover=HandoverReport(
                keys=len(passes.handovers),
                over_bound=over,
                bound_s=bound_s,
                oldest=[
                    {"key": key.decode(), "age_s": round(age_s, 1)}
                    for key, age_s in passes.handovers.oldest(min(over, HANDOVERS_SHOWN), now_s)
                ],
            ),
            because=because,
            safe_to_cut_over=SafeReport(answer=not because, because=because or self._why_safe()),
            continuous=None if self._continuous is None else self._continuous.report(),
            inputs={name_of(each): self._input(readings.get(each), need) for each, need in self._needs.items()},
            owner=self._owner(),
        )

    def _owner(self) -> OwnerReport | None:
        if not self._watch.names.map:
            return None
        view = self._passes.view
        return OwnerReport(view.owner.value, self._watch.names.tables[view.owner], view.epoch, view.is_open, view.why)

    def _digests(self) -> _Digests:
        """Return what the last pass's digests say; of each pass they are added up once."""
        last = self._passes.last
        found, pass_id = (last.findings, last.id) if last else (None, "")
        if self._added_up.pass_id != pass_id:
            differing = found.differing if found else []
            self._added_up = _Digests(
                pass_id,
                {side.value: _side(side, found) for side in Side},
                BucketReport(self._settings.buckets, len(differing), differing[:DIFFERING_SHOWN]),
            )
        return self._added_up

    def passes(self) -> PassList:
        """Return the last passes."""
        running = self._passes.running
        history = [self.described(each) for each in self._passes.history()]
        return PassList(running=self.described(running), passes=history)

    def _input(self, reading: Reading | None, need: Wanted) -> InputReport:
        taken_s = reading.taken_s if reading else None
        return InputReport(
            of=reading.of if reading else None,
            age_s=None if taken_s is None else round(self._clock.monotonic() - taken_s, 3),
            bound_s=need.bound_s,
            trouble=reading.trouble if reading else "",
        )

    @overload
    def described(self, each: Pass) -> PassReport: ...

    @overload
    def described(self, each: Pass | None) -> PassReport | None: ...

    def described(self, each: Pass | None) -> PassReport | None:
        """Return one pass; None for none."""
        if each is None:
            return None
        now_s = self._clock.monotonic()
        took_s = (each.ended_s or now_s) - each.started_s if each.started_s is not None else None
        report = PassReport(
            id=each.id,
            state=each.state,
            asked=each.asked,
            clean=each.clean,
            with_repairs=each.repairs > 0,
            repairs=each.repairs,
            age_s=None if each.ended_s is None else round(now_s - each.ended_s, 3),
            started_age_s=None if each.started_s is None else round(now_s - each.started_s, 3),
            took_s=None if took_s is None else round(took_s, 3),
            verified=each.verified,
            differences=each.classes,
            why=each.why,
            who=each.who,
            begun_us=str(each.record.began_us) if each.record.began_us else None,
            ended_us=str(each.record.ended_us) if each.record.ended_us else None,
            read_units=round(each.read_units, 1),
            read_units_expected=each.record.expected_read_units or None,
            units=each.record.scan_units + each.record.join_units,
        )
        so_far = self._passes.progress() if each is self._passes.running else None
        return report if so_far is None else self._going(report, so_far)

    def _verdict(self, called: Sequence[Findings | CalledKeys]) -> tuple[Verdict, str]:
        passes = self._passes
        reasons = [reason for each in called for reason in _called(each)]
        if reasons:
            stopped = f"; no pass now: {passes.waiting}" if passes.waiting else ""
            return "drift", f"{', '.join(reasons)} so far{stopped}"
        if passes.waiting:
            return "waiting", passes.waiting
        last = passes.last
        if last is None or last.findings is None:
            since = " since the tables were flipped" if passes.turn > 1 else ""
            return "waiting", passes.resting or f"the first pass{since} has not finished"
        if last.clean and last.record.outdated:
            return "unsettled", last.record.outdated
        if last.clean:
            held_out = last.findings.book.by_class.get(Difference.HELD_OUT, 0)
            but = f"; {held_out} are held out" if held_out else ""
            return "clean", f"pass {last.id} verified all {last.findings.book.verified} keys{but}"
        differing = self._digests().buckets.differing
        wrong = _called(last.findings) or ([f"{differing} bucket digests differ"] if differing else [])
        if wrong:
            return "drift", ", ".join(wrong)
        repaired = [f"{last.repairs} keys were repaired meanwhile"] if last.repairs else []
        return "unsettled", ", ".join(_open(last.findings) + repaired)

    def _readings(self, verdict: Verdict, reason: str, *, over: int) -> dict[Input, Reading]:
        """Return what every source says, with when it said so; the watch asks some, the others are asked here."""
        passes, now_s = self._passes, self._clock.monotonic()
        pair, clean, last = pair_of(passes.tables), passes.last_clean, passes.last
        if passes.repaired_since_clean:
            why = f"{passes.repaired_since_clean} keys were repaired: only a later clean pass counts"
        else:
            why = "there has been no clean pass yet"
        overdue = f"{over} keys have been in handover for more than {self._settings.handover_bound_s:g} s"
        seen_s = passes.read_s if passes.running else last.ended_s if last else None
        readings: dict[Input, Reading] = {
            (Sense.PASSES, None): Reading(pair, passes.read_s, () if verdict == "clean" else (f"{verdict}: {reason}",)),
            (Sense.CLEAN, None): Reading(pair, clean.ended_s if clean else None, trouble="" if clean else why),
            (Sense.HANDOVERS, None): Reading(pair, seen_s, (overdue,) if over else ()),
        }
        for side, tail in self._tails.items():
            behind_s = tail.behind_s()
            trouble = (
                "" if behind_s is not None else f"it is not being read: {tail.trouble or 'its first read is under way'}"
            )
            taken_s = None if behind_s is None else now_s - behind_s
            readings[Sense.STREAM, side] = Reading(tail.stream, taken_s, trouble=trouble)
        return readings | self._watch.readings

    def _why_not(self, readings: Mapping[Input, Reading]) -> list[str]:
        found = why_not(self._needs, readings, self._clock.monotonic())
        return [f"{name_of(each)}: {reason}" for each, reasons in found.items() for reason in reasons]

    def _why_safe(self) -> list[str]:
        clean = self._passes.last_clean
        if clean is None or clean.ended_s is None:
            return []
        owner = self._owner()
        between = f"no key has been in handover for more than {self._settings.handover_bound_s:g} s"
        return [
            f"pass {clean.id} was clean {self._clock.monotonic() - clean.ended_s:.1f} s ago, without repairs",
            "both tables answer, and their changes go to the streams that are read to their tips",
            f"{owner.table}, the {owner.side} table, owns all rows, and no flip is under way" if owner else between,
        ]

    def _lags(self, side: Side) -> LagReport:
        tail, hop = self._tails[side], self._watch.unreplicated[side]
        behind_s = tail.behind_s()
        return LagReport(
            table_to_stream_s=hop.age_s,
            table_to_stream_unknown=hop.why or None,
            stream_read_s=None if behind_s is None else round(behind_s, 3),
            stream_read_unknown=None if behind_s is not None else tail.trouble or "its first read is under way",
            records_read=tail.read,
            records_unreadable=tail.unreadable,
            crossing=self._crossings.report(side),
        )

    def one_pass(self, each: Pass) -> PassReport:
        """Return one pass with its parts, of which there may be a thousand."""
        mine = {place: unit.head() for place, unit in each.mine.items()}
        work = [_unit(unit, mine.get((unit.kind, unit.number), unit.head)) for unit in each.units]
        return msgspec.structs.replace(self.described(each), work=work)

    def _going(self, report: PassReport, so_far: Progress) -> PassReport:
        return msgspec.structs.replace(
            report,
            stage=so_far.stage.value,
            scanned={side.value: count for side, count in so_far.scanned.items()},
            following=self._passes.followed(),
            held=self._passes.held(),
            percent=so_far.percent,
            rows_per_s=None if so_far.rows_per_s is None else round(so_far.rows_per_s, 1),
            eta_s=None if so_far.eta_s is None else round(so_far.eta_s, 1),
            units=so_far.units,
            units_done=so_far.units_done,
            pods=so_far.pods,
            trouble=so_far.trouble,
            waiting_rows=so_far.waiting_rows,
        )


def _unit(unit: UnitRecord, head: Mapping[str, Any]) -> UnitReport:
    return UnitReport(
        kind=unit.kind,
        number=unit.number,
        state=unit.state,
        pod=pod_of(unit.holder) if unit.holder else "",
        saved_us=str(unit.saved_us) if unit.saved_us else None,
        scanned=head.get("scanned", {}),
        read_units=head.get("read_units", 0.0),
        following=head.get("following", 0),
        trouble=head.get("trouble", ""),
    )


def name_of(each: Input) -> str:
    """Return how an input is called in reports: "stream of source", "journal"."""
    source, side = each
    return source.value if side is None else f"{source.value} of {side.value}"


def bounds_s(settings: Settings) -> dict[Sense, float]:
    """Return how old an answer of each source may be."""
    # What a pass reads at most before it asks for more, at its own rate, and both segments and follow list at once.
    round_s = 2 * settings.page * (settings.segments + 1) / settings.reads_per_s
    return {
        Sense.PASSES: settings.answer_bound_s + settings.settle_every_s + round_s,
        Sense.CLEAN: settings.clean_pass_bound_s,
        Sense.HANDOVERS: settings.clean_pass_bound_s,
        Sense.MAP: settings.answer_bound_s,
        Sense.JOURNAL: (1 + JOURNAL_EVERY) * settings.answer_bound_s,
        Sense.TABLE: settings.answer_bound_s,
        Sense.CAPTURE: settings.answer_bound_s,
        Sense.FIRST_HOP: 2 * settings.cloudwatch_every_s + settings.answer_bound_s,
        Sense.STREAM: settings.lag_bound_s,
    }


def _side(side: Side, found: Findings | None) -> SideReport:
    if found is None:
        return SideReport()
    return SideReport(
        items=found.digests[side].count,
        digest=f"{found.digests[side].total:032x}",
        scanned=found.scanned[side],
        belonging=found.belonging[side],
        dropped=dict(found.dropped[side]),
    )


def _differences(found: Sequence[Findings | CalledKeys], samples: int) -> dict[str, DifferenceReport]:
    """Of a class, the pass that called most counts: another one may have called the same keys."""
    counts, described = [one.book.by_class for one in found], [one.samples for one in found]  # each is asked once
    return {
        each.value: DifferenceReport(
            count=max((one.get(each, 0) for one in counts), default=0),
            samples=_samples(described, each)[:samples],
            cure=CURE[each],
        )
        for each in Difference
        if each is not Difference.EQUAL
    }


def _not_ours(found: Sequence[Findings | CalledKeys], samples: int) -> DifferenceReport:
    most = max(found, key=lambda each: each.not_ours, default=None)
    keys = most.others[:samples] if most else []
    count = most.not_ours if most else 0
    return DifferenceReport(count, [{"key": key.decode()} for key in keys], "deploy/runbooks/rows-not-ours.md")


def _samples(found: Sequence[Mapping[Difference, list[dict[str, Any]]]], each: Difference) -> list[dict[str, Any]]:
    by_key: dict[str, dict[str, Any]] = {}
    for one in found:
        for sample in one.get(each, ()):
            by_key.setdefault(sample["key"], sample)
    return list(by_key.values())


def _called(found: Findings | CalledKeys) -> list[str]:
    wrong = [f"{count} {each.value}" for each, count in found.drift.items()]
    if found.not_ours:
        wrong.append(f"{found.not_ours} rows in the target table that don't belong to the migration")
    return wrong


def _open(found: Findings) -> list[str]:
    return [f"{count} {each.value}" for each, count in found.book.by_class.items() if each not in SETTLED and count]
