"""What GET /parity says (`crossfade.contracts.parity`), put together from what the verifier knows now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from crossfade.contracts.parity import (
    BucketReport,
    DifferenceReport,
    HandoverReport,
    LagReport,
    ParityReport,
    PassReport,
    SafeReport,
    SideReport,
    Verdict,
)
from crossfade.core.parity.classes import FINAL, SETTLED, Difference
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade_verifier.lags import Crossings, Unreplicated
from crossfade_verifier.passes import Pass, Passes
from crossfade_verifier.settings import Settings
from crossfade_verifier.sweep import Findings, Stage
from crossfade_verifier.tails import Tail

DIFFERING_SHOWN: Final = 20
HANDOVERS_SHOWN: Final = 20


class Reporter:
    """Puts together what is known now."""

    def __init__(
        self,
        passes: Passes,
        settings: Settings,
        tails: Mapping[Side, Tail],
        crossings: Crossings,
        unreplicated: Mapping[Side, Unreplicated],
        *,
        clock: Clock,
    ) -> None:
        """Take the sources.

        Args:
            passes: what was compared.
            settings: bounds.
            tails: the verifier's reading of both streams.
            crossings: measured times between the tables.
            unreplicated: the first hop, as CloudWatch reports it.
            clock: of the process.
        """
        self._passes, self._settings, self._tails = passes, settings, tails
        self._crossings, self._unreplicated = crossings, unreplicated
        self._clock = clock

    def parity(self) -> ParityReport:
        """Return the whole report."""
        passes, verdict = self._passes, self._verdict()
        last = passes.last.findings if passes.last else None
        over = passes.handovers.older_than(self._settings.handover_bound_s, self._clock.monotonic())
        because = self._why_not(over=len(over))
        clean = self.described(passes.last_clean)
        return ParityReport(
            verdict=verdict[0],
            reason=verdict[1],
            at_us=str(self._clock.wall_us()),
            sides={side.value: _side(side, last) for side in Side},
            buckets=_buckets(last, self._settings.buckets),
            verified=last.book.verified if last else 0,
            left_out=last.left_out if last else 0,
            not_ours_in_target=last.not_ours if last else 0,
            differences=_differences(last),
            lags={side.value: self._lags(side) for side in Side},
            last_pass=self.described(passes.last),
            last_clean_pass=clean,
            last_clean_pass_age_s=clean.age_s if clean else None,
            running_pass=self._running(),
            resting=passes.resting or None,
            in_handover=HandoverReport(
                keys=len(passes.handovers),
                over_bound=len(over),
                bound_s=self._settings.handover_bound_s,
                oldest=[{"key": key.decode(), "age_s": round(age_s, 1)} for key, age_s in over[:HANDOVERS_SHOWN]],
            ),
            because=because,
            safe_to_cut_over=SafeReport(answer=not because, because=because or self._why_safe()),
        )

    def described(self, each: Pass | None) -> PassReport | None:
        """Return one pass; None for none."""
        if each is None:
            return None
        found, now_s = each.findings, self._clock.monotonic()
        took_s = (each.ended_s or now_s) - each.started_s if each.started_s is not None else None
        return PassReport(
            id=each.id,
            state=each.state,
            asked=each.asked,
            clean=each.clean,
            with_repairs=each.repairs > 0,
            repairs=each.repairs,
            age_s=None if each.ended_s is None else round(now_s - each.ended_s, 3),
            started_age_s=None if each.started_s is None else round(now_s - each.started_s, 3),
            took_s=None if took_s is None else round(took_s, 3),
            verified=found.book.verified if found else 0,
            differences={name.value: count for name, count in found.book.by_class.items()} if found else {},
            why=each.why,
        )

    def _verdict(self) -> tuple[Verdict, str]:
        passes = self._passes
        if passes.waiting:
            return "waiting", passes.waiting
        last = passes.last
        if last is None or last.findings is None:
            return "waiting", passes.resting or "the first pass has not finished"
        if last.clean:
            held_out = last.findings.book.by_class.get(Difference.HELD_OUT, 0)
            but = f"; {held_out} are held out" if held_out else ""
            return "clean", f"pass {last.id} verified all {last.findings.book.verified} keys{but}"
        wrong = _wrong(last.findings)
        if wrong:
            return "drift", ", ".join(wrong)
        repaired = [f"{last.repairs} keys were repaired meanwhile"] if last.repairs else []
        return "unsettled", ", ".join(_open(last.findings) + repaired)

    def _why_not(self, *, over: int) -> list[str]:
        passes, settings = self._passes, self._settings
        verdict, reason = self._verdict()
        because = [] if verdict == "clean" else [f"{verdict}: {reason}"]
        clean = passes.last_clean
        if passes.repaired_since_clean:
            because.append(f"{passes.repaired_since_clean} keys were repaired: only a later clean pass counts")
        elif clean is None:
            because.append("there has been no clean pass yet")
        age_s = self._clock.monotonic() - clean.ended_s if clean and clean.ended_s is not None else 0.0
        if age_s > settings.clean_pass_bound_s:
            because.append(f"the last clean pass is {age_s:.0f} s old, bound {settings.clean_pass_bound_s:g} s")
        if over:
            because.append(f"{over} keys have been in handover for more than {settings.handover_bound_s:g} s")
        for side, tail in self._tails.items():
            behind_s = tail.behind_s()
            if behind_s is None:
                because.append(
                    f"the {side.value} stream is not being read: {tail.trouble or 'its first read is under way'}"
                )
            elif behind_s > settings.lag_bound_s:
                because.append(f"the {side.value} stream is read {behind_s:.1f} s late")
            first_hop_s = self._unreplicated[side].age_s
            if first_hop_s is not None and first_hop_s > settings.lag_bound_s:
                because.append(f"the {side.value} table's oldest unreplicated record is {first_hop_s:.1f} s old")
        return because

    def _why_safe(self) -> list[str]:
        clean = self._passes.last_clean
        if clean is None or clean.ended_s is None:
            return []
        return [
            f"pass {clean.id} was clean {self._clock.monotonic() - clean.ended_s:.1f} s ago, without repairs",
            "both streams are read to their tips",
            f"no key has been in handover for more than {self._settings.handover_bound_s:g} s",
        ]

    def _lags(self, side: Side) -> LagReport:
        tail, hop = self._tails[side], self._unreplicated[side]
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

    def _running(self) -> PassReport | None:
        running = self._passes.running
        described = self.described(running)
        if running is None or running.findings is None or described is None:
            return None
        found, last = running.findings, self._passes.last
        return msgspec.structs.replace(
            described,
            stage=found.stage.value,
            scanned={side.value: count for side, count in found.scanned.items()},
            following=self._passes.followed(),
            percent=_percent(found, last.findings if last else None),
        )


def _side(side: Side, found: Findings | None) -> SideReport:
    if found is None:
        return SideReport()
    return SideReport(
        items=found.digests[side].count,
        digest=f"{found.digests[side].total:032x}",
        scanned=found.scanned[side],
        belonging=found.belonging[side],
    )


def _buckets(found: Findings | None, count: int) -> BucketReport:
    differing = found.differing if found else []
    return BucketReport(count, len(differing), differing[:DIFFERING_SHOWN])


def _differences(found: Findings | None) -> dict[str, DifferenceReport]:
    return {
        each.value: DifferenceReport(
            count=found.book.by_class.get(each, 0) if found else 0,
            samples=found.samples.get(each, []) if found else [],
        )
        for each in Difference
        if each is not Difference.EQUAL
    }


def _wrong(found: Findings) -> list[str]:
    wrong = [f"{count} {each.value}" for each, count in found.book.by_class.items() if each in FINAL and count]
    if found.not_ours:
        wrong.append(f"{found.not_ours} rows in the target table that don't belong to the migration")
    if found.differing and not wrong:
        wrong.append(f"{len(found.differing)} bucket digests differ")
    return wrong


def _open(found: Findings) -> list[str]:
    return [f"{count} {each.value}" for each, count in found.book.by_class.items() if each not in SETTLED and count]


def _percent(found: Findings, before: Findings | None) -> float | None:
    """By the rows that the pass before scanned; None when there was none."""
    expected = sum(before.scanned.values()) if before else 0
    if found.stage in (Stage.FOLLOWING, Stage.DONE):
        return 100.0
    return round(min(99.0, 100 * sum(found.scanned.values()) / expected), 1) if expected else None
