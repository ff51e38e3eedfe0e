"""Who made a record: every kind of old image, by every kind of new one, before and after the moment (ADR 0016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from msgspec import Raw

from apply_cases import COMMITTED_US, KEY, RULES, TABLES, V, change, payload, protocol, source, target
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Bury,
    Fence,
    Lift,
    Merge,
    Operate,
    OperateAndTrim,
    Reseal,
    Restore,
    Seal,
    SealAbsent,
    TakeBack,
    Write,
)
from crossfade.core.protocol.seam import RemovedStandby, Skip, StrayOwner, StrayStandby
from crossfade.core.protocol.writing import Applied, Transfer
from crossfade.core.replication.apply import Decision, StrayRemoval
from crossfade.core.replication.change import decode_change
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Direction, Side
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from ownership_cases import SEED, operation

ROWS: Final = {Side.SOURCE: source, Side.TARGET: target}
BEFORE, AFTER = COMMITTED_US + 1, COMMITTED_US
"""The moment lies after the records, or they are the first to be watched."""

G = 4


def row(side: Side, kind: str, balance: int) -> Image | None:
    """A row of a kind; None is no row."""
    protocols = {
        "plain": {},
        "imported": protocol(0, "S") if side is Side.TARGET else protocol(0),
        "unstamped A": protocol(None, "A", G),
        "A": protocol(V, "A", G, V),
        "A+1": protocol(V + 1, "A", G, V + 1),
        "A-1": protocol(V - 1, "A", G, V - 1),
        "A'": protocol(V + 1, "A", G + 1, V),
        "S": protocol(V, "S", G, V),
        "S without version": protocol(None, "S", G),
        "S+1": protocol(V + 1, "S", G + 1, V),
        "S-1": protocol(V - 1, "S", G, V - 1),
        "A dead": protocol(V, "A", G, V, deleted=True),
        "S dead": protocol(V, "S", G, V, deleted=True),
        "fence": {"cf_role": wire.of_string("S"), "cf_gen": wire.of_number(G + 1), "cf_deleted": wire.of_boolean(True)},
    }
    return None if kind == "none" else ROWS[side](KEY, balance, **protocols[kind])


def decided(side: Side, old: str, fresh: str, since_us: int, *, same: bool = False, ttl: bool = False) -> Decision:
    direction = Direction.FORWARD if side is Side.SOURCE else Direction.REVERSE
    record = change(row(side, fresh, 5 if same else 9), row(side, old, 5), side=side, ttl=ttl)
    return RULES[direction].decide(record, since_us)


SOURCE: Final[dict[tuple[str, str], type | Skip]] = {
    # what pods make
    ("none", "A"): Transfer,  # an operation, or an activation, where nothing was
    ("plain", "A"): Transfer,
    ("imported", "A"): Transfer,
    ("unstamped A", "A"): Transfer,
    ("A", "A+1"): Transfer,
    ("A dead", "A+1"): Transfer,
    ("S", "A'"): Transfer,  # an activation
    ("S dead", "A'"): Transfer,
    ("fence", "A'"): Transfer,
    ("plain", "S"): Transfer,  # seals
    ("imported", "S"): Transfer,
    ("unstamped A", "S"): Transfer,
    ("A", "S+1"): Transfer,
    ("none", "S"): Skip.ECHO,
    ("none", "S dead"): Skip.ECHO,
    ("none", "fence"): Skip.ECHO,
    ("S-1", "S"): Skip.ECHO,
    ("S", "S+1"): Skip.ECHO,
    ("S dead", "S+1"): Skip.ECHO,
    ("fence", "S"): Skip.ECHO,
    ("A dead", "none"): Skip.TOMBSTONE_REMOVED,
    # what others make, on what their table owns
    ("none", "plain"): StrayOwner,
    ("none", "imported"): StrayOwner,
    ("none", "unstamped A"): StrayOwner,
    ("plain", "plain"): StrayOwner,
    ("imported", "imported"): StrayOwner,
    ("imported", "plain"): StrayOwner,
    ("unstamped A", "unstamped A"): StrayOwner,
    ("unstamped A", "plain"): StrayOwner,
    ("A", "A"): StrayOwner,
    ("A", "A-1"): StrayOwner,
    ("A", "plain"): StrayOwner,
    ("A", "unstamped A"): StrayOwner,
    ("A dead", "A dead"): StrayOwner,
    ("A dead", "plain"): StrayOwner,
    ("plain", "none"): StrayRemoval,
    ("imported", "none"): StrayRemoval,
    ("A", "none"): StrayRemoval,
    # and on what it doesn't own
    ("S", "S"): StrayStandby,
    ("S", "S-1"): StrayStandby,
    ("S", "plain"): StrayStandby,  # a put: it looks active, since its role was erased
    ("S", "unstamped A"): StrayStandby,
    ("S dead", "S dead"): StrayStandby,
    ("S dead", "plain"): StrayStandby,
    ("fence", "plain"): StrayStandby,
    ("S", "none"): RemovedStandby,
    ("S dead", "none"): RemovedStandby,
    ("fence", "none"): RemovedStandby,
}

TARGET: Final[dict[tuple[str, str], type | Skip]] = SOURCE | {
    # a missing role is no owner's there
    ("none", "plain"): StrayStandby,
    ("none", "imported"): Skip.ECHO,
    ("plain", "plain"): StrayStandby,
    ("plain", "A"): Transfer,
    ("plain", "S"): Skip.ECHO,
    ("plain", "none"): RemovedStandby,
    ("imported", "A"): Transfer,
    ("imported", "plain"): StrayStandby,
    ("imported", "imported"): StrayStandby,
    ("imported", "S"): Skip.ECHO,
    ("imported", "none"): RemovedStandby,
    ("A", "plain"): StrayStandby,  # a put over an owner: nobody owns the key by now
    ("unstamped A", "plain"): StrayStandby,
    ("A dead", "plain"): StrayStandby,
}

CASES: Final = [(side, *pair, SOURCE if side is Side.SOURCE else TARGET) for side in Side for pair in (SOURCE | TARGET)]
STRAYS: Final = (StrayOwner, StrayStandby, StrayRemoval, RemovedStandby)


@pytest.mark.parametrize(("side", "old", "fresh", "table"), CASES)
def test_rule_5_each_pair_of_images_after_the_moment(
    side: Side, old: str, fresh: str, table: dict[tuple[str, str], type | Skip]
) -> None:
    expected, found = table[old, fresh], decided(side, old, fresh, AFTER)
    if isinstance(expected, Skip):
        assert found is expected
    else:
        assert type(found) is expected
    if isinstance(found, StrayOwner | StrayStandby | RemovedStandby):
        assert found.watched
    if isinstance(found, STRAYS):
        assert (found.key, found.committed_us) == (KEY, COMMITTED_US)


@pytest.mark.parametrize(("side", "old", "fresh", "table"), CASES)
@pytest.mark.parametrize("since_us", [0, BEFORE])
def test_rule_5_no_pair_of_images_is_reported_before_the_moment(
    side: Side, old: str, fresh: str, table: dict[tuple[str, str], type | Skip], since_us: int
) -> None:
    found = decided(side, old, fresh, since_us)
    assert not isinstance(found, StrayRemoval)
    assert not getattr(found, "watched", False)
    if table[old, fresh] in (Transfer, StrayRemoval):
        assert isinstance(found, Transfer)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("kind", ["plain", "imported", "unstamped A", "A", "S", "A dead", "S dead"])
def test_rule_5_a_change_of_nothing_mapped_is_no_stray(side: Side, kind: str) -> None:
    assert not isinstance(decided(side, kind, kind, AFTER, same=True), STRAYS)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("kind", ["plain", "A", "S"])
def test_rule_5_what_the_ttl_removed_is_no_stray(side: Side, kind: str) -> None:
    found = decided(side, kind, "none", AFTER, ttl=True)
    assert isinstance(found, Transfer) or (isinstance(found, RemovedStandby) and not found.watched)


def test_rule_5_a_ttl_value_that_somebody_set_is_a_stray() -> None:
    for kind in ("plain", "A", "S"):
        before, after = row(Side.SOURCE, kind, 5), row(Side.SOURCE, kind, 5)
        assert before is not None
        assert after is not None
        record = change(after | {"expires_at": wire.of_number(9)}, before)
        assert isinstance(RULES[Direction.FORWARD].decide(record, AFTER), StrayOwner | StrayStandby)


def test_rule_5_a_version_that_a_client_writes_as_zero_hides_nothing() -> None:
    before = row(Side.SOURCE, "A", 5)
    after = row(Side.SOURCE, "A", 9)
    assert after is not None
    found = RULES[Direction.FORWARD].decide(change(after | {"cf_mv": wire.of_number(0)}, before), AFTER)
    assert found == StrayOwner(KEY, 0, V, COMMITTED_US, watched=True)


def test_rule_5_a_stray_with_an_attribute_that_the_mapping_does_not_know_is_a_stray_first() -> None:
    found = RULES[Direction.FORWARD].decide(change(source(KEY, 9, surprise=Raw(b'{"S":"x"}')), source()), AFTER)
    assert isinstance(found, StrayOwner)


# ---- no write of ours is ever taken for a stray --------------------------------------------------


async def _records_of(side: Side, start: Image | None, write: Write) -> list[bytes]:
    table = MemoryTable(MAPPING.shape(side), belongs=MAPPING.belongs, now_us=lambda: COMMITTED_US)
    if start is not None:
        table.put(start)
        table.changes.clear()
    assert isinstance(await table.perform(write), Applied)
    return table.changes


WRITES: Final[dict[str, tuple[str, Callable[[Item], Write]]]] = {
    "operate where nothing is": ("none", lambda item: Operate(KEY, operation(Kind.EARN, key=KEY, seed=SEED), 32)),
    "operate on a plain row": ("plain", lambda item: Operate(KEY, operation(Kind.EARN, key=KEY, seed=SEED), 32)),
    "operate": ("A", lambda item: Operate(KEY, operation(Kind.SPEND, key=KEY, seed=SEED), 32)),
    "trim": ("A", lambda item: OperateAndTrim(KEY, operation(Kind.EARN, key=KEY, seed=SEED), V, frozenset(), b"")),
    "delete": ("A", lambda item: Operate(KEY, operation(Kind.DELETE, key=KEY, seed=SEED), 32)),
    "seal a plain row": ("plain", lambda item: Seal(KEY, G + 1, SEED)),
    "seal": ("A", lambda item: Seal(KEY, G + 1, SEED)),
    "seal what is absent": ("none", lambda item: SealAbsent(KEY, G + 1, SEED)),
    "activate": ("S", lambda item: Activate(KEY, item._replace(version=V + 5, generation=G + 1))),
    "activate where nothing is": ("none", lambda item: Activate(KEY, item._replace(version=V + 5, generation=G + 1))),
    "re-seal": ("S", lambda item: Reseal(KEY, G, V, V + 9)),
    "lift": ("A", lambda item: Lift(KEY, V, V + 1)),
    "lift a plain row": ("plain", lambda item: Lift(KEY, None, V)),
    "bury": ("S", lambda item: Bury(KEY, V, V + 1)),
    "bury what lost its version": ("S without version", lambda item: Bury(KEY, None, V)),
    "merge": ("A", lambda item: Merge(KEY, V, SEED, b"\xff" * 16, item.content, ())),
    "fence": ("S", lambda item: Fence(KEY, G + 1)),
    "fence where nothing is": ("none", lambda item: Fence(KEY, G + 1)),
    "take back": ("S", lambda item: TakeBack(KEY, item, G + 1, V + 9)),
    "restore": ("none", lambda item: Restore(KEY, item)),
}


NO_OWNER: Final = {
    # An absent row, or one without a role, is the owner's in the source table only.
    Side.SOURCE: {"activate where nothing is", "fence where nothing is"},
    Side.TARGET: {name for name, (kind, _) in WRITES.items() if kind == "plain"} | {"operate where nothing is"},
}


@pytest.mark.parametrize(
    ("side", "name"), [(side, name) for side in Side for name in WRITES if name not in NO_OWNER[side]]
)
async def test_no_write_of_ours_is_a_stray(side: Side, name: str) -> None:
    kind, write = WRITES[name]
    standby = row(side, "S", 5)
    assert standby is not None
    item = MemoryTable(MAPPING.shape(side))
    item.put(standby)
    found_item = item.item(KEY)
    assert found_item is not None
    direction = Direction.FORWARD if side is Side.SOURCE else Direction.REVERSE
    for record in await _records_of(side, row(side, kind, 5), write(found_item)):
        found = RULES[direction].decide(decode_change(record, ("pk", "sk")), AFTER)
        assert not isinstance(found, STRAYS), found


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("kind", ["none", "S-1", "S dead"])
async def test_no_transfer_of_ours_is_a_stray(side: Side, kind: str) -> None:
    table = MemoryTable(MAPPING.shape(side), belongs=MAPPING.belongs, now_us=lambda: COMMITTED_US)
    if (start := row(side, kind, 5)) is not None:
        table.put(start)
        table.changes.clear()
    image: Image = {name: raw for name, raw in ROWS[side](KEY, 9).items() if name not in ("pk", "sk")}
    await table.transfer([Transfer(KEY, V + 1, image, G)])
    direction = Direction.FORWARD if side is Side.SOURCE else Direction.REVERSE
    [record] = table.changes
    assert RULES[direction].decide(decode_change(record, ("pk", "sk")), AFTER) is Skip.ECHO


def test_another_table_is_never_looked_at() -> None:
    assert TABLES[Side.SOURCE] != TABLES[Side.TARGET]
    record = decode_change(payload(source(), None), ("pk", "sk"))
    assert isinstance(RULES[Direction.FORWARD].decide(record, AFTER), StrayOwner)
