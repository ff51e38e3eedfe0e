"""The apply rule, number by number (design.md, section 3)."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from apply_cases import COMMITTED_US, KEY, RULES, V, change, forward, payload, protocol, reverse, source, target
from crossfade.core.protocol.keyed.item import CARRIED, FIRST_STAMPED, GEN, MV, ROLE, Item, Role, parse_item
from crossfade.core.protocol.keyed.versions import lifted_version, removal_version
from crossfade.core.protocol.seam import RemovedStandby, Skip, StrayOwner, StrayStandby
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.change import decode_change
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side
from engagement_migration import MAPPING

OWNED = protocol(V, "A", 3, V)
RULE_FORWARD = RULES[Direction.FORWARD]
BEFORE = protocol(V - 1, "A", 3, V - 1)


def transfer_of(decision: object) -> Transfer:
    assert isinstance(decision, Transfer), decision
    return decision


# ---- rules 1 and 2: transfers ------------------------------------------------------------------


def test_rule_1_an_active_image_travels_at_its_own_version() -> None:
    found = transfer_of(forward(source(KEY, 9, **OWNED), source(KEY, 5, **BEFORE)))
    assert (found.key, found.version, found.repair) == (KEY, V, False)
    assert found.image["points"] == wire.of_number(9)


def test_rule_2_no_transfer_carries_role_generation_or_version_as_attributes() -> None:
    for decision in (
        forward(source(**OWNED), source(**BEFORE)),
        forward(None, source(**OWNED)),
        forward(source(**protocol(V + 1, "S", 4, V)), source(**OWNED)),
        reverse(target(**OWNED), target(**BEFORE)),
    ):
        assert not {ROLE, GEN, MV} & transfer_of(decision).image.keys()


def test_rule_2_a_transfer_carries_what_the_protocol_remembers() -> None:
    found = transfer_of(forward(source(**OWNED), None))
    assert {"cf_recent", "cf_events", "cf_emv"} <= found.image.keys() <= {"points", *CARRIED}


def test_rule_2_forward_creates_rows_of_generation_0_and_reverse_rows_of_the_images() -> None:
    assert transfer_of(forward(source(**OWNED), None)).first_standing == 0
    assert transfer_of(reverse(target(**OWNED), None)).first_standing == 3
    assert transfer_of(reverse(None, target(**OWNED))).first_standing == 3


def test_rule_2_the_ttl_travels_as_cf_ttl_and_never_as_the_tables_own() -> None:
    found = transfer_of(forward(source(expires_at=wire.of_number(99), **OWNED), None))
    assert found.image["cf_ttl"] == wire.of_number(99)
    assert "expires_at" not in found.image


# ---- rule 3: removals --------------------------------------------------------------------------


def test_rule_3_the_removal_of_a_stamped_item_is_a_tombstone_one_above_its_last_version() -> None:
    found = transfer_of(forward(None, source(**OWNED)))
    assert found.version == V + 1
    assert found.image.keys() == {"cf_deleted", "cf_recent", "cf_events", "cf_emv"}


def test_rule_3_the_removal_of_an_unstamped_item_orders_by_its_commit_time() -> None:
    found = transfer_of(forward(None, source()))
    assert (found.version, found.image) == (COMMITTED_US, {"cf_deleted": wire.of_boolean(True)})
    assert removal_version(0, COMMITTED_US) == COMMITTED_US
    assert removal_version(FIRST_STAMPED, COMMITTED_US) == FIRST_STAMPED + 1


def test_rule_3_a_ttl_that_fired_on_an_active_item_is_a_removal_like_any_other() -> None:
    record = change(None, source(**OWNED), ttl=True)
    assert record.expired
    assert transfer_of(forward(None, source(**OWNED), ttl=True)).version == V + 1


@pytest.mark.parametrize("deleted", [False, True])
def test_rule_3_the_removal_of_a_standby_is_never_applied_but_put_back(deleted: bool) -> None:
    found = forward(None, source(**protocol(V, "S", 4, V - 2, deleted=deleted)))
    assert isinstance(found, RemovedStandby)
    assert isinstance(found.item, Item)
    assert (found.item.role, found.item.generation, found.item.version) == (Role.STANDBY, 4, V)
    assert found.item.deleted is deleted


def test_rule_3_a_row_of_the_target_table_without_a_role_is_standby_and_put_back_as_such() -> None:
    found = reverse(None, target(**protocol(0)))
    assert isinstance(found, RemovedStandby)
    assert isinstance(found.item, Item)
    assert found.item.role is Role.STANDBY


def test_rule_3_the_removal_of_a_tombstone_is_skipped() -> None:
    assert forward(None, source(**protocol(V, "A", 1, V, deleted=True))) is Skip.TOMBSTONE_REMOVED


# ---- rule 4: echoes ----------------------------------------------------------------------------


def test_rule_4_an_echo_is_not_applied() -> None:
    older, newer = protocol(V - 1, "S", 3, V - 1), protocol(V, "S", 3, V)
    assert forward(source(KEY, 9, **newer), source(KEY, 5, **older)) is Skip.ECHO
    assert reverse(target(KEY, 9, **newer), target(KEY, 5, **older)) is Skip.ECHO


def test_rule_4_a_row_that_appears_as_standby_is_not_applied() -> None:
    assert forward(source(**protocol(V, "S", 3, V)), None) is Skip.ECHO
    assert reverse(target(**protocol(0, "S")), None) is Skip.ECHO


def test_rule_4_a_seal_is_an_owner_write_and_travels() -> None:
    found = transfer_of(forward(source(**protocol(V + 1, "S", 4, V)), source(**OWNED)))
    assert found.version == V + 1


def test_rule_4_the_seal_of_a_row_that_had_no_role_travels_too() -> None:
    found = transfer_of(forward(source(**protocol(V, "S", 1)), source()))
    assert found.version == V


def test_a_row_that_a_seal_creates_is_open_to_the_handover_that_the_seal_began() -> None:
    """With the sealed generation on both sides nobody could help any more."""
    found = transfer_of(reverse(target(**protocol(V + 1, "S", 4, V)), target(**OWNED)))
    assert found.first_standing == 3


def test_an_activation_travels_like_any_owner_write() -> None:
    found = transfer_of(reverse(target(**protocol(V, "A", 4, V - 2)), target(**protocol(V - 1, "S", 3, V - 2))))
    assert (found.version, found.first_standing) == (V, 4)


# ---- rule 5: strays -------------------------------------------------------------------


def test_rule_5_a_mapped_attribute_that_changed_at_the_same_version_is_a_stray() -> None:
    assert forward(source(KEY, 9, **OWNED), source(KEY, 5, **OWNED)) == StrayOwner(
        KEY, V, V, COMMITTED_US, watched=False
    )


def test_rule_5_the_ttl_counts_as_mapped() -> None:
    found = forward(source(expires_at=wire.of_number(9), **OWNED), source(**OWNED))
    assert isinstance(found, StrayOwner)


def test_rule_5_a_version_that_went_back_is_a_stray() -> None:
    """A whole-item put of what a batch job read a while ago."""
    assert forward(source(KEY, 9, **BEFORE), source(KEY, 5, **OWNED)) == StrayOwner(
        KEY, V - 1, V, COMMITTED_US, watched=False
    )


@pytest.mark.parametrize("seen", [None, 0])
def test_rule_5_a_write_that_erased_the_version_is_a_stray(seen: int | None) -> None:
    found = forward(source(KEY, 9, **protocol(seen)), source(KEY, 5, **OWNED))
    erased = None if seen is not None else parse_item(source(KEY, 5, **OWNED), MAPPING.shape(Side.SOURCE))
    assert found == StrayOwner(KEY, seen, V, COMMITTED_US, watched=False, erased=erased)


def test_rule_5_a_write_that_changed_nothing_mapped_is_no_stray() -> None:
    order = {"badges": Raw(b'{"SS":["a","b"]}')}, {"badges": Raw(b'{"SS": ["b", "a"]}')}
    found = forward(source(**OWNED, **order[0]), source(**OWNED, **order[1]))
    assert transfer_of(found).version == V


def test_rule_5_an_unstamped_write_on_an_unstamped_item_is_no_stray() -> None:
    assert transfer_of(forward(source(KEY, 9), source(KEY, 5))).version == COMMITTED_US


def test_rule_5_a_stray_on_a_standby_pages() -> None:
    standby = protocol(V, "S", 3, V)
    found = forward(source(KEY, 9, **standby), source(KEY, 5, **standby))
    assert isinstance(found, StrayStandby)
    assert found.item.version == V


def test_rule_5_a_put_that_erased_the_role_of_a_standby_pages_and_is_no_owner() -> None:
    """In the source table a missing role reads as active: lifting it would make a second owner."""
    found = forward(source(KEY, 9), source(KEY, 5, **protocol(V, "S", 3, V)))
    assert isinstance(found, StrayStandby)


def test_rule_5_a_row_put_into_the_target_table_by_hand_pages() -> None:
    assert isinstance(reverse(target(), None), StrayStandby)
    assert isinstance(reverse(target(KEY, 9), target(KEY, 5, **protocol(0, "S"))), StrayStandby)


def test_rule_5_the_lift_goes_above_both_sides() -> None:
    assert lifted_version(V, V, V - 5, V + 100) == V + 1
    assert lifted_version(V - 5, V - 5, V, V + 100) == V + 1
    assert lifted_version(None, 0, V, V - 100) == V + 1


def test_rule_5_the_lift_goes_above_what_the_owner_was_before_the_stray() -> None:
    """Its last own write may not have reached the standby yet: one version for two writes would be a conflict."""
    assert lifted_version(V - 1, V, V - 5, 0) == V + 1
    assert lifted_version(None, V, V - 5, 0) == V + 1


def test_rule_5_an_owner_that_lost_its_version_is_seeded_again_and_never_stays_unstamped() -> None:
    seed = V + 1000
    assert lifted_version(None, 0, COMMITTED_US, seed) == seed + 1
    assert lifted_version(0, 0, 0, seed) == seed + 1


# ---- rule 6: versions of unstamped rows --------------------------------------------------------


@pytest.mark.parametrize("version", [None, 0])
def test_rule_6_an_imported_zero_and_a_missing_version_order_by_commit_time(version: int | None) -> None:
    found = transfer_of(forward(source(**protocol(version)), None))
    assert found.version == COMMITTED_US < FIRST_STAMPED


def test_rule_6_milliseconds_and_microseconds_are_one_scale() -> None:
    coarse = change(source(), None, precise=False)
    assert not coarse.precise
    assert coarse.committed_us == COMMITTED_US // 1000 * 1000


# ---- rule 9: what belongs, and what is unknown -------------------------------------------------


def test_rule_9_values_travel_as_the_bytes_they_came_in() -> None:
    spaced = Raw(b'{"M": {"theme": {"S": "dark \\u00e9"}}}')
    raw = payload(source(preferences=spaced, **OWNED), None)
    found = RULE_FORWARD.decide(decode_change(raw, ("pk", "sk")))
    assert bytes(transfer_of(found).image["preferences"]) == bytes(spaced)


def test_rule_9_rows_of_others_are_skipped_whatever_they_hold() -> None:
    other = source(key_of_strings("USER#7", "LEDGER#2024"), shape=Raw(b'{"NULL":true}'))
    assert forward(other, None) is Skip.NOT_OURS
    assert forward(None, other) is Skip.NOT_OURS


def test_rule_9_an_attribute_that_the_mapping_does_not_know_is_never_dropped() -> None:
    with pytest.raises(PoisonRecord, match="surprise"):
        forward(source(surprise=wire.of_number(1), **OWNED), None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no json",
        b"{}",
        b'{"eventName":"INSERT","tableName":"wallet","dynamodb":{"ApproximateCreationDateTime":1,"Keys":{}}}',
        payload(source(), None).replace(b'"INSERT"', b'"UPSERT"'),
        payload(source(**protocol(V)), None).replace(str(V).encode(), b"twelve"),
        payload(source(), None).replace(b'"wallet"', b'"another"'),
        payload(source(), None).replace(b'"NewImage"', b'"Newimage"'),
        payload(None, source()).replace(b'"OldImage"', b'"Oldimage"'),
        payload(source(**protocol(V, "X")), None),
    ],
)
def test_a_record_that_can_not_be_read_is_poison(raw: bytes) -> None:
    with pytest.raises(PoisonRecord):
        RULE_FORWARD.decide(decode_change(raw, ("pk", "sk")))


def committed(at: int, precision: str | None) -> bytes:
    """A record whose commit time and precision field are as told; None for no field at all."""
    record = json.loads(payload(source(), None))
    record["dynamodb"]["ApproximateCreationDateTime"] = at
    record["dynamodb"]["ApproximateCreationDateTimePrecision"] = precision
    if precision is None:
        del record["dynamodb"]["ApproximateCreationDateTimePrecision"]
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("at", "precision", "us", "precise"),
    [
        (COMMITTED_US, "MICROSECOND", COMMITTED_US, True),
        (COMMITTED_US // 1000, "MILLISECOND", COMMITTED_US // 1000 * 1000, False),
        (COMMITTED_US // 1000, None, COMMITTED_US // 1000 * 1000, False),
        (COMMITTED_US, None, COMMITTED_US, True),
        (10**12, "MILLISECOND", 10**15, False),
        (10**16 - 1, None, 10**16 - 1, True),
    ],
)
def test_b6_a_commit_time_is_read_in_the_unit_that_its_record_names_or_that_can_be(
    at: int, precision: str | None, us: int, precise: bool
) -> None:
    """16 digits without the field were taken for ms: a version above 10^17, and so above every stamped row's."""
    change = decode_change(committed(at, precision), ("pk", "sk"))
    assert (change.committed_us, change.precise) == (us, precise)
    found = RULE_FORWARD.decide(change)
    assert transfer_of(found).version < FIRST_STAMPED


@pytest.mark.parametrize(
    ("at", "precision", "why"),
    [
        (COMMITTED_US, "MILLISECOND", f"{COMMITTED_US} can't be in MILLISECOND"),
        (COMMITTED_US // 1000, "MICROSECOND", f"{COMMITTED_US // 1000} can't be in MICROSECOND"),
        (COMMITTED_US * 1000, None, "can't be in ms or µs"),
        (COMMITTED_US * 1000, "NANOSECOND", "precision 'NANOSECOND', which is unknown"),
        (COMMITTED_US * 1000, "MICROSECOND", "can't be in MICROSECOND"),
        (COMMITTED_US // 1_000_000, None, "can't be in ms or µs"),
        (0, "MILLISECOND", "can't be in MILLISECOND"),
        (-COMMITTED_US, "MICROSECOND", "can't be in MICROSECOND"),
        (10**13, "MILLISECOND", "can't be in MILLISECOND"),
    ],
)
def test_b6_a_commit_time_that_cannot_be_is_poison(at: int, precision: str | None, why: str) -> None:
    with pytest.raises(PoisonRecord, match=why):
        decode_change(committed(at, precision), ("pk", "sk"))


def test_an_old_image_that_is_no_item_is_poison_where_it_is_needed() -> None:
    raw = payload(source(**protocol(V, "S", 1)), source())
    head, _, tail = raw.partition(b'"OldImage":')
    broken = decode_change(head + b'"OldImage":7' + b"}" * 2, ("pk", "sk"))
    assert tail
    with pytest.raises(PoisonRecord):
        RULE_FORWARD.decide(broken)
    with pytest.raises(PoisonRecord):
        broken.old_version()
