"""The rules of the plain protocol, each left out once; and a scope that has to find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from crossfade.core.migration.acts import Wait
from crossfade.core.migration.seen import Decision
from crossfade.core.protocol.plain import fence, late, records
from crossfade.core.protocol.plain.map import OwnerMap, version_at
from crossfade.core.protocol.plain.members import Member as Listed
from crossfade.core.protocol.plain.rows import DELETED, TOMBSTONE, PlainRow, build, owned, same
from crossfade.core.protocol.writing import Transfer, Verdict
from faults_worlds import KEY, Code, Record, Row, decided


def transferred(record: Record) -> Transfer:
    version = version_at(record.at_us)
    if record.new is None:
        return Transfer(KEY, version, {DELETED: TOMBSTONE})
    return Transfer(KEY, version, build(owned(record.new) or PlainRow(), {}))


def applies_old_ones(record: Record, now: OwnerMap) -> records.Decision:
    told = decided(record, now)
    return transferred(record) if told is records.Left.OLD else told


def applies_late_ones(record: Record, now: OwnerMap) -> records.Decision:
    told = decided(record, now)
    return transferred(record) if isinstance(told, records.Late) else told


def takes_a_fence_for_an_echo(record: Record, now: OwnerMap) -> records.Decision:
    told = decided(record, now)
    return records.Left.ECHO if isinstance(told, records.Ask) else told


def takes_a_purge_for_a_stray(record: Record, now: OwnerMap) -> records.Decision:
    told = decided(record, now)
    return records.Stray(KEY, record.at_us) if told is records.Left.TOMBSTONE_REMOVED else told


def takes_the_ttl_for_a_stray(record: Record, now: OwnerMap) -> records.Decision:
    told = decided(record, now)
    return records.Stray(KEY, record.at_us) if isinstance(told, records.Expired) else told


def carries_strays(record: Record, now: OwnerMap) -> records.Decision:
    told = decided(record, now)
    return transferred(record) if isinstance(told, records.Stray) else told


def takes_copies_for_a_broken_hold(record: Record, now: OwnerMap) -> records.Decision:
    for ended in now.intervals[:-1]:
        if ended.owner is record.side and ended.covers(record.at_us) and now.owner is not ended.owner:
            return records.Late(KEY, record.at_us, record.at_us > ended.held_us)
    return decided(record, now)


def never_asks(*args: Any) -> Any:
    judged = fence.judge(*args)
    return Verdict.STALE if judged is fence.Met.ASKS else judged


def compares_content(old: Row, present: Row, floor: int, *, reverse_is_past: bool) -> late.Late:
    """A row that the application has moved on from counts as what was true."""
    content = owned(old)
    if same(content, owned(present)):
        return late.Settled.EQUAL
    return late.CopyToOwner(content)


def settles_nothing(*_args: Any, **_more: Any) -> late.Late:
    return late.Settled.EQUAL


def nobody_is_waited_for(_members: Sequence[Listed], _epoch: int, _signature_s: float) -> Waits:
    yield from ()
    return None


def the_dead_are_forgotten(members: Sequence[Listed], epoch: int, _signature_s: float) -> Waits:
    yield from ()
    return Wait("members", "one") if any(each.is_live and each.acked != epoch for each in members) else None


def equal_is_enough(met: int | None, floor: int, committed_us: int, *, is_same: bool) -> int | None:
    return None if is_same else fence.asked(met, floor, committed_us, is_same=False)


def stays_as_it_is(now: OwnerMap) -> OwnerMap:
    return now


Waits = Decision[Wait | None]
REAL: Final = Code()
PLANTED: Final[dict[str, tuple[Code, str]]] = {
    "records from before the export are applied": (REAL._replace(decide=applies_old_ones), "an old duplicate"),
    "late records are applied": (REAL._replace(decide=applies_late_ones), "a late record"),
    "late records and the pass settle nothing": (REAL._replace(settle=settles_nothing), "a late record"),
    "a raised fence on the owner is an echo": (
        REAL._replace(decide=takes_a_fence_for_an_echo),
        "a row is put back with an old fence",
    ),
    "a purged tombstone is a stray": (REAL._replace(decide=takes_a_purge_for_a_stray), "a flip"),
    "a removal by the TTL is a stray": (REAL._replace(decide=takes_the_ttl_for_a_stray), "the TTL on both sides"),
    "a removal by the TTL crosses as it is": (REAL._replace(expires_on_condition=False), "the TTL on both sides"),
    "a stray is carried over": (REAL._replace(decide=carries_strays), "a stray"),
    "copies right after a flip are a broken hold": (
        REAL._replace(decide=takes_copies_for_a_broken_hold),
        "a flip, near",
    ),
    "a close loser is stale": (REAL._replace(judge=never_asks), "equal commit times"),
    "the fence is ignored": (REAL._replace(puts_blindly=True), "records shuffled and twice"),
    "a delete leaves no tombstone": (REAL._replace(leaves_tombstones=False), "records shuffled and twice"),
    "the first touch overwrites in silence": (REAL._replace(may_replace=lambda *_args: True), "a late record"),
    "an interval has no floor": (
        REAL._replace(floor=lambda now: 1 if now.floor else 0, may_replace=lambda *_args: True),
        "a late record",
    ),
    "the owner is read before the standby": (
        REAL._replace(reads_owner_first=True),
        "equal commit times, and the owner is asked",
    ),
    "members aren't asked": (REAL._replace(waits=nobody_is_waited_for), "a flip"),
    "a member acknowledges with a request on the wire": (REAL._replace(acks_early=True), "a late record"),
    "the dead are not waited for": (REAL._replace(waits=the_dead_are_forgotten), "a worker dies"),
    "a member reads the map before it registers": (REAL._replace(registers_first=False), "a worker joins"),
    "the hold compares nothing": (REAL._replace(compares=False), "a late record"),
    "tombstones stay on the new owner": (REAL._replace(purges=False), "a flip"),
    "the hook takes any epoch": (REAL._replace(hook_checks=False), "two coordinators, and an attempt is given up"),
    "an attempt is given up without a swap": (REAL._replace(taken_back=stays_as_it_is), "two coordinators"),
    "a coordinator swaps what it hasn't seen": (REAL._replace(swaps_blindly=True), "two coordinators"),
    "a hint doesn't wait for reverse": (REAL._replace(hint_waits=False), "a flip"),
    "a late copy overwrites whatever stands there": (REAL._replace(copies_as_read=False), "a late record"),
    "nobody looks for a write between read and late copy": (
        REAL._replace(sees_between=False),
        "changed and changed back before a late copy",
    ),
    "a hint goes by content alone": (REAL._replace(settle=compares_content, hint_waits=False), "a flip"),
    "a hint trusts a row that others changed": (REAL._replace(disturbs=lambda _decision: False), "a stray"),
    "a row that has the content keeps its fence": (REAL._replace(asked=equal_is_enough), "a row is put back as it was"),
    "a flip waits for no pass": (REAL._replace(awaits_the_pass=False), "a record that never comes, and a flip back"),
    "nothing is compared, nor drained": (REAL._replace(drains=False, compares=False), "a flip"),
    "a copy doesn't name the row that was read": (
        REAL._replace(copy_names_the_row=False),
        "equal commit times, and the owner is asked",
    ),
    "the standby's stream is not read past the hold": (REAL._replace(drains_both=False), "a stray"),
}
