"""The table in memory sends the change records a real one would."""

from __future__ import annotations

from msgspec.structs import replace

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.protocol.keyed.item import Role, build_image, parse_item
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.protocol.keyed.writes import Operate, Seal
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.replication.change import ChangeKind, decode_change
from crossfade.core.values.image import Image, of_number
from crossfade.core.values.keys import key_image, key_of_strings
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, content, live, operation, stamped, ulid

NOW_US = 1_764_230_400_123_456
SHAPE = MAPPING.shape(Side.TARGET)


def table() -> MemoryTable:
    return MemoryTable(SHAPE, belongs=MAPPING.belongs, now_us=lambda: NOW_US)


def row(role: Role) -> Image:
    return build_image(stamped(Side.TARGET, role, 1), SHAPE, key_image(KEY, SHAPE.key))


async def test_each_write_leaves_a_record_with_both_images_and_its_commit_time() -> None:
    memory = table()
    memory.put(row(Role.ACTIVE))
    op = operation(transaction_id=ulid(5))
    await memory.perform(Operate(KEY, op, 32))
    memory.delete(KEY)
    changes = [decode_change(record, SHAPE.key) for record in memory.changes]
    assert [change.kind for change in changes] == [ChangeKind.INSERT, ChangeKind.MODIFY, ChangeKind.REMOVE]
    assert [(change.old is None, change.new is None) for change in changes] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert {(change.table, change.key, change.committed_us, change.precise) for change in changes} == {
        (SHAPE.table, KEY, NOW_US, True)
    }
    (event,) = events_of(changes[1], Side.TARGET)
    assert event.event.transaction_id == ulid(5)


async def test_a_refused_write_and_a_write_of_the_same_leave_no_record() -> None:
    memory = table()
    memory.put(row(Role.STANDBY))
    memory.put(row(Role.STANDBY))
    await memory.perform(Seal(KEY, 2, SEED))
    memory.delete(key_of_strings("USER#nobody", "POINTS#c"))
    assert len(memory.changes) == 1


async def test_a_transfer_is_judged_and_leaves_a_record_when_it_applied() -> None:
    seen: list[bytes] = []
    memory = MemoryTable(SHAPE, on_change=seen.append)
    memory.put(row(Role.STANDBY))
    newer = Transfer(KEY, SEED + 1, {"points": of_number(9)})
    verdicts = [(await memory.transfer([each]))[0] for each in (newer, newer, replace(newer, version=SEED))]
    assert verdicts == [Verdict.APPLIED, Verdict.DUPLICATE, Verdict.STALE]
    assert len(seen) == len(memory.changes) == 2
    item = memory.item(KEY)
    assert item is not None
    assert (item.version, item.content, item.role) == (SEED + 1, content(Side.TARGET, 9), Role.STANDBY)


async def test_a_stray_put_replaces_the_row_whole() -> None:
    memory = table()
    memory.put(row(Role.ACTIVE))
    memory.put(build_image(live(Side.TARGET), SHAPE, key_image(KEY, SHAPE.key)))
    assert memory.item(KEY) == parse_item(memory.images[KEY], SHAPE) == live(Side.TARGET)
