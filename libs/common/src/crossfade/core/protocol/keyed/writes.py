"""The owner's writes and the handover's writes, as values (design.md, section 4).

A write names its key, what must be true, and what it does; `perform` (`core/protocol/keyed/perform.py`) is its meaning
on an item, and `adapters/owner_requests` renders it as a DynamoDB request with the same meaning. Contract tests hold
the two together.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.writing import Applied, Refused, Unfit
from crossfade.core.values.keys import Key


class Operate(Struct, frozen=True, gc=False):
    """Apply an operation blindly: active, id above the floor and not in the set, set below `soft`, values in bounds.

    `generation` is that of an item which has no role yet: one that the write creates, or a source row that no owner
    write has touched. A role that is there stays, and so does its generation.
    """

    key: Key
    op: Operation
    soft: int
    complete: bool = False
    generation: int = 0


class OperateAndTrim(Struct, frozen=True, gc=False):
    """Apply, trim the id set and raise the floor, if the item is still at version `seen`."""

    key: Key
    op: Operation
    seen: int | None
    kept: frozenset[bytes]
    floor: bytes
    complete: bool = False
    generation: int = 0


class Seal(Struct, frozen=True, gc=False):
    """Give the key up: active and below `generation` -> standby at `generation`, version + 1, TTL moved to cf_ttl.

    `stamped` and `expires` say whether the item last seen had a version and a TTL value. They choose the form that a
    batch takes and never change the meaning: where they are wrong, the write goes alone.
    """

    key: Key
    generation: int
    seed: int
    complete: bool = False
    stamped: bool = True
    expires: bool = False


class SealAbsent(Struct, frozen=True, gc=False):
    """Stand a stub in for a key that never was, if it is still absent; its version is `seed` + 1."""

    key: Key
    generation: int
    seed: int


class Activate(Struct, frozen=True, gc=False):
    """Take the key over with the sealed image, in this table's names, one version above it.

    Condition: standby (or absent), `cf_mv` missing or <= the sealed version, generation below the sealed one.
    """

    key: Key
    sealed: Item
    complete: bool = False


class Reseal(Struct, frozen=True, gc=False):
    """Lift the sealed item to `version`, if it is still standby at `generation` and `sealed_version`."""

    key: Key
    generation: int
    sealed_version: int
    version: int


class Fence(Struct, frozen=True, gc=False):
    """Shut the other side to a handover that it refuses for good: `generation` alone, above the handover's (ADR 0014).

    Condition: standby (or absent) with a lower generation. It has to fit wherever the row stands, so nothing else of a
    row changes; a stub stands in for an absent one. Its change record is an echo and is never applied.
    """

    key: Key
    generation: int
    complete: bool = False


class TakeBack(Struct, frozen=True, gc=False):
    """Make the sealed side active again, at the fence's `generation` and at `version`, which is above both sides.

    Condition: still exactly the sealed image: standby, its generation, its version. The content is what stands there.
    """

    key: Key
    sealed: Item
    generation: int
    version: int


class Lift(Struct, frozen=True, gc=False):
    """Raise an owner's version, with no event, if it is still active at `seen` (None: still without a version)."""

    key: Key
    seen: int | None
    version: int
    complete: bool = False


class Merge(Struct, frozen=True, gc=False):
    """Bring a stray's change to the owner, once and without an event (ADR 0016).

    Condition: active, not deleted, still at `seen` (None: without a version), and `identity` not in `cf_recent`, where
    the write leaves it. An identity lies ahead of all times, so it is never trimmed.
    """

    key: Key
    seen: int | None
    seed: int
    identity: bytes
    sets: tuple[tuple[str, bytes], ...]
    removes: tuple[str, ...]
    complete: bool = False


class Reinstate(Struct, frozen=True, gc=False):
    """Give a row back what a put by a stray erased: role, generation, version, and what `item` remembers (ADR 0016).

    What the stray wrote stays. Condition: the row is there and has neither role nor generation nor version. A row that
    becomes standby has its TTL value moved to cf_ttl, as a seal does.
    """

    key: Key
    item: Item


class Bury(Struct, frozen=True, gc=False):
    """Turn a standby *extra* at version `seen` (None: without a version) into a tombstone at `version`, above it."""

    key: Key
    seen: int | None
    version: int


class Restore(Struct, frozen=True, gc=False):
    """Put back a standby row that a raw REMOVE took, as S with its generation and version, if it is still absent."""

    key: Key
    item: Item


Write: TypeAlias = (
    Operate
    | OperateAndTrim
    | Seal
    | SealAbsent
    | Activate
    | Reseal
    | Fence
    | TakeBack
    | Lift
    | Merge
    | Reinstate
    | Bury
    | Restore
)


Outcome: TypeAlias = Applied[Item] | Refused[Item]
"""What a write does to an item, as far as the item alone can tell."""

Answer: TypeAlias = Outcome | Unfit
