"""Dead letters: what can't be applied is kept with its payload, and let go when it is settled (rules 1, 9 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from crossfade.core import image as wire
from crossfade.core.change import Change
from crossfade.core.errors import ConfigError, PoisonRecord
from crossfade.core.events import decode_events
from crossfade.core.fence import REFUSED, Ruling, Verdict
from crossfade.core.item import EVENTS, FIRST_STAMPED, MV, Item, version_of
from crossfade.core.keys import Key
from crossfade.core.writes import Unfit
from crossfade.ports.control import DeadLetter, DeadLetters, Journal
from crossfade.ports.table import OwnedTable
from replicator.records import Record

log = structlog.get_logger()

CONFLICT: Final = "conflict"
POISON: Final = "poison_record"
UNMAPPABLE: Final = "unmappable"

_REASONS: Final = {
    Verdict.CONFLICT: (CONFLICT, "the standby has this version with another content"),
    Verdict.UNVERSIONED: ("unversioned", "the row there was neither imported nor transferred"),
}


def parks(ruling: Ruling) -> tuple[str, str] | None:
    """Return code and reason of a ruling that parks its transfer; None when it doesn't."""
    if isinstance(ruling, Unfit):
        return REFUSED, f"the table will never take this item: {ruling.because}"
    return _REASONS.get(ruling)


class Place(NamedTuple):
    """Where a record was read.

    Attributes:
        role: the consumer, as in its reports.
        shard_id: the shard.
        sequence_number: within the shard, opaque.
    """

    role: str
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
        reason: for a person.
        version: of the transfer that was refused; None when there is none.
        now_us: wall clock, µs.
    """
    return DeadLetter(
        role=place.role,
        sequence=f"{place.shard_id}:{place.sequence_number}",
        key=change.key if change is not None else Key(b""),
        version=version,
        reason=reason,
        code=code,
        payload=record.data,
        trace=_trace(change),
        at_us=now_us,
    )


def _trace(change: Change | None) -> str:
    raw = None if change is None or change.new is None else change.new.get(EVENTS)
    if raw is None:
        return ""
    try:
        return decode_events(raw)[-1].traceparent
    except (PoisonRecord, IndexError):
        return ""


async def drop_overtaken(letters: DeadLetters, role: str, target: OwnedTable) -> int:
    """Let conflicts go whose key has moved on: the target's version has passed theirs, so the question is settled.

    Args:
        letters: the store.
        role: whose letters.
        target: the table that they could not be applied to.

    Returns:
        How many were let go.
    """
    waiting = [each for each in await letters.all() if each.role == role and each.code == CONFLICT]
    if not waiting:
        return 0
    found = await target.read_many(list({each.key for each in waiting}))
    gone = 0
    for each in waiting:
        if each.version is not None and version_of(found.get(each.key)) > each.version:
            await letters.remove(each)
            gone += 1
    if gone:
        log.info("conflicts overtaken", role=role, letters=gone, left=len(waiting) - gone)
    return gone


def is_overtaken(change: Change, target: Item | None) -> bool:
    """Say whether the target has passed a record that can't be mapped, so that applying it would change nothing.

    Images are whole: a later one holds all that this one would bring, and rule 1 would call this one stale. A record
    without a version is not compared with a stamped target, since what wrote it may have erased the version.

    Args:
        change: the record.
        target: its key's row in the other table.
    """
    if change.new is None:
        return False
    version, passed = 0, version_of(target)
    if MV in change.new:
        try:
            version = wire.number(change.new[MV])
        except PoisonRecord:
            return False
    if version < FIRST_STAMPED:
        return change.committed_us < passed < FIRST_STAMPED
    return passed > version


def name_of(each: DeadLetter) -> str:
    """Return the name by which an operator calls a letter: its role and its place in the stream."""
    return f"{each.role}/{each.sequence}"


async def discard(letters: DeadLetters, journal: Journal, names: Sequence[str], *, execute: bool) -> list[DeadLetter]:
    """Let letters go that will never be applied, by an operator's word, which is kept in the journal.

    Args:
        letters: the store.
        journal: takes each letter with its payload first.
        names: of the letters, see `name_of`.
        execute: do it; otherwise only find them.

    Raises:
        ConfigError: there is no letter of such a name; none was let go.
    """
    found = {name_of(each): each for each in await letters.all()}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ConfigError(f"no dead letter {unknown[0]!r}: `replicator dead-letters list` names them")
    chosen = [found[name] for name in dict.fromkeys(names)]
    for each in chosen if execute else ():
        kept = {"letter": name_of(each), "key": each.key.decode(), "code": each.code, "reason": each.reason}
        await journal.append("note", {"discarded": {**kept, "payload": each.payload.decode(errors="replace")}})
        await letters.remove(each)
    return chosen


class LetterRecord(NamedTuple):
    """A dead letter, read as the record it was."""

    sequence_number: str
    data: bytes


def record_of(each: DeadLetter) -> tuple[str, LetterRecord]:
    """Return shard id and record of a letter; the same letter comes of them again if it fails again."""
    shard_id, _, sequence_number = each.sequence.partition(":")
    return shard_id, LetterRecord(sequence_number, each.payload)
