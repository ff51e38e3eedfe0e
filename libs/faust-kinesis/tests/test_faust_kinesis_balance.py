"""Who should read which shard, and when a lease counts as expired."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from faust_kinesis.balance import Plan, Watch, plan, runnable
from faust_kinesis.leases import Lease, group_applied_to_s


def leases(*owners: str | None) -> list[Lease]:
    return [Lease(f"s{number}", owner=owner) for number, owner in enumerate(owners)]


def decide(all_leases: list[Lease], *, me: str = "me", **changes: frozenset[str]) -> Plan:
    held = frozenset(lease.shard_id for lease in all_leases if lease.owner == me)
    known = {
        "held": held,
        "busy": frozenset[str](),
        "expired": frozenset[str](),
        "listed": frozenset(lease.shard_id for lease in all_leases),
        **changes,
    }
    return plan(all_leases, me=me, **known)


def names(chosen: tuple[Lease, ...]) -> list[str]:
    return [lease.shard_id for lease in chosen]


def test_a_lone_worker_takes_everything() -> None:
    assert names(decide(leases(None, None, None)).take) == ["s0", "s1", "s2"]


def test_free_leases_are_taken_up_to_the_even_share_only() -> None:
    decided = decide(leases("you", None, None, None))
    assert len(decided.take) == 2
    assert decided.want == ()


def test_a_worker_without_a_share_asks_and_never_takes() -> None:
    decided = decide(leases("you", "you", "you", "you"))
    assert decided.take == ()
    assert len(decided.want) == 2


def test_the_richest_is_asked_first() -> None:
    decided = decide(leases("a", "b", "b", "b", "b"))
    assert {lease.owner for lease in decided.want} == {"b"}


def test_what_was_requested_already_is_not_requested_again() -> None:
    asked = [Lease("s0", owner="you", wanted="me"), *leases("you", "you", "you", "you")[1:]]
    assert len(decide(asked).want) == 1


def test_one_shard_more_is_no_reason_to_move_one() -> None:
    assert decide(leases("me", "you", "you")) == Plan((), (), ())


def test_one_shard_for_two_workers_stays_where_it_is() -> None:
    assert decide(leases("you")) == Plan((), (), ())


def test_a_lease_that_another_wants_is_handed_over() -> None:
    wanted = [Lease("s0", owner="me", wanted="you"), Lease("s1", owner="me")]
    assert names(decide(wanted).hand_over) == ["s0"]


def test_what_was_handed_over_to_me_is_taken_first() -> None:
    assert names(decide(leases(None, None, "me", "you"), held=frozenset()).take) == ["s2", "s0"]


def test_expired_leases_are_free_and_their_holder_no_longer_counts() -> None:
    decided = decide(leases("dead", "dead"), expired=frozenset({"s0", "s1"}))
    assert names(decided.take) == ["s0", "s1"]


def test_a_shard_whose_lost_batch_is_still_in_work_here_is_left_to_others() -> None:
    assert decide(leases(None, "you"), busy=frozenset({"s0"})) == Plan((), (), ())


def test_a_child_waits_until_its_parents_have_ended() -> None:
    parent, child = Lease("p"), Lease("c", parents=("p",))
    assert [lease.shard_id for lease in runnable([parent, child], {"p", "c"})] == ["p"]
    ended = Lease("p", ended=True)
    assert [lease.shard_id for lease in runnable([ended, child], {"p", "c"})] == ["c"]


def test_a_parent_without_a_lease_is_waited_for_while_the_stream_lists_it() -> None:
    child = Lease("c", parents=("p",))
    assert runnable([child], {"p", "c"}) == []
    assert runnable([child], {"c"}) == [child]


@settings(deadline=None)  # a busy machine is no defect
@given(
    st.lists(st.sampled_from(["me", "a", "b", "c", None]), max_size=24),
    st.sets(st.integers(min_value=0, max_value=23)),
)
def test_a_plan_takes_only_what_is_free_and_asks_only_for_what_is_held(
    owners: list[str | None], silent: set[int]
) -> None:
    all_leases = leases(*owners)
    expired = frozenset(f"s{number}" for number in silent) - {
        lease.shard_id for lease in all_leases if lease.owner == "me"
    }
    decided = decide(all_leases, expired=expired)
    for lease in decided.take:
        assert lease.owner is None or lease.shard_id in expired
    for lease in decided.want:
        assert lease.owner not in {None, "me"}
        assert lease.shard_id not in expired
    # Nobody is left idle while shards are free, and nobody takes more than the even share.
    workers = {lease.owner for lease in all_leases if lease.owner and lease.shard_id not in expired} | {"me"}
    mine = sum(lease.owner == "me" for lease in all_leases) + len(decided.take)
    share = -(-len(all_leases) // len(workers))
    assert not decided.take or mine <= share


@settings(deadline=None)  # a busy machine is no defect
@given(st.integers(min_value=1, max_value=30), st.integers(min_value=1, max_value=6))
def test_rounds_of_plans_end_with_an_even_share_and_rest(shards: int, workers: int) -> None:
    owners: dict[str, str | None] = {f"s{number}": None for number in range(shards)}
    wanted: dict[str, str | None] = dict.fromkeys(owners)
    names_of_workers = [f"w{number}" for number in range(workers)]
    for _ in range(40):
        moved = False
        for me in names_of_workers:
            view = [Lease(shard, owner=owners[shard], wanted=wanted[shard]) for shard in owners]
            decided = decide(view, me=me)
            moved = moved or decided != Plan((), (), ())
            for lease in decided.take:
                owners[lease.shard_id], wanted[lease.shard_id] = me, None
            for lease in decided.want:
                wanted[lease.shard_id] = me
            for lease in decided.hand_over:
                owners[lease.shard_id], wanted[lease.shard_id] = wanted[lease.shard_id], None
        if not moved:
            break
    else:
        raise AssertionError("the workers never rest")
    held = [sum(owner == me for owner in owners.values()) for me in names_of_workers]
    assert sum(held) == shards
    assert max(held) - min(held) <= 1 or shards < workers


def test_a_lease_expires_when_its_beat_stood_still_for_the_whole_time_it_was_watched() -> None:
    watch = Watch(lease_s=6)
    lease = Lease("s", owner="you", term=1, beat=1)
    assert watch.expired([lease], asked=0, answered=1) == frozenset()
    assert watch.expired([lease], asked=6.9, answered=7.5) == frozenset()  # seen at 1: not 6 s yet
    assert watch.expired([lease], asked=7.1, answered=7.5) == {"s"}


def test_any_other_beat_is_a_sign_of_life() -> None:
    watch = Watch(lease_s=6)
    watch.expired([Lease("s", owner="you", term=1, beat=5)], asked=0, answered=0)
    assert watch.expired([Lease("s", owner="you", term=1, beat=4)], asked=7, answered=7) == frozenset()
    assert watch.expired([Lease("s", owner="you", term=1, beat=4)], asked=12, answered=12) == frozenset()


def test_a_group_has_applied_up_to_its_slowest_readable_shard() -> None:
    parent = Lease("p", applied_to_s=50.0)
    child = Lease("c", parents=("p",))
    other = Lease("o", applied_to_s=70.0)
    assert group_applied_to_s([parent, child, other]) == 50.0


def test_a_group_that_never_read_a_readable_shard_has_no_lag_to_show() -> None:
    ended = Lease("p", applied_to_s=50.0, ended=True)
    child = Lease("c", parents=("p",))
    assert group_applied_to_s([ended, child]) is None
