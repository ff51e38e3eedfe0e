"""Differences to plant, by kind: in several attributes and spellings, at the standby, at the owner, and at both.

A harm changes rows of one key from outside the protocol, in a world whose two sides were equal before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from msgspec import Raw

from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind
from engagement_migration.samples import legacy_wallet
from verifier_world import World, wallet

PREFERENCES: Final = (
    b'{"M":{"list":{"L":[{"S":"a"},{"N":"1"}]},"blob":{"B":"AAE="},"text":{"S":"x"},"sizes":{"NS":["1","20"]}}}'
)
ROW: Final = {
    "tier": Raw(b'{"S":"7"}'),
    "badges": Raw(b'{"SS":["early","loyal"]}'),
    "preferences": Raw(PREFERENCES),
    "expires_at": Raw(b'{"N":"4102444800"}'),
}
OTHER_ID: Final = b'{"BS":["AAECAwQFBgcICQoLDA0ODw=="]}'

Harm: TypeAlias = Callable[[World, Key], None]


class Planted(NamedTuple):
    """One thing to plant.

    Attributes:
        kind: of the difference.
        variant: attribute, spelling and place.
        harm: does it to one key.
        needs: side that must own the key for it to be a difference; None: either.
    """

    kind: str
    variant: str
    harm: Harm
    needs: Side | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.variant}"


def filled(wallets: int, owner: Side = Side.SOURCE) -> World:
    """Return a world of wallets that are equal on both sides."""
    world = World()
    for number in range(wallets):
        row = legacy_wallet(str(number), "c", 12, created_at="2021-03-04T05:06:07.089Z", **ROW)
        world.tables[Side.SOURCE].put(row)
        world.earn(wallet(number), 1)
        world.copy(wallet(number))
        if owner is Side.TARGET:
            world.hand_over(wallet(number), 2)
            world.copy(wallet(number))
    return world


def sets(side: Side, **changed: bytes | None) -> Harm:
    """Set attributes of the row of one side; None removes one."""

    def harm(world: World, key: Key) -> None:
        image = {name: raw for name, raw in world.tables[side].images[key].items() if name not in changed}
        image |= {name: Raw(raw) for name, raw in changed.items() if raw is not None}
        world.tables[side].put(image)

    return harm


def target(**changed: bytes | None) -> Harm:
    return sets(Side.TARGET, **changed)


def source(**changed: bytes | None) -> Harm:
    return sets(Side.SOURCE, **changed)


def both(*harms: Harm) -> Harm:
    """Do one harm after the other."""

    def harm(world: World, key: Key) -> None:
        for each in harms:
            each(world, key)

    return harm


def inner(before: bytes, after: bytes) -> bytes:
    """Return the preferences with another value inside."""
    assert before in PREFERENCES
    return PREFERENCES.replace(before, after)


def removed(side: Side) -> Harm:
    return lambda world, key: world.tables[side].delete(key)


def tombstones(**changed: bytes | None) -> Harm:
    """Delete the wallet, by the protocol, on both sides; then set attributes of the standby's tombstone."""

    def harm(world: World, key: Key) -> None:
        world.operate(key, Kind.DELETE, 0)
        world.copy(key)
        owner = world.owner(key)
        if changed and owner is not None:
            sets(owner.other, **changed)(world, key)

    return harm


TARGET_NAMES: Final = {"balance": "points", "expires_at": "cf_ttl"}
"""Names of attributes in the target table, where they are others."""

VALUES: Final[dict[str, dict[str, tuple[str, bytes | None]]]] = {
    "attribute value": {
        "balance": ("balance", b'{"N":"14"}'),
        "by the 38th digit": ("preferences", inner(b'{"N":"1"}', b'{"N":"1.0000000000000000000000000000000000001"}')),
        "text by a space": ("tier", b'{"S":"7 "}'),
        "text, normalised otherwise": ("tier", '{"S":"e\u0301"}'.encode()),
        "a member of a set": ("badges", b'{"SS":["early","loyal","new"]}'),
        "a name inside a map": ("preferences", inner(b'"text"', b'"Text"')),
    },
    "type N against S": {
        "text": ("tier", b'{"N":"7"}'),
        "number": ("balance", b'{"S":"13"}'),
        "nested": ("preferences", inner(b'{"N":"1"}', b'{"S":"1"}')),
        "sets": ("preferences", inner(b'{"NS":["1","20"]}', b'{"SS":["1","20"]}')),
    },
    "type set against list": {"badges": ("badges", b'{"L":[{"S":"early"},{"S":"loyal"}]}')},
    "missing attribute": {
        "tier": ("tier", None),
        "badges": ("badges", None),
        "nested": ("preferences", inner(b',"text":{"S":"x"}', b"")),
    },
    "extra attribute": {"nested": ("preferences", inner(b'"text"', b'"more":{"BOOL":true},"text"'))},
    "empty string": {
        "tier": ("tier", b'{"S":""}'),
        "nested": ("preferences", inner(b'{"S":"x"}', b'{"S":""}')),
        "against NULL": ("preferences", inner(b'{"S":"x"}', b'{"NULL":true}')),
    },
    "binary": {
        "a bit": ("preferences", inner(b"AAE=", b"AAI=")),
        "shorter": ("preferences", inner(b"AAE=", b"AA==")),
        "as text": ("preferences", inner(b'{"B":"AAE="}', b'{"S":"AAE="}')),
    },
    "nested list": {
        "order": ("preferences", inner(b'{"S":"a"},{"N":"1"}', b'{"N":"1"},{"S":"a"}')),
        "shorter": ("preferences", inner(b'{"S":"a"},{"N":"1"}', b'{"S":"a"}')),
        "longer": ("preferences", inner(b'{"S":"a"},{"N":"1"}', b'{"S":"a"},{"N":"1"},{"N":"1"}')),
        "empty": ("preferences", inner(b'[{"S":"a"},{"N":"1"}]', b"[]")),
    },
}
"""Values that differ from those of `ROW`, by kind and variant: the source's name of the attribute, and its value."""


def _apart(name: str) -> bytes:
    return b'{"N":"77"}' if name == "balance" else b'{"S":"apart"}'


def _placed() -> list[Planted]:
    found = []
    for kind, variants in VALUES.items():
        for variant, (name, value) in variants.items():
            there = TARGET_NAMES.get(name, name)
            places = {
                "in the target table": target(**{there: value}),
                "in the source table": source(**{name: value}),
                "in both, apart": both(source(**{name: value}), target(**{there: _apart(name)})),
            }
            found += [Planted(kind, f"{variant}, {place}", harm) for place, harm in places.items()]
    return found


DIFFERENT: Final = [
    *_placed(),
    Planted("missing attribute", "constant, in the source table", source(wallet_type=None)),
    Planted("missing attribute", "computed, in the target table", target(created_ms=None)),
    Planted("missing attribute", "computed, in the source table", source(created_at=None)),
    Planted("extra attribute", "unknown, in the target table", target(nickname=b'{"S":"zoe"}'), Side.SOURCE),
    Planted("extra attribute", "of the source's names, in the target table", target(balance=b'{"N":"13"}')),
    Planted("computed value", "in the target table", target(created_ms=b'{"N":"1614834367090"}')),
    Planted("computed value", "in the source table", source(created_at=b'{"S":"2021-03-04T05:06:07.090Z"}')),
    Planted(
        "computed value",
        "in both, apart",
        both(source(created_at=b'{"S":"2021-03-04T05:06:08.089Z"}'), target(created_ms=b'{"N":"1614834367090"}')),
    ),
    Planted("constant", "in the source table", source(wallet_type=b'{"S":"ENGAGEMENTS"}')),
    Planted("constant", "of another type, in the source table", source(wallet_type=b'{"B":"AAE="}')),
    Planted("TTL", "another", target(cf_ttl=b'{"N":"4102444801"}'), Side.SOURCE),
    Planted("TTL", "missing", target(cf_ttl=None), Side.SOURCE),
    Planted("TTL", "missing, at the owner", source(expires_at=None), Side.SOURCE),
    Planted("TTL", "of a standby is live", source(expires_at=b'{"N":"4102444800"}'), Side.TARGET),
    Planted("generation", "of a standby above its owner", target(cf_gen=b'{"N":"9"}'), Side.SOURCE),
    Planted("generation", "of a standby in the source table above its owner", source(cf_gen=b'{"N":"8"}'), Side.TARGET),
    Planted("ids", "missing, in the target table", target(cf_recent=None)),
    Planted("ids", "missing, in the source table", source(cf_recent=None)),
    Planted("ids", "another, in the target table", target(cf_recent=OTHER_ID)),
    Planted("ids", "another, in the source table", source(cf_recent=OTHER_ID)),
    Planted("ids", "trimmed, in the target table", target(cf_floor=b'{"B":"AAECAwQFBgcICQoLDA0ODw=="}')),
    Planted("events", "missing, in the target table", target(cf_events=None)),
    Planted("events", "missing, in the source table", source(cf_events=None)),
    Planted("events", "none left, in the target table", target(cf_events=b'{"L":[]}')),
    Planted("events", "of another version, in the target table", target(cf_emv=b'{"N":"7"}')),
    Planted("tombstone content", "a value is left", tombstones(tier=b'{"S":"7"}')),
    Planted("tombstone content", "ids", tombstones(cf_recent=None)),
    Planted("tombstone content", "events", tombstones(cf_events=None)),
    Planted("row on one side", "none in the target table", removed(Side.TARGET)),
    Planted("row on one side", "none in the source table", removed(Side.SOURCE)),
    Planted("row on both active", "in the target table, too", target(cf_role=b'{"S":"A"}'), Side.SOURCE),
    Planted("row on both active", "in the source table, too", source(cf_role=b'{"S":"A"}'), Side.TARGET),
    Planted("version", "in the target table", target(cf_mv=b'{"N":"1806571929600000009"}')),
    Planted("version", "in the source table", source(cf_mv=b'{"N":"1806571929600000009"}')),
    Planted("unreadable", "role, in the target table", target(cf_role=b'{"S":"X"}')),
    Planted("unreadable", "version, in the source table", source(cf_mv=b'{"S":"soon"}')),
]

EQUAL: Final = [
    Planted("number spelled otherwise", "by zeros, in the target table", target(points=b'{"N":"13.00"}')),
    Planted("number spelled otherwise", "by zeros, in the source table", source(balance=b'{"N":"013"}')),
    Planted("number spelled otherwise", "by an exponent", target(points=b'{"N": "1.3E1"}')),
    Planted("number spelled otherwise", "nested", target(preferences=inner(b'{"N":"1"}', b'{"N":"1.0"}'))),
    Planted(
        "number spelled otherwise",
        "in both alike",
        both(target(points=b'{"N":"13.0"}'), source(balance=b'{"N":"13.0"}')),
    ),
    Planted("set order", "in the target table", target(badges=b'{"SS":["loyal","early"]}')),
    Planted("set order", "in the source table", source(badges=b'{"SS":["loyal","early"]}')),
    Planted(
        "set order", "nested, and numbers", target(preferences=inner(b'{"NS":["1","20"]}', b'{"NS": ["2e1", "1.0"]}'))
    ),
    Planted("spaces and escapes", "in the target table", target(tier=b'{ "S" : "\\u0037" }')),
    Planted("spaces and escapes", "in a constant", source(wallet_type=b'{"S": "\\u0045NGAGEMENT"}')),
    Planted(
        "names of a map",
        "in another order",
        target(
            preferences=b'{"M":{"sizes":{"NS":["1","20"]},"text":{"S":"x"},"blob":{"B":"AAE="},"list":{"L":[{"S":"a"},{"N":"1"}]}}}'
        ),
    ),
    Planted("tombstone", "on both sides", tombstones()),
    Planted("value", "in both alike", both(target(tier=b'{"S":"8"}'), source(tier=b'{"S":"8"}'))),
]
"""What is no difference. A value that is wrong on both sides alike is none, either: see the README of the verifier."""

KINDS: Final = sorted({each.kind for each in DIFFERENT})
