"""Units of a comparison: sum up, pick the rows of differing buckets, join them. Each leaves a file when it is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from isal import igzip

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.shape import Side
from crossfade_verifier.offline.exports import blocks, check_lines, unpacked
from crossfade_verifier.offline.joining import Join, Joined
from crossfade_verifier.offline.plan import Plan, Unit, write_whole
from crossfade_verifier.protocols import alone_of, reading_of
from crossfade_verifier.reading.alone import Alone
from crossfade_verifier.reading.plain_alone import PlainAlone
from crossfade_verifier.reading.sums import Sums

BUFFER_BYTES: Final = 32 * 1024 * 1024
"""Picked rows that wait for being written."""

JOIN_BYTES: Final = 64 * 1024 * 1024
"""Rows of one side that are held while a place is joined; a place with more is joined in several goes."""


class Worker:
    """Does units of one plan; one for each process."""

    def __init__(self, mapping: Mapping, plan: Plan, tick: Callable[[int], None]) -> None:
        """Take the plan.

        Args:
            mapping: the migration's.
            plan: of the comparison.
            tick: called with the number of rows read; an exception that it raises stops the work.
        """
        self.plan, self._tick = plan, tick
        self._reading = reading_of(mapping)
        self._join = Join(self._reading, complete=plan.complete, kept=plan.kept)

    @cached_property
    def _alone(self) -> dict[Side, Alone | PlainAlone]:
        plan, reading = self.plan, self._reading
        return {
            side: alone_of(reading, side, plan.layout, buckets=plan.buckets, complete=plan.complete) for side in Side
        }

    def sum_up(self, unit: Unit) -> None:
        """Sum up the rows of a unit."""
        file = self.plan.folder / f"sums-{unit.name}"
        alone, sums = self._alone[unit.side], Sums(self.plan.buckets, self.plan.kept)
        for each in unit.files:
            sums.file, sums.before = each.key, 0
            for block in blocks(self.plan.places[unit.side], each, self.plan.folder):
                before = sums.rows
                alone.add(block, sums)
                self._tick(sums.rows - before)
                sums.before += sums.rows - before
            check_lines(each, sums.before)
        for name in alone.constants:
            sums.dropped[name] += sums.belonging - sums.valued
        write_whole(file, sums.packed())

    def pick(self, unit: Unit, wanted: frozenset[int], places: int) -> None:
        """Write the rows of differing buckets into a file for each place."""
        done = self.plan.folder / f"picked-{unit.name}"
        beside = done.with_suffix(".tmp")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        waiting: dict[int, list[bytes]] = {}
        size = 0
        for each in unit.files:
            for block in blocks(self.plan.places[unit.side], each, self.plan.folder):
                for place, line in self._alone[unit.side].pick(block, wanted, places):
                    waiting.setdefault(place, []).append(line)
                    size += len(line)
                if size > BUFFER_BYTES:
                    _append(beside, waiting)
                    waiting, size = {}, 0
                self._tick(block.count(b"\n"))
        _append(beside, waiting)
        os.replace(beside, done)

    def join(self, place: int) -> None:
        """Join the picked rows of one place."""
        plan = self.plan
        files = {
            side: [plan.folder / f"picked-{unit.name}" / str(place) for unit in plan.units if unit.side is side]
            for side in Side
        }
        files = {side: [each for each in found if each.exists()] for side, found in files.items()}
        lines = {
            side: lambda found=found: (
                line for each in found for block in unpacked(each, each.name, _unseen) for line in block.splitlines()
            )
            for side, found in files.items()
        }
        held = sum(each.stat().st_size for each in files[Side.SOURCE])
        joined = Joined(plan.kept)
        out = plan.folder / f"joined-{place}.jsonl"
        with out.open("wb") if plan.out else open(os.devnull, "wb") as stream:
            goes = 1 + held * RATIO // JOIN_BYTES
            for go in range(goes):
                self._join.run(lines[Side.SOURCE](), lines[Side.TARGET](), go, goes, joined, stream, self._tick)
        write_whole(plan.folder / f"joined-{place}", msgspec.msgpack.encode(joined.packed()))


RATIO: Final = 6
"""Of rows unpacked to rows packed, in picked files, at most as a rule."""


def _append(folder: Path, waiting: dict[int, list[bytes]]) -> None:
    for place, lines in waiting.items():
        with (folder / str(place)).open("ab") as file:
            file.write(igzip.compress(b"\n".join([*lines, b""]), compresslevel=0))


def _unseen(_packed: bytes) -> None:
    return
