"""Dead letters: what can't be applied, or was written by no pod, is kept with its payload until somebody has dealt
with it (design.md, section 3, rules 1, 5, 9 and 11; ADR 0016)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
import structlog

from crossfade.contracts.letter import STRAY, DeadLetter
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.events import trace_of
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, TableShape
from crossfade.ports.control import DeadLetters, Journal
from crossfade.ports.sending import REFUSED, NotSent, Sent
from crossfade.ports.table import RowTable
from crossfade_replicator.records import Record

log = structlog.get_logger()

CONFLICT: Final = "conflict"
POISON: Final = "poison_record"
UNMAPPABLE: Final = "unmappable"
UNVERSIONED: Final = "unversioned"

_REASONS: Final[dict[Verdict | NotSent, tuple[str, str]]] = {
    Verdict.CONFLICT: (CONFLICT, "the standby has the same version with different content"),
    Verdict.UNVERSIONED: (UNVERSIONED, "the row there was neither imported nor transferred"),
}


STRAYS: Final = "stray"
"""Stands for the shard in the name of a letter about a stray, which has a name of its own: one write, one letter."""

SETTLED_PAYLOAD_BYTES: Final = 300_000
"""A settled letter is replaced by later ones, so it has to be one item of the store: a larger record is left out."""


def parks(sent: Sent) -> tuple[str, str] | None:
    """Return code and reason of an outcome that parks its transfer; None when it doesn't."""
    if isinstance(sent, Unfit):
        return REFUSED, f"the table will never take this item: {sent.because}"
    return _REASONS.get(sent)


TWO_ROWS: Final = (
    "it shows two rows, not one change: write the correct values through the API, and the letter is removed once the "
    "rows agree; or discard it, and the owner's row overwrites the other one"
)
"""Why the letter of a diverged key is neither merged nor redriven."""


class Place(NamedTuple):
    """Where a record was read.

    Attributes:
        consumer: the consumer, as in its reports.
        shard_id: the shard.
        sequence_number: within the shard, opaque.
    """

    consumer: str
    shard_id: str
    sequence_number: str


def letter(
    place: Place,
    record: Record,
    change: Change | None,
    *,
    code: str,
    reason: str,
    version: int | None = None,
    now_us: int,
) -> DeadLetter:
    """Write the letter of a record.

    Args:
        place: where it was read.
        record: with its payload.
        change: decoded; None when that failed.
        code: for machines.
        reason: for humans.
        version: of the transfer that was refused; None when there is none.
        now_us: wall clock, µs.
    """
    return DeadLetter(
        consumer=place.consumer,
        sequence=f"{place.shard_id}:{place.sequence_number}",
        key=change.key if change is not None else Key(b""),
        version=version,
        reason=reason,
        code=code,
        payload=record.data,
        trace=trace_of((change.new if change is not None else None) or {}),
        at_us=now_us,
        table=change.table if change is not None else "",
        committed_us=change.committed_us if change is not None else 0,
    )


def stray_letter(
    consumer: str, data: bytes, change: Change, *, reason: str, cure: str, settled: bool, now_us: int
) -> DeadLetter:
    """Write the letter of a stray.

    Args:
        consumer: the consumer.
        data: the record as it came, both images in it.
        change: decoded.
        reason: what was found, for humans.
        cure: what an operator can do about it.
        settled: it was carried over: then a key has one letter, the latest.
        now_us: wall clock, µs.
    """
    return DeadLetter(
        consumer=consumer,
        sequence=f"{STRAYS}:{sha256(change.key).hexdigest()[:32] if settled else stray_name(change)}",
        key=change.key,
        version=change.version(),
        reason=reason,
        code=STRAY,
        payload=b"" if settled and len(data) > SETTLED_PAYLOAD_BYTES else data,
        trace="",
        at_us=now_us,
        table=change.table,
        committed_us=change.committed_us,
        settled=settled,
        cure=cure,
    )


def stray_name(change: Change) -> str:
    """Return what names one write outside the protocol, wherever and however often its record is read.

    A stream may deliver a record twice, under two sequence numbers; were these two letters, a merge of both would apply
    one write twice. Commit time first, so that the store lists the oldest first.
    """
    told = [change.table, change.key.decode(), change.kind.value, _plain(change.old), _plain(change.new)]
    return f"{change.committed_us:020d}-{sha256(msgspec.json.encode(told)).hexdigest()[:32]}"


def _plain(image: Image | None) -> dict[str, str] | None:
    if image is None:
        return None
    return {name: canonical_value(image[name]).decode() for name in sorted(image)}


SETTLING: Final = (CONFLICT, UNVERSIONED, REFUSED)
"""Letters about a transfer that its row could not take: the row itself answers them. Others need a human decision."""


async def drop_answered(letters: DeadLetters, mapping: Mapping, direction: Direction, destination: RowTable) -> int:
    """Let letters go whose row has all that they would bring: a later version, or theirs with the same content.

    The second is what a repair leaves, which rewrites a row at the version that was in conflict.

    Args:
        letters: the store.
        mapping: of the migration.
        direction: whose letters.
        destination: the table that they could not be applied to.

    Returns:
        How many were removed.
    """
    found = [each for code in SETTLING for each in await letters.all(code=code)]
    waiting = [each for each in found if each.consumer == direction.value and each.version is not None]
    if not waiting:
        return 0
    rows = await destination.read_many(list({each.key for each in waiting}))
    rule, reader = ApplyRule(mapping, direction), mapping.protocol.rows()
    gone = 0
    for each in waiting:
        standing, version = reader.version_of(rows.get(each.key)), each.version or 0
        if standing > version or (
            standing == version and _is_there(each, rule, mapping, rows.get(each.key), destination.shape)
        ):
            await letters.remove(each)
            gone += 1
    if gone:
        log.info("letters answered by their rows", consumer=direction.value, letters=gone, left=len(waiting) - gone)
    return gone


def _is_there(each: DeadLetter, rule: ApplyRule, mapping: Mapping, row: Row | None, shape: TableShape) -> bool:
    """Say whether a row at a letter's version holds what the letter's record would bring."""
    try:
        decision = rule.decide(decode_change(each.payload, mapping.shape(shape.side.other).key))
        return isinstance(decision, Transfer) and mapping.protocol.is_there(decision, row, shape)
    except PoisonRecord:
        return False


def is_overtaken(change: Change, destination: Row | None, rows: RowReader) -> bool:
    """Say whether the destination has passed a record that can't be mapped, so that applying it would change nothing.

    Images are whole: a later one holds all that this one would bring, and rule 1 would call this one stale. A record
    without a version is not compared with a stamped destination, since what wrote it may have erased the version.

    Args:
        change: the record.
        destination: its key's row in the other table.
        rows: reads it.
    """
    if change.new is None:
        return False
    try:
        version, passed = change.version() or 0, rows.version_of(destination)
    except PoisonRecord:
        return False
    if not rows.is_ordered(version):
        return change.committed_us < passed and not rows.is_ordered(passed)
    return passed > version


MANY: Final = 100_000
"""Letters that a tool looks through for a name."""


def name_of(each: DeadLetter) -> str:
    """Return the name by which an operator calls a letter: its consumer and its place in the stream."""
    return f"{each.consumer}/{each.sequence}"


async def chosen(letters: DeadLetters, names: Sequence[str]) -> list[DeadLetter]:
    """Return letters by their names, each once, in the order of the names.

    Raises:
        ConfigError: there is no letter of such a name.
    """
    found = {name_of(each): each for each in [*await letters.settled(limit=MANY), *await letters.all(limit=MANY)]}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ConfigError(f"no dead letter {unknown[0]!r}: `replicator dead-letters list` names them")
    return [found[name] for name in dict.fromkeys(names)]


async def discard(letters: DeadLetters, journal: Journal, names: Sequence[str], *, execute: bool) -> list[DeadLetter]:
    """Let letters go that will never be applied, by an operator's word, which is kept in the journal.

    Args:
        letters: the store.
        journal: takes each letter with its payload first.
        names: of the letters, see `name_of`.
        execute: do it; otherwise only find them.

    Raises:
        ConfigError: there is no letter of such a name; none was removed.
    """
    gone = await chosen(letters, names)
    for each in gone if execute else ():
        kept = {"letter": name_of(each), "key": each.key.decode(), "code": each.code, "reason": each.reason}
        await journal.append("note", {"discarded": {**kept, "payload": each.payload.decode(errors="replace")}})
        await letters.remove(each)
    return gone


class LetterRecord(NamedTuple):
    """A dead letter, read as the record it was."""

    sequence_number: str
    data: bytes


def record_of(each: DeadLetter) -> tuple[str, LetterRecord]:
    """Return shard id and record of a letter; the same letter comes of them again if it fails again."""
    shard_id, _, sequence_number = each.sequence.partition(":")
    return shard_id, LetterRecord(sequence_number, each.payload)
