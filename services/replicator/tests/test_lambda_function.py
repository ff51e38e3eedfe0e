"""The function: what it answers when all, some or nothing of a batch is done, and what it tells."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec import Raw

from apply_cases import COMMITTED_US, V, payload, protocol, source
from crossfade.adapters.control.reports import Held
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import MemoryJournal
from crossfade.contracts.report import Report
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values.errors import ConfigError, StoreRefused, StoreUnavailable
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction
from crossfade.ports.sending import NotSent, Sent
from crossfade.ports.streams import Fetched, StreamRecord, StreamShard
from crossfade.runtime.telemetry.emf import emf_lines
from crossfade_replicator.function import Function, Source, TimeLeft
from crossfade_replicator.function_event import read_event
from crossfade_replicator.function_metrics import Ran, measured
from crossfade_replicator.function_reports import FunctionReports, Reach, merged, waiting_since_s
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.journal import PhaseWatch, work_of
from crossfade_replicator.letters import drop_answered
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.sender import Sender
from engagement_migration import MAPPING
from replicator_bench import Bench, Counting

FORWARD = Direction.FORWARD
NOW_S = COMMITTED_US / 1e6 + 10.0
STREAM, SHARD = "wallet-changes", "shardId-000000000000"
POISON = b"{"


def key(number: int) -> Any:
    return key_of_strings(f"USER#{number}", "POINTS#chan-3")


def write(number: int, version: int = V, balance: int = 5) -> bytes:
    """A change record of an owner write."""
    older = source(key(number), balance - 1, **protocol(version - 1, "A", 2, version - 1))
    return payload(source(key(number), balance, **protocol(version, "A", 2, version)), older)


def event(*payloads: bytes, stream: str = STREAM) -> dict[str, Any]:
    """What Lambda hands in; sequence numbers are 100, 101 …, arrivals a second apart."""
    return {
        "Records": [
            {
                "eventID": f"{SHARD}:{100 + place}",
                "eventSourceARN": f"arn:aws:kinesis:us-east-1:000000000000:stream/{stream}",
                "kinesis": {
                    "sequenceNumber": str(100 + place),
                    "data": base64.b64encode(data).decode(),
                    "approximateArrivalTimestamp": NOW_S - 5 + place,
                },
            }
            for place, data in enumerate(payloads)
        ]
    }


def answer(*sequences: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": str(each)} for each in sequences]}


class Hot(Counting):
    """A table that sends back what is on its hot keys."""

    hot: frozenset[Any] = frozenset()

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        cool = [each for each in transfers if each.key not in self.hot]
        verdicts = iter(await super().transfer(cool) if cool else [])
        return [NotSent.THROTTLED if each.key in self.hot else next(verdicts) for each in transfers]


class MemoryHeld:
    """A store of reports; `between` happens before a replacement, once."""

    def __init__(self) -> None:
        self.reports: dict[tuple[str, str], Report] = {}
        self.between: Callable[[], None] | None = None

    async def held(self, consumer: str, shard: str) -> Held | None:
        found = self.reports.get((consumer, shard))
        return None if found is None else Held(found, Raw(repr(found).encode()))

    async def replace(self, held: Held | None, report: Report) -> bool:
        if self.between is not None:
            between, self.between = self.between, None
            between()
        now = await self.held(report.consumer, report.shard)
        if (now and bytes(now.body)) != (held and bytes(held.body)):
            return False
        self.reports[report.consumer, report.shard] = report
        return True


class Pages:
    """A stream of one shard: records behind positions, after some empty pages."""

    def __init__(self, *records: StreamRecord, empty: int = 0) -> None:
        self.records, self.empty = list(records), empty

    async def list_shards(self, stream: str) -> list[StreamShard]:
        return [StreamShard(SHARD, ())]

    async def shard_iterator(
        self, stream: str, shard_id: str, *, after: str | None = None, at_s: float | None = None, latest: bool = False
    ) -> str:
        return f"{self.empty}/{after or ''}"

    async def get_records(self, iterator: str, limit: int = 1000) -> Fetched:
        empty, _, after = iterator.partition("/")
        left = [each for each in self.records if int(each.sequence_number) > int(after or 0)]
        if int(empty):
            return Fetched([], f"{int(empty) - 1}/{after}", 1000 if left else 0)
        return Fetched(left[:limit], f"0/{after}", 0)


class Still(MemoryClock):
    """The sender's pauses take time; by the wall clock it is `NOW_S`."""

    def wall_us(self) -> int:
        return int(NOW_S * 1e6)


class Deployed:
    """The function on tables in memory. Its clock stands still but for the sender's pauses."""

    def __init__(self, *, partial: bool = True, stream: Pages | None = None) -> None:
        self.bench = Bench()
        self.table = Hot(self.bench.target)
        self.journal = MemoryJournal()
        self.store = MemoryHeld()
        self.ran: list[Ran] = []
        self.clock = clock = Still()
        self.time_left = time_left = TimeLeft(clock)
        self.sender = Sender(self.table, clock=clock, jitter=lambda: 1.0, time_left_s=time_left.left_s)
        interventions = Interventions(
            MAPPING, FORWARD, self.bench.source, self.bench.target, self.bench.letters, clock=clock
        )
        self.pipeline = pipeline = ApplyPipeline(
            MAPPING,
            FORWARD,
            sender=self.sender,
            interventions=interventions,
            marks=self.bench.marks,
            letters=self.bench.letters,
            clock=self.bench.clock,
        )
        self.function = Function(
            {STREAM: Source("forward", pipeline, self.sender, self._tidy, work_of(MAPPING, FORWARD))},
            PhaseWatch(self.journal),
            FunctionReports(self.store, stream or Pages(), clock=clock),
            time_left,
            clock=clock,
            partial=partial,
            reserve_s=2.0,
            emit=self.ran.append,
        )

    async def _tidy(self) -> int:
        return await drop_answered(self.bench.letters, MAPPING, FORWARD, self.bench.target)

    async def phase(self, phase: Phase) -> None:
        await self.journal.append("phase", {"from": "", "to": phase.value, "gates": []})

    async def run(self, *payloads: bytes, allowed_s: float = 30.0) -> dict[str, Any]:
        return await self.function.run(event(*payloads), allowed_s)

    def report(self) -> Report:
        return self.store.reports["forward", f"{STREAM}/{SHARD}"]


@pytest.fixture
async def deployed() -> Deployed:
    made = Deployed()
    await made.phase(Phase.BOTH_WAYS)
    return made


# ---- what it answers -----------------------------------------------------------------------------


async def test_a_batch_that_is_applied_names_no_failure(deployed: Deployed) -> None:
    assert await deployed.run(write(1), write(2)) == answer()
    assert len(deployed.bench.target.images) == 2


async def test_rule_11_only_what_is_throttled_and_behind_is_delivered_again(deployed: Deployed) -> None:
    deployed.table.hot = frozenset({key(3)})
    batch = [write(1), write(2), write(3, V), write(4), write(3, V + 1, 6), write(5)]
    assert await deployed.run(*batch) == answer(104), "the older write of the hot key is overtaken by the newer"
    assert {each for each in range(1, 6) if deployed.bench.target.item(key(each))} == {1, 2, 4, 5}
    deployed.table.hot = frozenset()
    assert await deployed.run(*batch[4:]) == answer()
    hot = deployed.bench.target.item(key(3))
    assert hot is not None
    assert hot.version == V + 1


async def test_rule_11_a_throttle_that_passes_in_time_costs_only_time(deployed: Deployed) -> None:
    deployed.table.answers = [[NotSent.THROTTLED, NotSent.THROTTLED]]
    assert await deployed.run(write(1), write(2)) == answer()
    assert deployed.clock.monotonic() > 0


async def test_rule_11_it_backs_off_until_the_reserve_and_not_longer(deployed: Deployed) -> None:
    deployed.table.hot = frozenset({key(1)})
    assert await deployed.run(write(1), allowed_s=30.0) == answer(100)
    assert 20.0 < deployed.clock.monotonic() <= 28.0, "30 s, less a reserve of 2"


async def test_a_short_timeout_still_leaves_time_to_work(deployed: Deployed) -> None:
    assert await deployed.run(write(1), allowed_s=1.5) == answer(), "the reserve is a third at most"


async def test_rule_11_poison_is_parked_with_its_payload_and_is_no_failure(deployed: Deployed) -> None:
    assert await deployed.run(write(1), POISON, write(2)) == answer()
    (letter,) = await deployed.bench.letters.all()
    assert (letter.payload, letter.sequence) == (POISON, f"{SHARD}:101")


async def test_a_refusal_for_good_is_parked_with_its_cause_and_a_held_out_keys_is_counted(deployed: Deployed) -> None:
    deployed.table.answers = [
        [Verdict.APPLIED, Unfit("Item size has exceeded the maximum allowed size"), Unfit("same")]
    ]
    held_out = payload(source(key(3), **protocol(V, "A", 3, V)), None)
    assert await deployed.run(write(1), write(2), held_out) == answer()
    (letter,) = await deployed.bench.letters.all()
    assert (letter.key, letter.code) == (key(2), "refused")
    assert letter.reason.endswith(": Item size has exceeded the maximum allowed size")
    assert deployed.ran[-1].counts["held_out"] == 1


async def test_poison_before_a_throttled_record_is_parked_and_not_replayed(deployed: Deployed) -> None:
    deployed.table.hot = frozenset({key(2)})
    assert await deployed.run(POISON, write(1), write(2)) == answer(102)
    assert await deployed.bench.letters.count() == 1


async def test_what_was_applied_is_marked_so_that_the_replay_costs_no_write(deployed: Deployed) -> None:
    deployed.table.hot = frozenset({key(1)})
    await deployed.run(write(1), write(2))
    deployed.table.hot = frozenset()
    deployed.table.calls.clear()
    assert await deployed.run(write(1), write(2)) == answer()
    assert deployed.table.sent == 1


async def test_a_store_that_hangs_is_cut_off_and_the_whole_batch_is_delivered_again(deployed: Deployed) -> None:
    async def hang(*_: Any, **__: Any) -> list[Sent]:
        await asyncio.sleep(60)
        return []

    deployed.table.transfer = hang  # type: ignore[method-assign]  # a table that doesn't answer
    assert await deployed.run(write(1), write(2), allowed_s=0.3) == answer(100)


async def test_a_table_that_is_gone_fails_the_invocation(deployed: Deployed) -> None:
    deployed.table.answers = [StoreRefused("gone", reason="ResourceNotFoundException")]
    with pytest.raises(StoreRefused):
        await deployed.run(write(1))


async def test_without_partial_responses_a_batch_that_is_not_done_fails_whole() -> None:
    deployed = Deployed(partial=False)
    await deployed.phase(Phase.BOTH_WAYS)
    deployed.table.hot = frozenset({key(2)})
    with pytest.raises(StoreUnavailable, match="whole batch"):
        await deployed.run(write(1), write(2))
    deployed.table.hot = frozenset()
    assert await deployed.run(write(1), write(2)) == answer()


# ---- what it refuses -----------------------------------------------------------------------------


async def test_nothing_is_applied_before_the_phase_and_everything_is_delivered_again() -> None:
    deployed = Deployed()
    assert await deployed.run(write(1), write(2)) == answer(100)
    assert not deployed.bench.target.images
    await deployed.phase(Phase.CATCHING_UP)
    assert await deployed.run(write(1), write(2)) == answer()
    assert len(deployed.bench.target.images) == 2


async def test_a_phase_that_ends_the_role_is_noticed(deployed: Deployed) -> None:
    await deployed.run(write(1))
    await deployed.phase(Phase.ABORTED)
    deployed.clock.pass_s(60)
    assert await deployed.run(write(2)) == answer(100)


async def test_the_stream_of_another_role_is_refused(deployed: Deployed) -> None:
    with pytest.raises(ConfigError, match=r"engagement-changes.*CROSSFADE_CONSUMER"):
        await deployed.function.run(event(write(1), stream="engagement-changes"), 30.0)


@pytest.mark.parametrize("wrong", [{}, {"Records": []}, {"Records": [{"body": "of a queue"}]}, {"Records": None}])
def test_another_kind_of_event_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Kinesis event source mapping"):
        read_event(wrong)


def test_an_event_is_read_as_it_came() -> None:
    batch = read_event(event(b"one", b"two"))
    assert (batch.stream, batch.shard_id) == (STREAM, SHARD)
    assert [(each.sequence_number, each.data) for each in batch.records] == [("100", b"one"), ("101", b"two")]


# ---- what it tells -------------------------------------------------------------------------------


async def test_metrics_have_the_names_that_cloudwatch_users_look_for(deployed: Deployed) -> None:
    deployed.table.answers = [[NotSent.THROTTLED] * 2]
    await deployed.run(write(1), write(2), POISON)
    values: dict[str, Any] = {}
    for line in emf_lines("replicator-forward", "engagement", measured(deployed.ran[0])):
        told = json.loads(line)
        for metric in told["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            values[metric["Name"] + told.get("RecordOutcome", "") + told.get("Mark", "")] = told[metric["Name"]]
    assert values["Throughput"] == 3
    assert values["Recordsapplied"] == 2
    assert values["Recordsparked"] == 1
    assert values["ThrottledStatements"] == 2
    assert values["DedupLookupsmiss"] == 2
    assert values["IteratorAge"] == pytest.approx(3000)
    assert values["UnappliedAge"] == 0
    assert "Duration" in values
    assert "TableToStreamLag" in values
    assert "Recordsthrottled" not in values


async def test_the_report_says_how_far_the_shard_is_and_adds_up(deployed: Deployed) -> None:
    await deployed.run(write(1), write(2))
    deployed.table.hot = frozenset({key(4)})
    await deployed.run(write(3), write(4))
    report = deployed.report()
    assert report.counts["records"] == 4
    assert report.counts["applied"] == 3
    assert report.position == "100", "the record before the one that is left"
    assert report.oldest_unapplied_us == round((NOW_S - 4) * 1e6)
    assert report.iterator_age_ms == 4000


async def test_a_report_that_another_invocation_replaced_is_read_again(deployed: Deployed) -> None:
    other = Report("forward", f"{STREAM}/{SHARD}", 1, 0, 0, 0, {"applied": 40})
    deployed.store.between = lambda: deployed.store.reports.update({("forward", f"{STREAM}/{SHARD}"): other})
    await deployed.run(write(1))
    assert deployed.report().counts["applied"] == 41


def test_the_time_of_the_last_stray_outlives_the_container_that_saw_it() -> None:
    finding, quiet = BatchOutcome(stray_last_us=7), BatchOutcome()
    reach = Reach(0.0, 0.0, "7")
    seen = merged(None, "forward", "s/1", finding, reach, now_us=1_000_000)
    later = merged(seen, "forward", "s/1", quiet, reach, now_us=10**15)
    assert [each.stray_last_us for each in (seen, later)] == [7, 7]


async def test_a_still_shard_is_reported_as_drained_or_as_waiting() -> None:
    for records, waits_us in (([], 0), ([StreamRecord("101", "k", b"", NOW_S - 2.0)], round((NOW_S - 2.0) * 1e6))):
        deployed = Deployed(stream=Pages(StreamRecord("100", "k", b"", NOW_S - 5.0), *records))
        await deployed.phase(Phase.BOTH_WAYS)
        await deployed.run(write(1))
        assert await deployed.function.run({"crossfade": "report"}, 30.0) == {"reported": 1}
        report = deployed.report()
        assert (report.position, report.oldest_unapplied_us) == ("100", waits_us)
        assert report.counts["applied"] == 1


async def test_a_batch_that_came_between_is_not_overwritten_by_the_schedule(deployed: Deployed) -> None:
    newer = Report("forward", f"{STREAM}/{SHARD}", 1, 0, 0, 0, {"applied": 40}, position="900")
    deployed.store.between = lambda: deployed.store.reports.update({("forward", f"{STREAM}/{SHARD}"): newer})
    assert await deployed.function.run({"crossfade": "report"}, 30.0) == {"reported": 0}
    assert deployed.report() == newer


async def test_empty_pages_before_the_first_record_are_read_over() -> None:
    record = StreamRecord("5", "k", b"", 77.0)
    assert await waiting_since_s(Pages(record, empty=3), STREAM, SHARD, "4") == 77.0
    assert await waiting_since_s(Pages(record), STREAM, SHARD, "5") == 0.0
    assert await waiting_since_s(Pages(record, empty=10_000), STREAM, SHARD, "4") is None
