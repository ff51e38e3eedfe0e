"""The keyed protocol's writes behind the seam's `Acts`: versions are chosen here, conditions stand in the writes."""

from __future__ import annotations

from crossfade.core.protocol.keyed.item import Item, generation_of, is_active, version_of
from crossfade.core.protocol.keyed.versions import lifted_version, seeded
from crossfade.core.protocol.keyed.writes import Activate, Bury, Fence, Lift, Merge, Reinstate, Restore, SealAbsent
from crossfade.core.protocol.seam import Act
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side


class KeyedActs:
    """See `crossfade.core.protocol.seam.Acts`."""

    def lift(
        self, key: Key, seen: int | None, *, now_us: int, before: int = 0, standby: int = 0, complete: bool = False
    ) -> Act:
        """Above both sides; an owner without a version is seeded, as its first own write would."""
        version = lifted_version(seen, before, standby, seeded(now_us))
        return Act(Lift(key, seen, version, complete), version)

    def bury(self, key: Key, standby: Item, *, now_us: int) -> Act:
        """A tombstone one version above; one above a row without a version is seeded, so that what is late is stale."""
        version = seeded(now_us) + 1 if standby.version is None else standby.version + 1
        return Act(Bury(key, standby.version, version), version)

    def restore(self, key: Key, item: Item) -> Act:
        """As S, with its generation and version."""
        return Act(Restore(key, item), version_of(item))

    def reinstate(self, key: Key, item: Item, side: Side, other: Item | None, *, now_us: int) -> Act | None:
        """An owner gets its role back only while the other side is standby, as it stays until this one is activated.

        Its version is a new one: the owner may have been written between the row that is known and the last stray.
        """
        if is_active(item, side):
            if is_active(other, side.other):
                return None
            item = item._replace(version=lifted_version(None, version_of(item), version_of(other), seeded(now_us)))
        return Act(Reinstate(key, item), version_of(item))

    def merge(
        self,
        key: Key,
        owner: Item,
        sets: tuple[tuple[str, bytes], ...],
        removes: tuple[str, ...],
        identity: bytes,
        *,
        now_us: int,
        complete: bool,
    ) -> Act:
        """The identity stays in `cf_recent`."""
        return Act(Merge(key, owner.version, seeded(now_us), identity, sets, removes, complete=complete))

    def stub(self, key: Key, standing: int, *, now_us: int) -> Act:
        """Sealed at the generation."""
        return Act(SealAbsent(key, standing, seeded(now_us)), seeded(now_us) + 1)

    def shut(self, key: Key, owner: Item | None) -> Act:
        """At the owner's odd generation (ADR 0014)."""
        return Act(Fence(key, generation_of(owner)))

    def own_stub(self, key: Key, stub: Item, standing: int) -> Act:
        """Activated with the stub itself, at a generation above it."""
        return Act(Activate(key, stub._replace(generation=standing)), version_of(stub) + 1)
