"""What is said of records that can't be applied, in logs, spans and letters: no customer's value (ADR 0039)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from apply_cases import KEY, V, payload, protocol, source, target
from crossfade.core.values import image as wire
from crossfade.core.values.shape import Direction, Side
from crossfade.runtime.telemetry.config import Sampling
from crossfade.runtime.telemetry.schema import Service
from replicator_bench import Bench
from telemetry_bench import kept

SECRET = "Hushhush7"
SIGNS = re.compile(rf"{SECRET}|31415926535", re.IGNORECASE)
"""A text and a number that no message would have by chance."""

ROWS: dict[str, dict[str, Raw]] = {
    "a constant that is another one": {"wallet_type": wire.of_string(SECRET)},
    "an attribute that nobody knows": {"colour": wire.of_string(SECRET)},
    "a number that is a text": {"balance": wire.of_string(SECRET)},
    "a number with a fraction": {"balance": Raw(b'{"N":"31415926535.5"}')},
    "a moment that can't be computed": {"created_at": wire.of_string(SECRET)},
    "a set of events that is a text": {"cf_events": wire.of_string(SECRET)},
    "a version that is a text": {"cf_mv": wire.of_string(SECRET)},
    "no attribute value": {"tier": Raw(b'{"S":"%s","N":"31415926535"}' % SECRET.encode())},
}

RECORDS: dict[str, Any] = {
    "cut off": lambda record: msgspec.json.encode(record)[:-40] + SECRET.encode(),
    "another kind": lambda record: msgspec.json.encode(record | {"eventName": SECRET}),
    "a time of another precision": lambda record: msgspec.json.encode(
        record | {"dynamodb": record["dynamodb"] | {"ApproximateCreationDateTime": SECRET}}
    ),
    "an old version that is none": lambda record: msgspec.json.encode(
        record | {"dynamodb": record["dynamodb"] | {"OldImage": {"cf_mv": {"N": SECRET}}}}
    ),
    "an image that is a text": lambda record: msgspec.json.encode(
        record | {"dynamodb": record["dynamodb"] | {"NewImage": SECRET}}
    ),
    "keys that are none": lambda record: msgspec.json.encode(
        record | {"dynamodb": record["dynamodb"] | {"Keys": SECRET}}
    ),
}


async def said(bench: Bench, direction: Direction, data: list[bytes], capsys: pytest.CaptureFixture[str]) -> str:
    """Apply records; return all that was said about them, except for the records themselves."""
    with kept(Service.FORWARD, Sampling(1.0)) as telemetry:
        await bench.apply(direction, data)
        spans = [f"{each.name} {dict(each.attributes or {})} {each.status.description}" for each in telemetry.spans]
        spans += [f"{event.name} {dict(event.attributes or {})}" for each in telemetry.spans for event in each.events]
    letters = [*await bench.letters.all(), *await bench.letters.settled()]
    reasons = [f"{each.code} {each.reason} {each.cure}" for each in letters]
    captured = capsys.readouterr()
    return "\n".join([*spans, *reasons, captured.out, captured.err])


@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
@pytest.mark.parametrize("kind", ROWS)
async def test_a_row_that_can_not_be_applied_is_not_quoted(
    kind: str, side: Side, capsys: pytest.CaptureFixture[str]
) -> None:
    made = source(KEY, 5) if side is Side.SOURCE else target(KEY, 5)
    row = made | protocol(V, "A", 1 if side is Side.TARGET else 2, V) | ROWS[kind]
    direction = Direction.FORWARD if side is Side.SOURCE else Direction.REVERSE
    told = await said(Bench(strays_since_us=1), direction, [payload(row, None, side=side)], capsys)
    assert not SIGNS.search(told), told


@pytest.mark.parametrize("kind", RECORDS)
async def test_a_record_that_can_not_be_read_is_not_quoted(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = payload(source(KEY, 5) | protocol(V, "A", 2, V) | {"tier": wire.of_string(SECRET)}, None)
    bench = Bench(strays_since_us=1)
    told = await said(bench, Direction.FORWARD, [RECORDS[kind](msgspec.json.decode(whole))], capsys)
    assert await bench.letters.count() == 1, "or nothing was said at all"
    assert not SIGNS.search(told), told


async def test_a_stray_is_named_by_its_key_alone(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(strays_since_us=1)
    for tier in ("first", SECRET):
        bench.source.put(source(KEY, 5) | {"tier": wire.of_string(tier)})
    told = await said(bench, Direction.FORWARD, bench.source.changes, capsys)
    assert "stray" in told
    assert not SIGNS.search(told), told
