"""Applies records that come from a file or from the dead-letter store, through the same rule as the stream's.

A dry run decides and judges but writes nothing: it reads the destination and says what each transfer would become. The
real run asks the table itself, not the marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Mapped
from pathlib import Path
from typing import Any, Final, NamedTuple

from crossfade.adapters.no_marks import NoMarks
from crossfade.contracts.letter import HINT, ROWS, STRAY, DeadLetter
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import WriterProtocol
from crossfade.core.protocol.writing import Answer, Transfer, Unfit, Verdict
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Direction, Side, TableShape
from crossfade.ports.clock import Clock
from crossfade.ports.control import DeadLetters, Parking
from crossfade.ports.sending import Sent
from crossfade.ports.streams import StreamWriter
from crossfade.ports.table import RowTable, TransferTable
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.letters import TWO_ROWS, UNMAPPABLE, LetterRecord, is_overtaken, record_of
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.publisher import FeedPipeline
from crossfade_replicator.records import Decoded, Pipeline, Record, decoded
from crossfade_replicator.sender import Sender
from crossfade_replicator.tally import Tally

BATCH: Final = 500
"""Records of a file applied together."""

LEFT_ALONE: Final = "a stray is never written as it is, because its owner may have moved on: merge or discard it"
"""Why a redrive lets the letter of a stray lie."""

HANDED: Final = "the verifier has handed the key over: the consumer that settles it lets the letter go"


class Sides(NamedTuple):
    """Both tables, for one direction.

    Attributes:
        origin: the table that the records come from.
        destination: the other one, for reads.
        transfers: the other one, for transfers.
    """

    origin: RowTable
    destination: RowTable
    transfers: TransferTable


class DryTransfers:
    """Judges transfers by what the destination holds now, and writes nothing."""

    def __init__(self, destination: RowTable, protocol: WriterProtocol) -> None:
        """Take the destination."""
        self._destination, self._protocol = destination, protocol

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        """See `crossfade.ports.table.TransferTable`."""
        del timeout_s
        found = await self._destination.read_many([transfer.key for transfer in transfers])
        return [self._ruling(transfer, found.get(transfer.key)) for transfer in transfers]

    def _ruling(self, transfer: Transfer, found: Row | None) -> Sent:
        verdict = self._protocol.judge(transfer, found, self._destination.shape)
        shape = self._destination.shape
        if verdict is Verdict.APPLIED and (cause := self._protocol.unfit_transfer(transfer, shape, standing=found)):
            return Unfit(cause)
        return verdict


class DrySource:
    """Answers an intervention's writes by what the origin holds now, and writes nothing."""

    def __init__(self, origin: RowTable, protocol: WriterProtocol) -> None:
        """Take the origin."""
        self._origin, self._protocol = origin, protocol

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        return self._origin.shape

    async def perform(self, write: Any) -> Answer[Row]:
        """Say what a write would do."""
        return self._protocol.after(write, await self._origin.read(write.key), self._origin.shape)


class Kept:
    """Takes the letters of one run: what becomes of them is the caller's to say.

    Attributes:
        letters: in the order in which they were parked.
    """

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    async def park(self, letter: DeadLetter) -> None:
        """See `crossfade.ports.control.Parking`."""
        self.letters.append(letter)


class DryPublisher:
    """Takes every event and publishes none."""

    async def put_records(self, stream: str, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        """See `crossfade.ports.streams.StreamWriter`."""
        del stream
        return [True] * len(records)


def records_of(path: Path) -> Iterator[LetterRecord]:
    """Read a file of change records, one JSON document a line; the line number stands for the sequence number.

    Raises:
        ConfigError: the file can't be read.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield LetterRecord(str(number), line.strip())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def apply_pipeline(
    mapping: Mapping,
    direction: Direction,
    sides: Sides,
    letters: Parking,
    *,
    clock: Clock,
    execute: bool,
    strays_since_us: int = 0,
) -> ApplyPipeline:
    """Return the apply path for records that don't come from a stream.

    Args:
        mapping: of the migration.
        direction: which way.
        sides: both tables.
        letters: where records are parked.
        clock: of the process.
        execute: write; otherwise only judge.
        strays_since_us: commit time from which writers outside the protocol are strays; 0 while they are normal.
    """

    async def since() -> int:
        return strays_since_us

    origin = sides.origin if execute else DrySource(sides.origin, mapping.protocol)
    return ApplyPipeline(
        mapping,
        direction,
        sender=Sender(sides.transfers if execute else DryTransfers(sides.destination, mapping.protocol), clock=clock),
        interventions=Interventions(mapping, direction, origin, sides.destination, letters, clock=clock),
        marks=NoMarks(),
        letters=letters,
        clock=clock,
        use_marks=False,
        strays_since_us=since,
    )


class Parked(NamedTuple):
    """A record that could not be applied.

    Attributes:
        sequence: its place: line, or position in the stream.
        code: for machines.
        reason: for humans.
        key: of the item; empty when unreadable.
    """

    sequence: str
    code: str
    reason: str
    key: str


class Summary(NamedTuple):
    """What became of the records.

    Attributes:
        executed: whether anything was written.
        counts: by outcome.
        parked: those that could not be applied.
    """

    executed: bool
    counts: dict[str, int]
    parked: list[Parked]


async def replay(records: Sequence[Record], pipeline: ApplyPipeline, *, origin: str, execute: bool) -> Summary:
    """Apply records in batches.

    Args:
        records: in the order of the file.
        pipeline: see `apply_pipeline`.
        origin: stands for the shard in parked letters.
        execute: whether the pipeline writes.
    """
    tally, parked, prefix = Tally(), list[Parked](), f"{origin}:"
    for start in range(0, len(records), BATCH):
        outcome = await pipeline.apply(origin, records[start : start + BATCH])
        tally.add(outcome)
        parked += [_parked(each) for each in outcome.parked if each.sequence.startswith(prefix)]
    return Summary(execute, {name: count for name, count in sorted(tally.counts.items()) if count}, parked)


def _parked(each: DeadLetter) -> Parked:
    return Parked(each.sequence, each.code, each.reason, each.key.decode())


class Redriven(NamedTuple):
    """What became of one dead letter.

    Attributes:
        consumer: whose letter.
        sequence: its place in the stream.
        settled: whether it was, or would be, applied or found overtaken, so that it may go.
        counts: by outcome.
        reason: why it stays; empty when it goes.
    """

    consumer: str
    sequence: str
    settled: bool
    counts: dict[str, int]
    reason: str


def left_alone(each: DeadLetter) -> str:
    """Say why a redrive lets a letter lie; empty when it doesn't."""
    if each.code == HINT:
        return HANDED
    if each.code in ROWS:
        return TWO_ROWS
    return LEFT_ALONE if each.code == STRAY else ""


class Redrive:
    """Sends dead letters through the rule once more. Those that are settled leave the store."""

    def __init__(
        self,
        mapping: Mapping,
        tables: Callable[[Side], tuple[RowTable, TransferTable]],
        letters: DeadLetters,
        publisher: StreamWriter,
        feed_stream: str,
        *,
        clock: Clock,
        execute: bool,
        strays_since_us: Mapped[Side, int] = {},
    ) -> None:
        """Put the parts together.

        Args:
            mapping: of the migration.
            tables: returns a side's table for reads and writes, and for transfers.
            letters: the store.
            publisher: where events go.
            feed_stream: the feed stream.
            clock: of the process.
            execute: write, and let settled letters go; otherwise only judge.
            strays_since_us: from which commit time on writers outside the protocol are strays, by side.
        """
        self._mapping = mapping
        self._tables = tables
        self._letters = letters
        self._publisher: StreamWriter = publisher if execute else DryPublisher()
        self._feed_stream = feed_stream
        self._clock = clock
        self._execute = execute
        self._strays_since_us = strays_since_us

    async def run(self) -> list[Redriven]:
        """Redrive all letters, oldest first."""
        return [await self._one(each) for each in await self._letters.all()]

    async def _one(self, each: DeadLetter) -> Redriven:
        if reason := left_alone(each):
            return Redriven(each.consumer, each.sequence, False, {}, reason)
        again = Kept()
        shard_id, kept = record_of(each)
        record: Record = kept
        if not each.consumer.startswith("feed-"):
            record = decoded(kept, self._mapping.shape(Direction(each.consumer).origin).key)
        counted = Counter((await self._pipeline(each.consumer, again).apply(shard_id, [record])).counts)
        left = [letter for letter in again.letters if not letter.settled]
        unmapped = record.change if left and left[0].code == UNMAPPABLE and isinstance(record, Decoded) else None
        if unmapped is not None and await self._is_overtaken(Direction(each.consumer), unmapped):
            left = []
            counted.subtract(("parked",))
            counted["overtaken"] += 1
        strays = [
            *(letter for letter in left if letter.code == STRAY),
            *(letter for letter in again.letters if letter.settled),
        ]
        if strays and len(left) == len([letter for letter in left if letter.code == STRAY]):
            left = []  # it has letters of its own by now, which say what it is
            for stray in strays if self._execute else ():
                await self._letters.park(stray)
        if self._execute and not left:
            await self._letters.remove(each)
        counts = {name: count for name, count in sorted(counted.items()) if count}
        return Redriven(each.consumer, each.sequence, not left, counts, left[0].reason if left else "")

    async def _is_overtaken(self, direction: Direction, change: Change) -> bool:
        destination, _ = self._tables(direction.destination)
        return is_overtaken(change, await destination.read(change.key), self._mapping.protocol.rows())

    def _pipeline(self, consumer: str, letters: Parking) -> Pipeline:
        if consumer.startswith("feed-"):
            return FeedPipeline(
                self._mapping,
                Side(consumer.removeprefix("feed-")),
                publisher=self._publisher,
                stream=self._feed_stream,
                letters=letters,
                clock=self._clock,
            )
        direction = Direction(consumer)
        (origin, _), (destination, transfers) = self._tables(direction.origin), self._tables(direction.destination)
        sides = Sides(origin, destination, transfers)
        return apply_pipeline(
            self._mapping,
            direction,
            sides,
            letters,
            clock=self._clock,
            execute=self._execute,
            strays_since_us=self._strays_since_us.get(direction.origin, 0),
        )
