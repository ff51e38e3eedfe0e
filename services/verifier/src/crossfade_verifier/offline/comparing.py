"""Two exports compared: sum up both, then join what is in the buckets that differ (ADR 0038)."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from crossfade.contracts.offline import OfflineReport, OfflineSide, OfflineVerdict
from crossfade.contracts.parity import BucketReport, DifferenceReport
from crossfade.core.mapping.interface import Mapping
from crossfade.core.parity.classes import Difference
from crossfade.core.parity.meaning import CURE
from crossfade.core.values.errors import ConfigError, SnapshotBroken
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.settings import load_mapping
from crossfade_verifier.offline.crew import Crew, Task
from crossfade_verifier.offline.exports import Place, find
from crossfade_verifier.offline.joining import BEHIND, Joined
from crossfade_verifier.offline.plan import UNIT_ROWS, Plan, default_folder, held, planned
from crossfade_verifier.reading.sums import Sums, differing

PLACE_BYTES: Final = 256 * 1024 * 1024
"""Unpacked rows of both sides that one place of the join is planned to hold."""

BUCKETS_SHOWN: Final = 20

CURES: Final = {
    **{each.value: cure for each, cure in CURE.items()},
    BEHIND: "was it in flight, or is it stuck? One moment can't tell: look the keys up, or compare a later pair",
}
CLASSES: Final = [
    each.value for each in Difference if each not in (Difference.EQUAL, Difference.IN_FLIGHT, Difference.STUCK)
] + [BEHIND]
UNSETTLED: Final = frozenset({BEHIND, Difference.IN_HANDOVER.value})
ACCURACY: Final = (
    "exports are accurate to a minute and not transactionally consistent: under writes, a key that is missing, extra, "
    "behind or in handover may have been in flight. Look it up, or compare a later pair"
)


class Progress(NamedTuple):
    """How far a comparison has come.

    Attributes:
        stage: "summing", "picking" or "joining".
        rows: done in this stage.
        of: rows of this stage.
        rows_per_s: since the stage began or was resumed.
        eta_s: until the stage ends; None while nothing is known.
    """

    stage: str
    rows: int
    of: int
    rows_per_s: float
    eta_s: float | None


def compare_exports(
    mapping: Mapping | str,
    source: str | Path,
    target: str | Path,
    *,
    clock: Clock,
    complete: bool = False,
    workers: int = 1,
    folder: Path | None = None,
    out: Path | None = None,
    samples: int = 10,
    other_moments: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    unit_rows: int = UNIT_ROWS,
) -> OfflineReport:
    """Compare two exports of one moment. It blocks; if it is stopped, the same call goes on where it was.

    Args:
        mapping: the migration's, or its "module:attribute", which several workers need.
        source: the source table's export: a folder or s3://bucket/prefix; see `offline.exports.find`.
        target: the target table's.
        clock: of the process.
        complete: whether the migration is complete, so that a row without a role in the target table owns its key.
        workers: processes.
        folder: for sums and picked rows until it is done; None: one below the system's temporary folder.
        out: file that gets every difference, a JSON object a line.
        samples: keys described of each class.
        other_moments: compare exports of different moments, too.
        unit_rows: rows of a unit of work, as far as data files allow: what a stop may cost.
        progress: called several times a second; an exception that it raises stops the work.

    Raises:
        ConfigError: an export isn't there, or is of another table, kind or moment.
        SnapshotBroken: an export is damaged.
        CrossfadeError: S3 doesn't answer, a worker died, or `progress` said to stop.
    """
    started_s, cpu_s = clock.monotonic(), _cpu_s()
    known = load_mapping(mapping) if isinstance(mapping, str) else mapping
    if workers > 1 and not isinstance(mapping, str):
        raise ConfigError('several workers load the mapping themselves: give it as "module:attribute"')
    places = {Side.SOURCE: find(str(source)), Side.TARGET: find(str(target))}
    warnings = _check(known, places, other_moments=other_moments)
    folder = folder or default_folder(known, str(source), str(target))
    with held(folder):
        plan = planned(known, places, folder, complete=complete, kept=samples, out=out is not None, unit_rows=unit_rows)
        comparison = _Comparison(mapping, plan, workers, progress, clock)
        sums, wanted, joined = comparison.run()
        if out is not None:
            comparison.write_out(out)
    shutil.rmtree(folder)
    return _report(
        plan,
        sums,
        wanted,
        joined,
        warnings,
        out,
        took_s=clock.monotonic() - started_s,
        cpu_s=_cpu_s() - cpu_s,
    )


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _check(mapping: Mapping, places: dict[Side, Place], *, other_moments: bool) -> list[str]:
    """Refuse exports that can't be compared; return what limits the answer."""
    for side, place in places.items():
        wanted, found = mapping.shape(side).table, place.export.table
        if found and found != wanted:
            raise ConfigError(
                f"{place.where} is an export of table {found}; the {side.value} table of mapping {mapping.name} is "
                f"{wanted}. Were source and target swapped?"
            )
    one, other = (places[side].export.at for side in Side)
    if not one or not other:
        return ["a manifest doesn't say of which moment its export is: differences may be changes in between", ACCURACY]
    if one == other:
        return [ACCURACY]
    told = f"the exports are of different moments: source {one}, target {other}"
    if not other_moments:
        raise ConfigError(
            f"{told}. Export both with the same ExportTime, or compare them anyway with --other-moments: what was "
            "written in between then counts as a difference"
        )
    return [f"{told}: what was written in between counts as a difference", ACCURACY]


class _Comparison:
    """The stages of one comparison."""

    def __init__(
        self,
        mapping: Mapping | str,
        plan: Plan,
        workers: int,
        progress: Callable[[Progress], None],
        clock: Clock,
    ) -> None:
        self._plan, self._told, self._clock = plan, progress, clock
        self._crew = Crew(mapping, plan, workers, self._tick)
        self._stage, self._done, self._of, self._here, self._began_s = "", 0, 0, 0, 0.0

    def run(self) -> tuple[dict[Side, Sums], list[int], Joined]:
        """Sum up, pick, join; skip what is done already."""
        plan, folder = self._plan, self._plan.folder
        units = {unit: sum(each.items for each in unit.files) for unit in plan.units}
        self._do(
            "summing",
            {("sum_up", (unit,)): rows for unit, rows in units.items()},
            {("sum_up", (unit,)) for unit in units if (folder / f"sums-{unit.name}").exists()},
        )
        sums = {side: Sums(plan.buckets, plan.kept) for side in Side}
        for unit in units:
            sums[unit.side].plus((folder / f"sums-{unit.name}").read_bytes())
        wanted = differing(sums[Side.SOURCE], sums[Side.TARGET], plan.layout)
        joined = Joined(plan.kept)
        if wanted:
            count = self._places(wanted)
            chosen = frozenset(wanted)
            self._do(
                "picking",
                {("pick", (unit, chosen, count)): rows for unit, rows in units.items()},
                {("pick", (unit, chosen, count)) for unit in units if (folder / f"picked-{unit.name}").exists()},
            )
            expected = sum(units.values()) * len(wanted) // plan.buckets
            self._do(
                "joining",
                {("join", (place,)): expected // count for place in range(count)},
                {("join", (place,)) for place in range(count) if (folder / f"joined-{place}").exists()},
            )
            for place in range(count):
                joined.plus(msgspec.msgpack.decode((folder / f"joined-{place}").read_bytes()))
        joined.verified += _verified_by_sums(sums, joined)
        return sums, wanted, joined

    def _places(self, wanted: Sequence[int]) -> int:
        """Return in how many places the rows of differing buckets are joined; the same number when it goes on."""
        size = sum(place.export.items for place in self._plan.places.values()) * ROW_BYTES
        return 1 + size * len(wanted) // self._plan.buckets // PLACE_BYTES

    def write_out(self, out: Path) -> None:
        """Write all differences into one file."""
        beside = out.with_name(out.name + ".tmp")
        with beside.open("wb") as file:
            for each in sorted(self._plan.folder.glob("joined-*.jsonl")):
                with each.open("rb") as part:
                    shutil.copyfileobj(part, file)
        beside.replace(out)

    def _do(self, stage: str, tasks: dict[Task, int], done: set[Task]) -> None:
        self._stage, self._of = stage, sum(tasks.values())
        self._done = sum(tasks[each] for each in done)
        self._here, self._began_s = 0, self._clock.monotonic()
        self._tick(0)
        self._crew.do([each for each in tasks if each not in done])

    def _tick(self, rows: int) -> None:
        self._here += rows
        took_s = self._clock.monotonic() - self._began_s
        rate = self._here / took_s if took_s > 0 else 0.0
        left = max(0, self._of - self._done - self._here)
        self._told(Progress(self._stage, self._done + self._here, self._of, rate, left / rate if self._here else None))


ROW_BYTES: Final = 1024
"""Of a row in an export, as places are planned; those that turn out larger are joined in several goes."""


def _verified_by_sums(sums: dict[Side, Sums], joined: Joined) -> int:
    """Return the keys that needed no row compared: as many on either side."""
    left = {side: each.belonging - joined.rows[side] for side, each in sums.items()}
    if left[Side.SOURCE] != left[Side.TARGET]:
        raise SnapshotBroken(
            f"buckets whose sums agree hold {left[Side.SOURCE]} rows of the source table and {left[Side.TARGET]} of "
            "the target table: an export changed while it was read; compare again"
        )
    return left[Side.SOURCE]


def _report(
    plan: Plan,
    sums: dict[Side, Sums],
    wanted: Sequence[int],
    joined: Joined,
    warnings: list[str],
    out: Path | None,
    *,
    took_s: float,
    cpu_s: float,
) -> OfflineReport:
    not_ours = sums[Side.TARGET].rows - sums[Side.TARGET].belonging - sums[Side.TARGET].odd_count
    not_ours -= sums[Side.TARGET].nothing
    odd = sum(each.odd_count for each in sums.values())
    verdict, reason = _verdict(joined, not_ours, odd)
    return OfflineReport(
        verdict=verdict,
        reason=reason,
        clean=verdict == "clean",
        sides={side.value: _side(plan.places[side], sums[side]) for side in Side},
        buckets=BucketReport(plan.buckets, len(wanted), list(wanted[:BUCKETS_SHOWN])),
        compared=max(joined.rows.values()),
        verified=joined.verified,
        differences={
            name: DifferenceReport(joined.counts.get(name, 0), joined.samples.get(name, []), CURES[name])
            for name in CLASSES
        },
        not_ours=DifferenceReport(
            not_ours,
            [{"key": key.decode()} for key in sums[Side.TARGET].others],
            "deploy/runbooks/rows-not-ours.md",
        ),
        lines=DifferenceReport(
            odd,
            [
                {"side": side.value, "where": each.where, "cause": each.cause}
                for side in Side
                for each in sums[side].odd
            ],
            "export the table again",
        ),
        warnings=warnings,
        out=None if out is None else str(out),
        took_s=round(took_s, 3),
        cpu_s=round(cpu_s, 3),
    )


def _side(place: Place, sums: Sums) -> OfflineSide:
    return OfflineSide(
        where=place.where,
        table=place.export.table,
        at=place.export.at,
        rows=sums.rows,
        belonging=sums.belonging,
        valued=sums.valued,
        dropped={name: count for name, count in sorted(sums.dropped.items()) if count},
    )


def _verdict(joined: Joined, not_ours: int, odd: int) -> tuple[OfflineVerdict, str]:
    found = {name: count for name, count in joined.counts.items() if name != Difference.HELD_OUT.value}
    told = [f"{count} {name}" for name, count in sorted(found.items())]
    if not_ours:
        told.append(f"{not_ours} rows in the target table that don't belong to the migration")
    if odd:
        told.append(f"{odd} lines that are no rows")
    if not told:
        held_out = joined.counts.get(Difference.HELD_OUT.value, 0)
        but = f"; {held_out} are held out" if held_out else ""
        return "clean", f"all {joined.verified} keys are equal{but}"
    unsettled = not not_ours and not odd and found.keys() <= UNSETTLED
    return "unsettled" if unsettled else "drift", f"{', '.join(told)}; {joined.verified} keys are equal"
