"""The feed's pipeline: every event acknowledged before its batch is, and in order within a key."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from apply_cases import COMMITTED_US, EVENT, V, payload, protocol, source
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.core.replication.feed import decode_published
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreRefused, StoreUnavailable
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Side
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.publisher import FeedPipeline
from engagement_migration import MAPPING
from replicator_bench import records


class Stream:
    """A stream that refuses what it is told to, and keeps the rest in order."""

    def __init__(self, *refusals: set[int] | Exception) -> None:
        self._refusals = list(refusals)
        self.kept: list[tuple[str, bytes]] = []
        self.requests: list[int] = []

    async def put_records(self, stream: str, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        assert stream == "events"
        self.requests.append(len(records))
        refused = self._refusals.pop(0) if self._refusals else set()
        if isinstance(refused, Exception):
            raise refused
        self.kept += [each for index, each in enumerate(records) if index not in refused]
        return [index not in refused for index in range(len(records))]

    def told(self, user: int) -> list[int]:
        """Versions of a user's events, in the order of the stream."""
        found = [decode_published(data) for place, data in self.kept if f"USER#{user}" in place]
        return [each.version - V for each in found]


def write(version: int, user: int = 1, events: int = 1) -> bytes:
    key = key_of_strings(f"USER#{user}", "POINTS#1")
    target = source(key, **protocol(V + version, "A", 1, V + version)) | {"cf_events": wire.of_list([EVENT] * events)}
    return payload(target, source(key, **protocol(V + version - 1, "A", 1, V + version - 1)))


async def feed(stream: Stream, *payloads: bytes, letters: MemoryDeadLetters | None = None) -> BatchOutcome:
    pipeline = FeedPipeline(
        MAPPING,
        Side.SOURCE,
        publisher=stream,
        stream="events",
        letters=letters or MemoryDeadLetters(),
        clock=MemoryClock(COMMITTED_US),
    )
    return await pipeline.apply("shard-1", records(payloads))


async def test_every_event_of_a_batch_is_published_under_its_key() -> None:
    stream = Stream()
    tally = await feed(stream, write(1), write(2), write(1, user=2, events=3))
    assert stream.told(1) == [1, 2]
    assert stream.told(2) == [1, 1, 1]
    assert [decode_published(data).index for place, data in stream.kept if "USER#2" in place] == [0, 1, 2]
    assert tally.counts["published"] == 5


async def test_a_key_keeps_its_order_when_the_stream_refuses_a_part() -> None:
    """With both in one request, a refused first would come after its successor."""
    stream = Stream({0}, {0}, set())
    await feed(stream, write(1), write(2), write(3), write(1, user=2))
    assert stream.told(1) == [1, 2, 3]
    assert stream.told(2) == [1]


async def test_a_stream_that_does_not_answer_is_asked_again() -> None:
    stream = Stream(StoreUnavailable("silence"))
    await feed(stream, write(1))
    assert stream.told(1) == [1]


async def test_a_stream_that_refuses_us_is_an_error_and_nothing_may_be_acknowledged() -> None:
    with pytest.raises(StoreRefused):
        await feed(Stream(StoreRefused("no", reason="AccessDeniedException")), write(1))


async def test_nothing_is_deduplicated_or_coalesced() -> None:
    stream = Stream()
    await feed(stream, write(2), write(1), write(2))
    assert stream.told(1) == [2, 1, 2]


async def test_records_of_others_yield_nothing_and_unreadable_ones_are_parked() -> None:
    stream, letters = Stream(), MemoryDeadLetters()
    other = payload(source(key_of_strings("USER#1", "LEDGER#1"), **protocol(V, "A", 1, V)), None)
    broken = source(**protocol(V, "A", 1, V)) | {"cf_events": wire.of_string("?")}
    tally = await feed(stream, other, b"?", payload(broken, None), write(1), letters=letters)
    assert stream.told(1) == [1]
    assert {each.consumer for each in await letters.all()} == {"feed-source"}
    assert (tally.counts["parked"], tally.counts["not_ours"], tally.counts["records"]) == (2, 1, 4)
