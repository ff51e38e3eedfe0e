"""One trace for one write: through the item's event to the replicator, the feed and the verifier."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from msgspec import Raw

from api_world import ALL_NEW, Aborted, World
from apply_cases import COMMITTED_US, KEY, V, payload, protocol, source
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.core.protocol.events import Event, decode_events, encode_event
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.replication.change import decode_change
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.image import Image
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.sending import Sent
from crossfade.runtime.telemetry import current
from crossfade.runtime.telemetry.config import Sampling
from crossfade.runtime.telemetry.contract import BATCH_DURATION, RPC_DURATION
from crossfade.runtime.telemetry.schema import Service
from crossfade.runtime.telemetry.span_contract import APPLY, BATCH, DUAL_WRITE, PUBLISH, RECEIVE, RPC, VERIFY
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.publisher import FeedPipeline
from crossfade_replicator.records import Decoded, Pipeline, Record
from crossfade_replicator.tracing import Joined, Observed, ObservedTransfers, joined, looked_into
from crossfade_verifier.both import BothTables
from crossfade_verifier.looks import UNSEEN_S, FirstLooks
from engagement_api.keys import wallet_key
from engagement_migration import MAPPING
from replicator_bench import Bench, records
from telemetry_bench import CALLER, SAMPLED, TRACE, UNSAMPLED, Kept, id_of, kept, parent_of, trace_of

WALLET = wallet_key("7", "chan")


def events(traceparent: str) -> Raw:
    return wire.of_list([Raw(encode_event(Event("earn", 5, "watch", bytes(16), traceparent)))])


# ---- the API -----------------------------------------------------------------------------------


def traceparent_in(world: World, side: Side = Side.SOURCE) -> str:
    item = world.tables[side].item(WALLET)
    assert item is not None
    assert item.events is not None
    return decode_events(Raw(item.events))[-1].traceparent


async def test_the_event_carries_the_calls_own_span_when_it_is_recorded() -> None:
    world = World()
    pod = await world.pod()
    with kept(Service.API) as bench:
        await pod.earn(traceparent=SAMPLED)
        span = bench.the(RPC)
    assert (trace_of(span), parent_of(span)) == (TRACE, CALLER)
    assert traceparent_in(world) == f"00-{TRACE}-{id_of(span)}-01"
    attributes = dict(span.attributes or {})
    assert attributes["crossfade.outcome"] == "applied"
    assert attributes["rpc.response.status_code"] == "OK"


@pytest.mark.parametrize("caller", [UNSAMPLED, SAMPLED])
async def test_the_event_carries_the_callers_context_when_nothing_is_recorded(caller: str) -> None:
    world = World()
    pod = await world.pod()
    with kept(Service.API, Sampling(0.0, parent_based=False)) as bench:
        await pod.earn(traceparent=caller)
        assert bench.spans == []
    assert traceparent_in(world) == caller


async def test_a_refused_call_tells_its_status_in_span_and_metric() -> None:
    world = World()
    pod = await world.pod()
    with kept(Service.API) as bench:
        with pytest.raises(Aborted):
            await pod.spend(5)
        span, point = bench.the(RPC), bench.histogram(RPC_DURATION)
    assert (span.attributes or {})["rpc.response.status_code"] == "FAILED_PRECONDITION"
    assert span.status.status_code.name == "UNSET", "a caller's own fault is no error of the server"
    assert (point.attributes or {})["rpc.response.status_code"] == "FAILED_PRECONDITION"


async def test_a_handover_shows_as_events_of_the_call_with_the_reason() -> None:
    world = World()
    pod = await world.pod()
    await pod.earn()
    with kept(Service.API) as bench:
        await pod.flip(ALL_NEW)
        await pod.earn(traceparent=SAMPLED)
        told = [dict(each.attributes or {}) for each in bench.the(RPC).events]
    assert [each["crossfade.step"] for each in told] == ["sealed", "activated"]
    assert [each["crossfade.side"] for each in told] == ["source", "target"]
    assert all(each["crossfade.reason"] for each in told)
    assert pod.tally.moved == {"target": 1}


async def test_a_dual_writes_copy_is_a_span_of_its_call() -> None:
    world = World()
    pod = await world.pod(dual_write=True, budget_s=1.0)
    with kept(Service.API) as bench:
        await pod.earn(traceparent=SAMPLED)
        copy, call = bench.the(DUAL_WRITE), bench.the(RPC)
    assert parent_of(copy) == id_of(call)
    assert dict(copy.attributes or {}) == {"db.collection.name": "engagement", "crossfade.copy.outcome": "copied"}


# ---- the replicator ----------------------------------------------------------------------------


def written(traceparent: str, version: int = V, **more: Raw) -> bytes:
    """The record of an owner write whose call had this trace context."""
    target = source(KEY, 5, **protocol(version, "A", 1, version)) | {"cf_events": events(traceparent)} | more
    old = source(KEY, 4, **protocol(version - 1, "A", 1, version - 1)) | {"cf_events": events(SAMPLED)}
    return payload(target, old)


def sampled(batch: Sequence[Record]) -> list[Joined]:
    return joined(looked_into(batch, MAPPING.shape(Side.SOURCE).key), MAPPING, Side.SOURCE)


class Received:
    """A pipeline that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def apply(self, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        del shard_id
        self.records += records
        return BatchOutcome()


def looked_on(bench: Kept, pipeline: Pipeline, publishes_to: str = "") -> Observed:
    return Observed(
        pipeline,
        bench.telemetry,
        MAPPING,
        Side.SOURCE,
        consumer="feed-source" if publishes_to else "forward",
        stream="wallet-changes",
        publishes_to=publishes_to,
        clock=MemoryClock(COMMITTED_US),
    )


async def apply(bench: Kept, world: Bench, *payloads: bytes) -> None:
    pipeline: ApplyPipeline = world.pipelines[Direction.FORWARD]
    await looked_on(bench, pipeline).apply("shard-1", records(payloads))


async def test_a_sampled_record_joins_its_calls_trace_and_is_linked_with_its_batch() -> None:
    with kept(Service.FORWARD) as bench:
        await apply(bench, Bench(), written(SAMPLED))
        hop, work, batch = bench.the(RECEIVE), bench.the(APPLY), bench.the(BATCH)
    assert (trace_of(hop), parent_of(hop)) == (TRACE, CALLER)
    assert hop.start_time == COMMITTED_US * 1000, "the hop begins when the table took the write"
    assert (trace_of(work), parent_of(work)) == (TRACE, id_of(hop))
    assert (work.attributes or {})["crossfade.record.outcome"] == "applied"
    assert (work.attributes or {})["crossfade.version"] == str(V)
    assert trace_of(batch) != TRACE, "a batch has a trace of its own"
    assert [f"{each.context.span_id:016x}" for each in batch.links] == [CALLER]
    assert [f"{each.context.span_id:016x}" for each in work.links] == [id_of(batch)]


async def test_an_unsampled_batch_makes_no_span_but_its_time_is_kept() -> None:
    with kept(Service.FORWARD) as bench:
        await apply(bench, Bench(), written(UNSAMPLED))
        assert bench.spans == []
        assert bench.histogram(BATCH_DURATION).count == 1


async def test_each_record_of_a_batch_is_told_what_became_of_it() -> None:
    world = Bench()
    twin = SAMPLED.replace("4bf92f", "aaaaaa")
    broken = written(SAMPLED.replace("4bf92f", "bbbbbb"), V + 9, unknown=wire.of_number(1))
    with kept(Service.FORWARD) as bench:
        await apply(bench, world, written(SAMPLED), written(twin, V + 1), broken)
        await apply(bench, world, written(twin, V + 1))
        told = [(trace_of(each)[:6], (each.attributes or {})["crossfade.record.outcome"]) for each in bench.of(APPLY)]
    assert sorted(told) == [
        ("4bf92f", "coalesced"),
        ("aaaaaa", "applied"),
        ("aaaaaa", "deduplicated"),
        ("bbbbbb", "parked"),
    ]


async def test_a_verdict_of_the_table_is_told() -> None:
    world = Bench(use_marks=False)
    with kept(Service.FORWARD) as bench:
        await apply(bench, world, written(SAMPLED, V + 5))
        await apply(bench, world, written(SAMPLED, V))
        told = [(each.attributes or {})["crossfade.record.outcome"] for each in bench.of(APPLY)]
    assert told == [Verdict.APPLIED.value, Verdict.STALE.value]


async def test_only_requests_with_a_sampled_record_are_spans_of_the_batch() -> None:
    world = Bench()
    within: list[bool] = []

    class Table:
        async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
            within.append(current.get() is not None)
            return [Verdict.APPLIED] * len(transfers)

    table = ObservedTransfers(Table())
    world.senders[Direction.FORWARD]._table = table
    others = [owned_by(number, UNSAMPLED) for number in range(1, 30)]
    with kept(Service.FORWARD) as bench:
        await apply(bench, world, written(SAMPLED), *others)
        await apply(bench, world, written(UNSAMPLED, V + 1))
    assert sorted(within) == [False, False, True]


def owned_by(number: int, traceparent: str) -> bytes:
    key = key_of_strings(f"USER#{number + 100}", "POINTS#chan-3")
    return payload(source(key, 5, **protocol(V, "A", 1, V)) | {"cf_events": events(traceparent)}, None)


def test_only_the_record_of_the_write_itself_joins_its_trace() -> None:
    version = protocol(V, "A", 1, V) | {"cf_events": events(SAMPLED)}
    sealed = source(KEY, 5, **(version | protocol(V + 1, "S", 2)))
    lifted = source(KEY, 5, **(version | protocol(V + 1, "A", 1)))
    owner = source(KEY, 5, **version)
    rows = [payload(sealed, owner), payload(lifted, owner), payload(owner, owner), b'-01"']
    assert sampled(records(rows)) == []
    assert len(sampled(records([payload(owner, None)]))) == 1


def test_a_trace_context_that_is_none_is_not_joined() -> None:
    assert sampled(records([written("junk-01")])) == []


async def test_what_was_decoded_to_see_whether_it_is_sampled_comes_to_the_pipeline_decoded() -> None:
    # A copy of a sampled write looks sampled and joins no trace: it is not decoded again either.
    told = {"cf_events": events(SAMPLED)}
    owner = source(KEY, 5, **(protocol(V, "A", 1, V) | told))
    copy = payload(source(KEY, 5, **(protocol(V + 1, "A", 1, V) | told)), owner)
    unreadable, plain = b'{"-01"}', payload(source(KEY, 5, **protocol(V, "A", 1)), None)
    for batch in ([written(SAMPLED), copy, unreadable, plain], [copy, unreadable, plain]):
        received = Received()
        with kept(Service.FORWARD) as bench:
            await looked_on(bench, received).apply("shard-1", records(batch))
        found = [each.change.key if isinstance(each, Decoded) else None for each in received.records]
        assert found == [KEY] * (len(batch) - 2) + [None, None]
        assert [each.data for each in received.records] == batch


async def test_a_batch_that_fails_fails_its_spans() -> None:
    world = Bench()
    world.writers[Direction.FORWARD].answers.append(StoreRefused("gone", reason="ResourceNotFoundException"))
    with kept(Service.FORWARD) as bench:
        with pytest.raises(StoreRefused):
            await apply(bench, world, written(SAMPLED))
        assert {each.status.status_code.name for each in (bench.the(APPLY), bench.the(BATCH))} == {"ERROR"}


class Published:
    """A feed stream."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    async def put_records(self, stream: str, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        self.payloads += [data for _, data in records]
        return [True] * len(records)


async def test_the_published_event_is_a_span_of_the_trace_and_carries_its_context_on() -> None:
    stream = Published()
    feed = FeedPipeline(
        MAPPING,
        Side.SOURCE,
        publisher=stream,
        stream="engagement-events",
        letters=MemoryDeadLetters(),
        clock=MemoryClock(),
    )
    with kept(Service.FEED) as bench:
        observed = looked_on(bench, feed, publishes_to="engagement-events")
        await observed.apply("shard-1", records([written(SAMPLED)]))
        sent, hop = bench.the(PUBLISH), bench.the(RECEIVE)
    assert (trace_of(sent), parent_of(sent)) == (TRACE, id_of(hop))
    assert [msgspec.json.decode(each)["traceparent"] for each in stream.payloads] == [SAMPLED]


# ---- the verifier ------------------------------------------------------------------------------


class Verifier:
    """First looks at records that a test makes."""

    def __init__(self, bench: Kept) -> None:
        self.world = Bench()
        self.clock = MemoryClock()
        both = BothTables(MAPPING, self.world.source, self.world.target)
        streams = {Side.SOURCE: "wallet-changes", Side.TARGET: "engagement-changes"}
        self.looks = FirstLooks(bench.telemetry, both, streams, clock=self.clock)
        self.owner = written(SAMPLED)

    async def copy(self, payload_: bytes | None = None) -> Image:
        await self.world.forward([payload_ or self.owner])
        return dict(self.world.target.images[KEY])

    def hear_owner(self, payload_: bytes | None = None) -> None:
        self.looks.hear(Side.SOURCE, decode_change(payload_ or self.owner, ("pk", "sk")))

    def hear_copy(self, image: Image) -> None:
        self.looks.hear(Side.TARGET, decode_change(payload(image, None, side=Side.TARGET), ("pk", "sk")))


def verdicts(bench: Kept) -> list[object]:
    return [(each.attributes or {})["crossfade.verdict"] for each in bench.of(VERIFY)]


async def test_the_verifiers_first_look_joins_the_trace_and_ends_with_the_equal_copy() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_owner()
        assert bench.of(VERIFY) == []
        verifier.hear_copy(await verifier.copy())
        hop, look = bench.the(RECEIVE), bench.the(VERIFY)
    assert (trace_of(look), parent_of(look)) == (TRACE, id_of(hop))
    assert parent_of(hop) == CALLER
    assert verdicts(bench) == ["equal"]


async def test_it_is_the_same_when_the_copy_is_read_first() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_copy(await verifier.copy())
        verifier.hear_owner()
        assert verdicts(bench) == ["equal"]


async def test_a_copy_with_other_content_is_called_diverged() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_owner()
        verifier.hear_copy(await verifier.copy() | {"points": wire.of_number(6)})
        assert verdicts(bench) == ["diverged"]


async def test_a_later_version_overtakes_the_one_that_was_looked_at() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_owner()
        verifier.hear_copy(await verifier.copy(written(UNSAMPLED, V + 3)))
        assert verdicts(bench) == ["overtaken"]


async def test_an_older_copy_ends_nothing() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_owner(written(SAMPLED, V + 3))
        verifier.hear_copy(await verifier.copy(written(SAMPLED, V)))
        assert verdicts(bench) == []


async def test_a_duplicate_record_is_no_first_look() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_owner()
        verifier.hear_owner()
        verifier.hear_copy(await verifier.copy())
        verifier.hear_owner()
        assert verdicts(bench) == ["equal"]


async def test_a_copy_that_does_not_come_in_time_is_unseen() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_owner()
        verifier.clock.pass_s(UNSEEN_S + 1)
        verifier.hear_owner(written(SAMPLED.replace("4bf92f", "aaaaaa"), V + 1))
        assert verdicts(bench) == ["unseen"]
        verifier.looks.close()
        assert verdicts(bench) == ["unseen", "unseen"]


async def test_unsampled_records_are_not_looked_at() -> None:
    with kept(Service.VERIFIER) as bench:
        verifier = Verifier(bench)
        verifier.hear_owner(written(UNSAMPLED))
        verifier.looks.close()
        assert bench.spans == []
