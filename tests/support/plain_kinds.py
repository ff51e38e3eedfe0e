"""Differences to plant in a plain migration, by kind: those of `planted_kinds` that exist where rows carry nothing."""

from __future__ import annotations

from typing import Final, cast

from msgspec import Raw

from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from engagement_migration.samples import legacy_wallet
from plain_world import PlainWorld
from planted_kinds import DIFFERENT as KEYED_DIFFERENT
from planted_kinds import EQUAL as KEYED_EQUAL
from planted_kinds import ROW, Harm, Planted, both, source, target
from verifier_world import World, wallet

KEYED_ONLY: Final = frozenset({"generation", "ids", "events", "row on both active", "version", "unreadable", "TTL"})
"""Kinds of which a plain row has nothing, or which are spelled otherwise there."""

OWN: Final = frozenset({"tombstone content", "tombstone"})
"""Kinds that are planted by another way."""


def plain_filled(rows: int, owner: Side = Side.SOURCE) -> PlainWorld:
    """Return a world of rows that are equal on both sides, each copy with a fence of its owner's last write."""
    world = PlainWorld()
    for number in range(rows):
        row = legacy_wallet(str(number), "c", 13, created_at="2021-03-04T05:06:07.089Z", **ROW)
        key = world.tables[Side.SOURCE].put(row)
        world.copy(key)
    if owner is Side.TARGET:
        world.flip()
        for number in range(rows):
            rewrite(world, wallet(number))
            world.copy(wallet(number))
    return world


def rewrite(world: PlainWorld, key: Key) -> None:
    """Put the owner's row again, as an application does that knows nothing of a fence."""
    table = world.tables[world.owner()]
    image: Image = {name: raw for name, raw in table.images[key].items() if not name.startswith("cf_")}
    table.put(image)


def gone(**changed: bytes) -> Harm:
    """Delete the row, with its tombstone on the standby; then set attributes of that."""

    def harm(world: World, key: Key) -> None:
        plain = cast("PlainWorld", world)
        plain.remove(key)
        plain.copy(key)
        if changed:
            plain.sets(plain.owner().other, key, **{name: Raw(raw) for name, raw in changed.items()})

    return harm


def standby(**changed: bytes | None) -> Harm:
    """Set attributes of the standby's row; None removes one."""

    def harm(world: World, key: Key) -> None:
        plain = cast("PlainWorld", world)
        side = plain.owner().other
        plain.sets(side, key, **{name: None if raw is None else Raw(raw) for name, raw in changed.items()})

    return harm


def owners(**changed: bytes | None) -> Harm:
    """The same of the owner's row, beside the stream: nobody copies it."""

    def harm(world: World, key: Key) -> None:
        plain = cast("PlainWorld", world)
        plain.sets(plain.owner(), key, **{name: None if raw is None else Raw(raw) for name, raw in changed.items()})

    return harm


HIGH: Final = b'{"N":"1806571929600000009"}'

DIFFERENT: Final = [
    *(each for each in KEYED_DIFFERENT if each.kind not in KEYED_ONLY | OWN),
    Planted("TTL", "another, in the target table", target(expires_at=b'{"N":"4102444801"}')),
    Planted("TTL", "another, in the source table", source(expires_at=b'{"N":"4102444801"}')),
    Planted("TTL", "missing, in the target table", target(expires_at=None)),
    Planted("TTL", "missing, in the source table", source(expires_at=None)),
    Planted("tombstone content", "a value is left", gone(tier=b'{"S":"7"}')),
    Planted("tombstone content", "the mark says no", gone(cf_deleted=b'{"BOOL":false}')),
    Planted("fence", "far ahead, over other content", standby(cf_mv=HIGH, tier=b'{"S":"8"}')),
    Planted("fence", "none, and other content", standby(cf_mv=None, tier=b'{"S":"8"}')),
    Planted("fence", "low, and other content", standby(cf_mv=b'{"N":"1"}', tier=b'{"S":"8"}')),
    Planted("mark", "on a row that its owner has", standby(cf_deleted=b'{"BOOL":true}', tier=b'{"S":"8"}')),
    Planted("unreadable", "a fence that is text", standby(cf_mv=b'{"S":"soon"}')),
    Planted("unreadable", "a mark that is text", standby(cf_deleted=b'{"S":"yes"}')),
]

EQUAL: Final = [
    *(each for each in KEYED_EQUAL if each.kind not in KEYED_ONLY | OWN),
    Planted("tombstone", "on the standby", gone()),
    Planted("fence", "none, as imported", standby(cf_mv=None)),
    Planted("fence", "raised by last digits", standby(cf_mv=HIGH)),
    Planted("names of Crossfade's", "on the owner", owners(cf_mv=HIGH, cf_role=b'{"S":"A"}', cf_new=b'{"N":"1"}')),
    Planted("names of Crossfade's", "of an earlier migration", both(source(cf_role=b'{"S":"A"}'), target(cf_gen=HIGH))),
]

KINDS: Final = sorted({each.kind for each in DIFFERENT})
