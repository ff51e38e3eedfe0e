"""The Lambda function: which stream an event is of, and what its pipeline's outcome asks for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
from test_lambda_function import POISON, SHARD, STREAM, Deployed, answer, deployed, event, key, write

from apply_cases import COMMITTED_US, V, payload, protocol, source
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import of_string
from crossfade_replicator.function_event import read_event

__all__ = ["deployed"]  # a fixture


CONSUMER = "stream/wallet-changes/consumer/crossfade-forward:1764230400"


@pytest.mark.parametrize("region", ["aws:kinesis:us-east-1", "aws-us-gov:kinesis:us-gov-west-1"])
@pytest.mark.parametrize("source", ["stream/wallet-changes", CONSUMER])
def test_b6_an_event_of_a_consumer_is_of_its_stream(source: str, region: str) -> None:
    """With enhanced fan-out the event source is the consumer: its name was taken for a part of the stream's."""
    found = event(write(1))
    found["Records"][0]["eventSourceARN"] = f"arn:{region}:000000000000:{source}"
    assert read_event(found).stream == STREAM


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:dynamodb:us-east-1:000000000000:table/wallet/stream/2026-11-28T00:00:00.000",
        "arn:aws:kinesis:us-east-1:000000000000:stream/wallet-changes/consumer/",
        "arn:aws:kinesis:us-east-1:000000000000:stream/",
        "arn:aws:sqs:us-east-1:000000000000:wallet-changes",
        "wallet-changes",
        "",
    ],
)
def test_b6_an_event_of_something_else_is_refused_with_its_arn(arn: str) -> None:
    found = event(write(1))
    found["Records"][0]["eventSourceARN"] = arn
    with pytest.raises(ConfigError, match=r"neither a Kinesis stream's ARN"):
        read_event(found)


async def test_a5_a_record_is_decoded_and_decided_once_though_time_runs_out_and_its_letter_is_written(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left, what was parked and what was a stray was decoded again; the first was decided again, too."""
    decoded: list[bytes] = []

    def decode(data: bytes, names: Sequence[str]) -> Change:
        decoded.append(data)
        return decode_change(data, names)

    for module in (name for name in sys.modules if name.startswith("crossfade_replicator.")):
        if hasattr(sys.modules[module], "decode_change"):
            monkeypatch.setattr(f"{module}.decode_change", decode)
    deployed.table.hot = frozenset({key(3)})
    unmappable = payload(source(key(9), colour=of_string("red"), **protocol(V, "A", 2, V)), None)
    batch = [write(1), POISON, write(3), unmappable, write(2)]
    assert await deployed.run(*batch) == answer(102)
    assert await deployed.bench.letters.count() == 2
    assert decoded == batch


async def test_a5_a_batchs_outcome_is_a_value_with_its_counts_its_letters_and_what_must_be_delivered_again() -> None:
    deployed = Deployed()
    deployed.table.hot = frozenset({key(3), key(5)})
    batch = read_event(event(write(5), POISON, write(1), write(3), write(2)))
    deployed.time_left.start(1.0)
    outcome = await deployed.pipeline.apply(SHARD, batch.records)
    assert {name: count for name, count in outcome.counts.items() if count} == {
        "records": 5,
        "applied": 2,
        "throttled": 2,
        "parked": 1,
    }
    assert [each.sequence for each in outcome.parked] == [f"{SHARD}:101"]
    assert outcome.again == (0, 3)
    assert outcome.applied_commit_us == COMMITTED_US
    assert await deployed.bench.letters.all() == list(outcome.parked)


async def test_b6_the_schedules_event_lets_letters_go_that_their_rows_answer(deployed: Deployed) -> None:
    """A Lambda replicator had nobody to do it."""
    await deployed.run(write(1, V, 5), write(1, V, 6))
    assert [each.code for each in await deployed.bench.letters.all()] == ["conflict"]
    await deployed.function.run({"crossfade": "report"}, 30.0)
    assert await deployed.bench.letters.count() == 1
    await deployed.run(write(1, V + 1, 7))
    await deployed.function.run({"crossfade": "report"}, 30.0)
    assert await deployed.bench.letters.count() == 0
