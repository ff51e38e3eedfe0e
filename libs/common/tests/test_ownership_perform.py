"""What each write does to one item (design.md, sections 2 to 4)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec import Raw
from msgspec.structs import replace

from crossfade.core.protocol.events import Event, decode_events, encode_event
from crossfade.core.protocol.keyed.item import Item, Role, build_image
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.perform import Reason, perform, why_refused
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Bury,
    Lift,
    Operate,
    OperateAndTrim,
    Reseal,
    Restore,
    Seal,
    SealAbsent,
    Write,
)
from crossfade.core.protocol.writing import Applied, Refused
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side, TableShape
from engagement_api.operations import Kind, balance_of
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, content, live, operation, stamped, tombstone, ulid

L, N = Side.SOURCE, Side.TARGET
TTL = b'{"N":"4102444800"}'


def shape(side: Side) -> TableShape:
    return MAPPING.shape(side)


def applied(write: Write, item: Item | None, side: Side = L) -> Item:
    answer = perform(write, item, shape(side))
    assert isinstance(answer, Applied), f"refused by {answer.item}"
    item_after: Item = answer.item
    return item_after


def refused(write: Write, item: Item | None, side: Side = L) -> bool:
    answer = perform(write, item, shape(side))
    assert answer.item == item or isinstance(answer, Applied)
    return isinstance(answer, Refused)


def operate(op: Operation, *, generation: int = 0, complete: bool = False) -> Operate:
    return Operate(KEY, op, 32, complete, generation)


def image_of(item: Item, side: Side) -> dict[str, Raw]:
    return build_image(item, shape(side), key_image(KEY, shape(side).key))


# Versions.


def test_the_clock_only_seeds_the_version_and_each_owner_write_adds_one() -> None:
    op = operation(seed=SEED)
    first = applied(operate(op), live(L))
    second = applied(operate(replace(op, transaction_id=ulid(2), seed=SEED * 2)), first)
    assert (first.version, second.version) == (SEED + 1, SEED + 2)


def test_rule_6_an_imported_version_of_zero_counts_as_a_version() -> None:
    assert applied(Seal(KEY, 1, SEED), live(L, version=0)).version == 1


def test_the_seal_raises_the_version_like_any_owner_write() -> None:
    assert applied(Seal(KEY, 1, SEED), stamped(L, Role.ACTIVE, 0, SEED + 7)).version == SEED + 8


# Operations.


def test_an_earn_on_an_absent_key_creates_the_whole_zero_item_as_active_with_the_flags_generation() -> None:
    item = applied(operate(operation(amount=3), generation=4), None)
    assert item.content == content(L, 3)
    assert (item.role, item.generation) == (Role.ACTIVE, 4)


def test_an_owner_write_never_moves_an_item_that_has_a_role_to_another_generation() -> None:
    assert applied(operate(operation(), generation=9), stamped(L, Role.ACTIVE, 2)).generation == 2


def test_an_earn_removes_the_tombstone_and_fills_in_the_zero_item() -> None:
    item = applied(operate(operation(amount=3)), tombstone(Role.ACTIVE, 1))
    assert not item.deleted
    assert item.content == content(L, 3)
    assert ulid(90) in item.recent


def test_an_earn_leaves_every_other_attribute_as_it_came() -> None:
    odd = b'{ "S" : "gold" }'
    before = live(L)._replace(content=content(L, 5, tier=odd, seen_by_nobody=odd))
    after = applied(operate(operation(amount=3)), before)
    assert after.content == content(L, 8, tier=odd, seen_by_nobody=odd)


def test_an_owner_write_carries_its_event_and_names_its_own_version_on_it() -> None:
    item = applied(operate(operation(Kind.SPEND, 2)), stamped(L, Role.ACTIVE, 1))
    (event,) = decode_events(Raw(item.events))
    assert (event.kind, event.transaction_id) == ("spend", ulid(1))
    assert item.event_version == item.version == SEED + 1


def test_a_spend_takes_from_the_balance_and_never_below_zero() -> None:
    assert balance_of(applied(operate(operation(Kind.SPEND, 5)), live(L, balance=5)), shape(L)) == 0
    assert refused(operate(operation(Kind.SPEND, 6)), live(L, balance=5))


def test_balances_of_38_digits_stay_exact() -> None:
    big = 10**37 + 7
    assert balance_of(applied(operate(operation(Kind.SPEND, 1)), live(L, balance=big)), shape(L)) == big - 1


@pytest.mark.parametrize(
    ("balance", "applies"),
    [("9223372036854775804", True), ("9223372036854775804.5", False), ("9223372036854775805", False), ("1e30", False)],
)
@pytest.mark.parametrize("version", [None, SEED])
def test_adr_0023_an_earn_never_makes_a_balance_that_64_bits_do_not_hold(
    balance: str, applies: bool, version: int | None
) -> None:
    item = live(L, version=version)._replace(content=content(L, balance))
    op = operation(amount=3)
    assert refused(operate(op), item) is not applies
    assert refused(OperateAndTrim(KEY, op, version, frozenset(), b""), item) is not applies
    assert why_refused(op, item, shape(L), soft=32) is (None if applies else Reason.ABOVE_LIMIT)


def test_adr_0023_a_fraction_is_counted_with_exactly() -> None:
    item = live(L)._replace(content=content(L, "12.5"))
    assert balance_of(applied(operate(operation(amount=3)), item), shape(L)) == Decimal("15.5")
    assert balance_of(applied(operate(operation(Kind.SPEND, 12)), item), shape(L)) == Decimal("0.5")
    assert refused(operate(operation(Kind.SPEND, 13)), item)


@pytest.mark.parametrize("side", list(Side))
def test_rule_3_a_delete_leaves_a_tombstone_that_keeps_what_the_protocol_needs(side: Side) -> None:
    before = stamped(side, Role.ACTIVE, 3, floor=ulid(0, age_ms=90_000), ttl=TTL)
    item = applied(operate(operation(Kind.DELETE)), before, side)
    assert item.deleted
    assert item.content == ()
    assert (item.role, item.generation, item.version) == (Role.ACTIVE, 3, SEED + 1)
    assert item.recent == before.recent | {ulid(1)}
    assert item.floor == before.floor
    assert item.event_version == item.version
    assert decode_events(Raw(item.events))[0].kind == "delete"


def test_rule_3_a_tombstone_has_no_ttl_that_could_take_it_away() -> None:
    item = applied(operate(operation(Kind.DELETE)), live(L, ttl=TTL))
    assert "expires_at" not in image_of(item, L)


def test_in_the_shared_table_a_delete_touches_only_the_mappings_own_attributes() -> None:
    before = live(L)._replace(content=content(L, 5, seen_by_nobody=b'{"S":"theirs"}'))
    assert applied(operate(operation(Kind.DELETE)), before).content == (("seen_by_nobody", b'{"S":"theirs"}'),)


# Why an operation is refused.


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (stamped(L, Role.STANDBY, 1, recent=frozenset({ulid(1)}), floor=ulid(9)), Reason.REPLAY),
        (stamped(L, Role.STANDBY, 1, floor=ulid(9)), Reason.NOT_OWNER),
        (live(L, balance=0, floor=ulid(9)), Reason.EXPIRED),
        (live(L, balance=0, floor=ulid(1)), Reason.EXPIRED),
        (live(L, balance=2, recent=frozenset(map(ulid, range(50, 82)))), Reason.INSUFFICIENT),
        (tombstone(Role.ACTIVE, 1), Reason.NOTHING_THERE),
        (None, Reason.NOTHING_THERE),
        (live(L, recent=frozenset(map(ulid, range(50, 82)))), Reason.FULL),
        (live(L), None),
    ],
)
def test_why_a_spend_is_refused_is_told_in_the_fixed_order(item: Item | None, reason: Reason | None) -> None:
    spend = operation(Kind.SPEND, 3)
    assert why_refused(spend, item, shape(L), soft=32) is reason
    assert refused(operate(spend), item) is (reason is not None)


def test_a_replay_is_told_before_the_missing_points() -> None:
    spent = applied(operate(operation(Kind.SPEND, 5)), live(L, balance=5))
    assert why_refused(operation(Kind.SPEND, 5), spent, shape(L), soft=32) is Reason.REPLAY


def test_a_delete_of_what_is_deleted_already_records_nothing() -> None:
    assert why_refused(operation(Kind.DELETE), tombstone(Role.ACTIVE, 1), shape(L), soft=32) is Reason.NOTHING_THERE
    assert refused(operate(operation(Kind.DELETE)), tombstone(Role.ACTIVE, 1))


@pytest.mark.parametrize(
    ("side", "complete", "active"), [(L, False, True), (N, False, False), (L, True, False), (N, True, True)]
)
def test_a_missing_role_means_active_in_source_and_after_complete_in_the_target_table(
    side: Side, complete: bool, active: bool
) -> None:
    for item in (None, live(side)):
        assert refused(operate(operation(), complete=complete), item, side) is not active


# The trimming write.


def test_a_trimming_write_applies_trims_and_raises_the_floor_in_one_step() -> None:
    before = stamped(L, Role.ACTIVE, 1)
    write = OperateAndTrim(KEY, operation(), before.version, frozenset({ulid(91)}), ulid(90))
    item = applied(write, before)
    assert item.recent == {ulid(91), ulid(1)}
    assert item.floor == ulid(90)
    assert balance_of(item, shape(L)) == 8


@pytest.mark.parametrize("change", [{"version": SEED + 1}, {"role": Role.STANDBY}])
def test_a_trimming_write_holds_only_for_the_item_it_was_planned_for(change: dict[str, object]) -> None:
    write = OperateAndTrim(KEY, operation(), SEED, frozenset(), b"")
    assert refused(write, stamped(L, Role.ACTIVE, 1)._replace(**change))  # type: ignore[arg-type]


def test_a_trimming_write_never_spends_what_a_stray_writer_took_meanwhile() -> None:
    write = OperateAndTrim(KEY, operation(Kind.SPEND, 5), SEED, frozenset(), b"")
    assert refused(write, stamped(L, Role.ACTIVE, 1)._replace(content=content(L, 4)))


# Handover.


def test_a_seal_gives_up_what_is_active_and_older() -> None:
    item = applied(Seal(KEY, 3, SEED), stamped(L, Role.ACTIVE, 2, ttl=TTL))
    assert (item.role, item.generation, item.version) == (Role.STANDBY, 3, SEED + 1)
    assert item.event_version < (item.version or 0), "a seal tells no event"


@pytest.mark.parametrize(
    "item", [None, stamped(L, Role.ACTIVE, 3), stamped(L, Role.ACTIVE, 4), stamped(L, Role.STANDBY, 1)]
)
def test_a_seal_is_refused_by_what_is_absent_standby_or_not_older(item: Item | None) -> None:
    assert refused(Seal(KEY, 3, SEED), item)


def test_rule_3_a_seal_in_source_moves_the_ttl_where_it_can_not_fire() -> None:
    image = image_of(applied(Seal(KEY, 3, SEED), live(L, ttl=TTL)), L)
    assert image["cf_ttl"] == Raw(TTL)
    assert "expires_at" not in image


def test_rule_3_activation_in_source_puts_the_ttl_back_and_the_target_table_keeps_it_asleep() -> None:
    sealed = stamped(N, Role.STANDBY, 3, SEED + 4, ttl=TTL)
    back = image_of(applied(Activate(KEY, sealed._replace(content=content(L))), stamped(L, Role.STANDBY, 2), L), L)
    assert back["expires_at"] == Raw(TTL)
    assert "cf_ttl" not in back
    taken = image_of(applied(Activate(KEY, sealed), stamped(N, Role.STANDBY, 2), N), N)
    assert taken["cf_ttl"] == Raw(TTL)


def test_a_stub_stands_for_a_key_that_never_was() -> None:
    stub = applied(SealAbsent(KEY, 3, SEED), None)
    assert stub == Item(version=SEED + 1, role=Role.STANDBY, generation=3, deleted=True)
    assert refused(SealAbsent(KEY, 3, SEED), live(L))


def test_activation_takes_everything_of_the_sealed_image_one_version_above_it() -> None:
    sealed = stamped(N, Role.STANDBY, 3, SEED + 4, floor=ulid(0))
    before = stamped(N, Role.STANDBY, 2, content=content(N, 9), recent=frozenset({ulid(77)}))
    item = applied(Activate(KEY, sealed), before, N)
    assert item == sealed._replace(role=Role.ACTIVE, version=SEED + 5)
    copied_already = sealed._replace(generation=2)
    assert applied(Activate(KEY, sealed), copied_already, N) == item
    assert item.event_version < (item.version or 0), "an activation repeats no event"


@pytest.mark.parametrize(
    "item",
    [stamped(N, Role.ACTIVE, 1), stamped(N, Role.STANDBY, 3), stamped(N, Role.STANDBY, 1, SEED + 5)],
    ids=["active", "same generation", "ahead"],
)
def test_activation_is_refused_by_what_is_active_not_older_or_ahead(item: Item) -> None:
    assert refused(Activate(KEY, stamped(N, Role.STANDBY, 3, SEED + 4)), item, N)


def test_activation_creates_the_row_where_absent_means_standby_and_never_where_it_means_active() -> None:
    assert applied(Activate(KEY, stamped(N, Role.STANDBY, 3)), None, N).role is Role.ACTIVE
    assert refused(Activate(KEY, stamped(L, Role.STANDBY, 3)), None, L)


@pytest.mark.parametrize("change", [{"version": SEED + 1}, {"generation": 4}, {"role": Role.ACTIVE}])
def test_a_reseal_lifts_only_the_very_item_that_was_sealed(change: dict[str, object]) -> None:
    sealed, write = stamped(L, Role.STANDBY, 3), Reseal(KEY, 3, SEED, SEED + 9)
    assert applied(write, sealed) == sealed._replace(version=SEED + 9)
    assert refused(write, sealed._replace(**change))  # type: ignore[arg-type]
    assert refused(write, None)


# Repair.


def test_rule_5_a_lift_raises_the_owners_version_and_tells_no_event() -> None:
    active = stamped(L, Role.ACTIVE, 1)
    lifted = applied(Lift(KEY, SEED, SEED + 9), active)
    assert lifted == active._replace(version=SEED + 9)
    assert lifted.event_version != lifted.version
    assert applied(Lift(KEY, None, SEED), live(L)).version == SEED


@pytest.mark.parametrize("item", [None, stamped(L, Role.ACTIVE, 1, SEED + 1), stamped(L, Role.STANDBY, 1)])
def test_rule_5_a_lift_is_refused_when_the_item_moved_on(item: Item | None) -> None:
    assert refused(Lift(KEY, SEED, SEED + 9), item)


def test_an_extra_is_buried_one_version_above_it() -> None:
    buried = applied(Bury(KEY, SEED, SEED + 1), stamped(N, Role.STANDBY, 1, ttl=TTL), N)
    assert (buried.version, buried.deleted, buried.content, buried.ttl) == (SEED + 1, True, (), b"")
    assert (buried.role, buried.generation) == (Role.STANDBY, 1)
    for item in (None, stamped(N, Role.ACTIVE, 1), stamped(N, Role.STANDBY, 1, SEED + 1)):
        assert refused(Bury(KEY, SEED, SEED + 1), item, N)


def test_an_extra_that_lost_its_version_is_buried_while_it_has_none() -> None:
    lost = stamped(N, Role.STANDBY, 1)._replace(version=None)
    buried = applied(Bury(KEY, None, SEED + 1), lost, N)
    assert (buried.version, buried.deleted, buried.role, buried.generation) == (SEED + 1, True, Role.STANDBY, 1)
    for item in (None, stamped(N, Role.ACTIVE, 1)._replace(version=None), stamped(N, Role.STANDBY, 1)):
        assert refused(Bury(KEY, None, SEED + 1), item, N)


def test_rule_3_a_removed_standby_row_comes_back_as_standby_if_it_is_still_absent() -> None:
    lost = stamped(L, Role.STANDBY, 2)
    assert applied(Restore(KEY, lost), None) == lost
    assert refused(Restore(KEY, lost), live(L))


# A transaction id is bound to what it did.


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("asked", [operation(amount=4), operation(Kind.SPEND, 3), operation(Kind.DELETE)])
def test_adr_0023_the_last_id_with_another_payload_is_a_mismatch(asked: Operation, role: Role) -> None:
    after = applied(operate(operation(amount=3)), live(L))._replace(role=role)
    assert why_refused(operation(amount=3), after, shape(L), soft=32) is Reason.REPLAY
    assert why_refused(asked, after, shape(L), soft=32) is Reason.MISMATCH
    assert refused(operate(asked), after)


def test_adr_0023_a_retry_with_another_reason_or_trace_is_a_replay() -> None:
    after = applied(operate(operation(amount=3)), live(L))
    event = encode_event(Event("earn", 3, "another word", ulid(1), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71-01"))
    assert why_refused(replace(operation(amount=3), events=(event,)), after, shape(L), soft=32) is Reason.REPLAY


@pytest.mark.parametrize("events", [b"", b'{"L":[]}', b'{"S":"who was that"}', b'{"L":[{"M":{"kind":{"S":"earn"}}}]}'])
def test_adr_0023_an_id_of_which_the_row_has_no_event_is_a_replay(events: bytes) -> None:
    after = applied(operate(operation(amount=3)), live(L))._replace(events=events)
    assert why_refused(operation(amount=4), after, shape(L), soft=32) is Reason.REPLAY


def test_adr_0023_an_older_id_stays_a_replay_whatever_it_brings() -> None:
    first = applied(operate(operation(amount=3)), live(L))
    second = applied(operate(operation(amount=5, transaction_id=ulid(2))), first)
    assert why_refused(operation(amount=4), second, shape(L), soft=32) is Reason.REPLAY
