"""Items and writes that the tests of ownership share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.core.protocol.keyed.item import FIRST_STAMPED, Item, Role
from crossfade.core.protocol.keyed.operation import Content, Operation
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Bury,
    Fence,
    Lift,
    Merge,
    Operate,
    OperateAndTrim,
    Reinstate,
    Reseal,
    Restore,
    Seal,
    SealAbsent,
    TakeBack,
    Write,
)
from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from engagement_api.operations import BALANCE, Kind, points_operation
from engagement_migration import MAPPING

KEY = key_of_strings("USER#7", "POINTS#chan-3")
SEED = FIRST_STAMPED + 700_000_000_000_000_001
"""19 digits, as real ones have: no float holds them."""

NOW_MS = 1_764_230_400_000


def ulid(number: int, age_ms: int = 0) -> bytes:
    """A transaction id made `age_ms` before NOW_MS; the number tells ids of one time apart."""
    return (NOW_MS - age_ms).to_bytes(6, "big") + number.to_bytes(10, "big")


def operation(
    kind: Kind = Kind.EARN, amount: int = 3, *, transaction_id: bytes | None = None, key: Key = KEY, seed: int = SEED
) -> Operation:
    transaction_id = ulid(1) if transaction_id is None else transaction_id
    amount = 0 if kind is Kind.DELETE else amount
    return points_operation(kind, key, transaction_id, amount, seed, reason="cheer")


def counting(name: str, op: Operation) -> Operation:
    """The same operation on another attribute."""
    verb = op.verb
    named: dict[str, Any] = {
        field: tuple(name for _ in getattr(verb, field)) for field in ("adds", "at_least", "at_most")
    }
    return replace(op, verb=verb._replace(**named))


def number(value: int | str) -> bytes:
    return b'{"N":"%b"}' % str(value).encode()


def content(side: Side, balance: int | str | None = 5, **more: bytes) -> tuple[tuple[str, bytes], ...]:
    """Mapped attributes of a live item on a side."""
    fields = dict(MAPPING.shape(side).zero) | more
    if balance is None:
        del fields[MAPPING.shape(side).own(BALANCE)]
    else:
        fields[MAPPING.shape(side).own(BALANCE)] = number(balance)
    return tuple(sorted(fields.items()))


def live(side: Side, *, balance: int | None = 5, **fields: Any) -> Item:
    """A live item; unstamped and without a role unless the fields say otherwise."""
    return Item(content=content(side, balance))._replace(**fields)


def stamped(side: Side, role: Role, generation: int, version: int = SEED, **fields: Any) -> Item:
    """A live item of the protocol."""
    made = live(side, version=version, role=role, generation=generation, recent=frozenset({ulid(90), ulid(91)}))
    return made._replace(events=b'{"L":[]}', event_version=version)._replace(**fields)


def tombstone(role: Role, generation: int, version: int = SEED, **fields: Any) -> Item:
    return Item(version=version, role=role, generation=generation, recent=frozenset({ulid(90)}), deleted=True)._replace(
        **fields
    )


def comparable(item: Item | None) -> Item | None:
    """An item whose values are in canonical form: equal exactly when two items mean the same."""
    if item is None:
        return None
    return item._replace(
        content=tuple((name, canonical_value(raw)) for name, raw in item.content),
        events=canonical_value(item.events) if item.events else b"",
        ttl=canonical_value(item.ttl) if item.ttl else b"",
    )


IDS = [ulid(n, age_ms=n * 100) for n in range(6)]
VERSIONS = [SEED - 1, SEED, SEED + 1, SEED + 2]
GENERATIONS = [1, 2, 3]


def _contents(side: Side) -> st.SearchStrategy[tuple[tuple[str, bytes], ...]]:
    shape = MAPPING.shape(side)
    optional = {
        "tier": b'{"S":"gold"}',
        "badges": b'{"SS":["a","b"]}',
        "preferences": b'{"M":{"x":{"N":"1.5"}}}',
        "seen_by_nobody": b'{"S":"outside the closed list"}',
    }

    def build(balance: int | str | None, names: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
        fields = dict(content(side, balance)) | {name: optional[name] for name in names}
        return tuple(sorted(fields.items()))

    balances = st.one_of(st.none(), st.sampled_from([0, 2, 3, 4, 2**63 - 4, 2**63 - 3, "2.5", 10**30]))
    full = st.builds(build, balances, st.sets(st.sampled_from(sorted(optional))))
    partial = st.builds(lambda pairs: tuple(p for p in pairs if p[0] == shape.own(BALANCE)), full)
    return st.one_of(full, full, partial)


def items(side: Side, contents: st.SearchStrategy[Content] | None = None) -> st.SearchStrategy[Item | None]:
    """Any item that a table may hold, or nothing.

    Args:
        side: of the table.
        contents: what it may hold in mapped attributes; wallets unless given.
    """
    roles = st.sampled_from([None, Role.ACTIVE, Role.ACTIVE, Role.STANDBY])
    made = st.builds(
        Item,
        version=st.one_of(st.none(), st.just(0), st.sampled_from(VERSIONS)),
        role=roles,
        generation=st.sampled_from([0, *GENERATIONS]),
        recent=st.frozensets(st.sampled_from(IDS), max_size=4),
        floor=st.sampled_from([b"", IDS[5], IDS[3]]),
        events=st.sampled_from([b"", b'{"L":[{"M":{"kind":{"S":"earn"}}}]}']),
        event_version=st.sampled_from([0, SEED - 1]),
        deleted=st.booleans(),
        ttl=st.sampled_from([b"", b'{"N":"4102444800"}']),
        content=_contents(side) if contents is None else contents,
    )

    def plausible(item: Item) -> Item:
        if item.role is None:
            item = item._replace(generation=0)
        if item.deleted:
            keep = tuple(pair for pair in item.content if pair[0] == "seen_by_nobody")
            item = item._replace(content=keep, ttl=b"")
        return item

    return st.one_of(st.none(), made.map(plausible), made.map(plausible))


def writes(side: Side, key: Key = KEY) -> st.SearchStrategy[Write]:
    """Any write of the protocol."""
    ops = st.builds(
        lambda kind, amount, id_: operation(kind, amount, transaction_id=id_, key=key),
        st.sampled_from([Kind.EARN, Kind.EARN, Kind.SPEND, Kind.DELETE]),
        st.sampled_from([1, 3]),
        st.sampled_from(IDS),
    )
    complete = st.booleans()
    generation = st.sampled_from(GENERATIONS)
    version = st.sampled_from(VERSIONS)
    seen = st.one_of(st.none(), version)
    sealed = items(side).map(
        lambda item: (item or tombstone(Role.STANDBY, 2))._replace(role=Role.STANDBY, generation=2, version=SEED)
    )
    return st.one_of(
        st.builds(Operate, st.just(key), ops, st.sampled_from([2, 32]), complete, generation),
        st.builds(
            OperateAndTrim,
            st.just(key),
            ops,
            seen,
            st.frozensets(st.sampled_from(IDS), max_size=2),
            st.sampled_from([b"", IDS[4]]),
            complete,
            generation,
        ),
        st.builds(Seal, st.just(key), generation, st.just(SEED), complete, st.booleans(), st.booleans()),
        st.builds(SealAbsent, st.just(key), generation, st.just(SEED)),
        st.builds(Activate, st.just(key), sealed, complete),
        st.builds(Reseal, st.just(key), generation, version, st.just(SEED + 5)),
        st.builds(Fence, st.just(key), generation, complete),
        st.builds(TakeBack, st.just(key), sealed, st.just(3), st.just(SEED + 5)),
        st.builds(Lift, st.just(key), seen, st.just(SEED + 5), complete),
        st.builds(
            Merge,
            st.just(key),
            seen,
            st.just(SEED),
            st.sampled_from([IDS[0], b"\xff" * 16]),
            st.sampled_from([((MAPPING.shape(side).own(BALANCE), number(9)),), (("tier", b'{"S":"iron"}'),)]),
            st.sampled_from([(), ("badges",)]),
            complete,
        ),
        st.builds(Reinstate, st.just(key), sealed),
        st.builds(Bury, st.just(key), version),
        st.builds(Restore, st.just(key), items(side).map(lambda item: item or stamped(side, Role.STANDBY, 1))),
    )
