"""The ownership rules, each left out of the real code once: what every check of ownership has to find."""

from __future__ import annotations

from msgspec.structs import replace

from crossfade.core.mapping.interface import Mapping
from crossfade.core.ownership.decisions import Next, State
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.protocol.keyed.fence import Judgement, judge
from crossfade.core.protocol.keyed.item import Item, Role, is_fence, version_of
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Activate, Fence, Operate, Seal, SealAbsent, TakeBack, Write
from crossfade.core.protocol.keyed.writes import Outcome as Took
from crossfade.core.protocol.writing import Applied, Transfer, Verdict
from crossfade.core.values.shape import Side, TableShape
from ownership_exploration import L
from ownership_scenarios import REAL, Code


def copies_role(source: Item, before: Item | None, after: Item) -> Item:
    return after._replace(role=source.role, generation=source.generation)


def replaces_the_row(source: Item, before: Item | None, after: Item) -> Item:
    return after if before is None else after._replace(role=None, generation=0)


def unfenced(transfer: Transfer, item: Item | None, shape: TableShape) -> Judgement:
    if item is None:
        return judge(transfer, item, shape)
    role = item.role or (Role.ACTIVE if shape.side is L else Role.STANDBY)
    judged = judge(transfer, item._replace(role=Role.STANDBY, version=-1), shape)
    assert judged.item is not None
    return Judgement(Verdict.APPLIED, judged.item._replace(role=role))


def generation_not_fenced(write: Write, item: Item | None, shape: TableShape) -> Took:
    lowered = item._replace(generation=-1) if isinstance(write, Activate) and item else item
    return perform(write, lowered, shape)


def version_not_fenced(write: Write, item: Item | None, shape: TableShape) -> Took:
    lowered = item._replace(version=None) if isinstance(write, Activate) and item else item
    return perform(write, lowered, shape)


def recent_set_not_checked(write: Write, item: Item | None, shape: TableShape) -> Took:
    if not isinstance(write, Operate) or item is None:
        return perform(write, item, shape)
    answer = perform(write, item._replace(recent=frozenset()), shape)
    assert answer.item is not None
    return replace(answer, item=answer.item._replace(recent=answer.item.recent | item.recent))


def tombstone_forgets_the_recent_set(write: Write, item: Item | None, shape: TableShape) -> Took:
    answer = perform(write, item, shape)
    if isinstance(answer, Applied) and isinstance(write, Operate) and write.op.verb.deletes:
        return Applied(answer.item._replace(recent=frozenset({write.op.transaction_id})))
    return answer


class WithoutReseal(OwnershipRules):
    def _reseal(self, state: State, source: Side, sealed: Item, version: int) -> Next:
        return self._again(state, "")


class HelpsFromTheHigherVersion(OwnershipRules):
    def helps_from(self, one: Item | None, other: Item | None) -> Item | None:
        if version_of(one) == version_of(other):
            return None
        return one if version_of(one) > version_of(other) else other


class HelpsFromTheFence(OwnershipRules):
    def gives_back(self, top: Item) -> bool:
        return False


class TakesBackBelow(OwnershipRules):
    def _take_back(self, state: State, source: Side, sealed: Item, fence: Item, because: str) -> Next:
        return super()._take_back(state, source, sealed, fence._replace(version=0), because)


def takes_back_blindly(write: Write, item: Item | None, shape: TableShape) -> Took:
    if isinstance(write, TakeBack) and item is not None:
        return perform(write, write.sealed._replace(role=Role.STANDBY), shape)
    return perform(write, item, shape)


def travels(side: Side, before: Item | None, after: Item) -> bool:
    return is_fence(after) or REAL.travels(side, before, after)


def planted(rules: type[OwnershipRules]) -> Code:
    def make(mapping: Mapping, rounds: int) -> OwnershipRules:
        return rules(mapping, rounds=rounds)

    return REAL._replace(rules=make)


GIVE_BACK = {
    "no fence": REAL._replace(stores=lambda write: not isinstance(write, Fence)),
    "help from the fence's image": planted(HelpsFromTheFence),
    "a fence's record is applied": REAL._replace(travels=travels),
    "a blind way back": REAL._replace(perform=takes_back_blindly),
    "back below the other side's version": planted(TakesBackBelow),
}
PLANTED = GIVE_BACK | {
    "transfer copies role": REAL._replace(carried=copies_role),
    "transfer replaces the row": REAL._replace(carried=replaces_the_row),
    "unfenced transfer": REAL._replace(judge=unfenced),
    "tombstones expire": REAL._replace(tombstones_expire=True),
    "no seal": REAL._replace(stores=lambda write: not isinstance(write, Seal | SealAbsent)),
    "generation not fenced": REAL._replace(perform=generation_not_fenced),
    "version not fenced": REAL._replace(perform=version_not_fenced),
    "no re-seal": planted(WithoutReseal),
    "help from the higher version": planted(HelpsFromTheHigherVersion),
    "recent set not checked": REAL._replace(perform=recent_set_not_checked),
    "tombstone forgets the recent set": REAL._replace(perform=tombstone_forgets_the_recent_set),
}
