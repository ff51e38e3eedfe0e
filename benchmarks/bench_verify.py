"""CPU time of the verifier's sweep, a pair of rows, beside what it did before ADR 0035.

    python benchmarks/bench_verify.py [--pairs 40000] [--rounds 5] [--json]

Two tables of rows that are equal, as answers of Scan and BatchGetItem: of the engagement wallets (renames, a constant),
with and without a computed attribute, and under mappings that keep every attribute. *compare* is a page of the source
table and its counterparts, from the bytes of the answers to "the same" and a digest; *before* does that the way it was
done: decode, parse, map, agree, canonical digest, with the core's functions. *sweep* is a whole pass, in which both
tables are scanned and matched by key; *network* is the same over a server that answers at once. CPU time is this
process's, of the best round; machines differ and are noisy: compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import uvloop
import xxhash
from apply_records import IDENTITY, wallet
from stub_server import Client, response

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.passes import MemoryPassStore
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.contracts.passes import PassRecord, pass_id
from crossfade.core.mapping.rules import RuleMapping, Table, key_prefixes
from crossfade.core.parity.classes import Pair
from crossfade.core.protocol.keyed.item import Item, parse_item
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.row import canonical_content
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import Direction, Side
from crossfade.runtime.pace import Pace
from crossfade_replicator.tuning import tune_garbage_collection
from crossfade_verifier.both import BothTables
from crossfade_verifier.findings import Findings, Limits
from crossfade_verifier.followlist import Handovers
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import Reading
from crossfade_verifier.scan_unit import ScanUnit
from crossfade_verifier.settings import Settings
from crossfade_verifier.units import Means, all_or_first
from engagement_migration import MAPPING

PAGE = 500
BATCH = 100
OPEN = RuleMapping(
    "open",
    source=Table("wallet", key=("pk", "sk")),
    target=Table("engagement", key=("pk", "sk")),
    belongs=key_prefixes("USER#", "POINTS#"),
    rules=(),
    is_open=True,
)


def source_row(number: int, *, computed: bool = False) -> dict[str, Any]:
    """A wallet of the source table, as the protocol leaves it."""
    made = {"created_at": {"S": f"2021-03-04T05:06:07.{number % 1000:03d}Z"}} if computed else {}
    return wallet(number) | made


def target_row(number: int, mapping: RuleMapping, *, computed: bool = False, respelled: bool = False) -> dict[str, Any]:
    """Its copy; an engine gives the attributes in another order."""
    row = source_row(number) | {"cf_role": {"S": "S"}, "cf_gen": {"N": "0"}}
    if mapping is MAPPING:
        row["points"] = row.pop("balance")
        del row["wallet_type"]
    if respelled:
        row["badges"] = {"SS": ["loyal", "early"]}
    made = {"created_ms": {"N": str(1_614_834_367_000 + number % 1000)}} if computed else {}
    return dict(sorted((row | made).items()))


@dataclass(slots=True)
class Rows:
    """Two equal tables as answers.

    Attributes:
        mapping: between them.
        rows: by side, encoded, in the order of the numbers.
        pages: of the source table, each with the answers for its counterparts.
    """

    mapping: RuleMapping
    rows: dict[Side, list[bytes]]
    pages: list[tuple[bytes, list[bytes]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for first in range(0, len(self.rows[Side.SOURCE]), PAGE):
            answers = [self.batch(Side.TARGET, each, BATCH) for each in range(first, first + PAGE, BATCH)]
            self.pages.append((self.scan(Side.SOURCE, first), answers))

    def scan(self, side: Side, first: int) -> bytes:
        rows = self.rows[side]
        items = b",".join(rows[first : first + PAGE])
        last = b"" if first + PAGE >= len(rows) else b',"LastEvaluatedKey":{"pk":{"S":"%d"}}' % (first + PAGE)
        return b'{"Items":[%b],"ScannedCount":%d%b}' % (items, len(rows[first : first + PAGE]), last)

    def batch(self, side: Side, first: int, count: int) -> bytes:
        items = b",".join(self.rows[side][first : first + count])
        return b'{"Responses":{"%b":[%b]},"UnprocessedKeys":{}}' % (
            self.mapping.shape(side).table.encode(),
            items,
        )


def made(mapping: RuleMapping, pairs: int, *, computed: bool = False, respelled: bool = False) -> Rows:
    encode = msgspec.json.encode
    source = [encode(source_row(number, computed=computed)) for number in range(pairs)]
    copies = (target_row(number, mapping, computed=computed, respelled=respelled) for number in range(pairs))
    target = list(map(encode, copies))
    return Rows(mapping, {Side.SOURCE: source, Side.TARGET: target})


class Canned:
    """One table whose answers are there already."""

    def __init__(self, rows: Rows, side: Side) -> None:
        self.shape = rows.mapping.shape(side)
        firsts = range(0, len(rows.rows[side]), PAGE)
        self._pages = {first: rows.scan(side, first) for first in firsts}
        self._batches = [[rows.batch(side, first + each, BATCH) for each in range(0, PAGE, BATCH)] for first in firsts]
        self._next = iter(self._batches)

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:  # noqa: ARG002
        return self._pages[_number(start or b"0")]

    async def read_answers(self, keys: Sequence[bytes]) -> Sequence[bytes]:  # noqa: ARG002
        return next(self._next)

    async def perform(self, write: Any, *, timeout_s: float | None = None) -> Any:
        raise AssertionError(f"a sweep writes nothing, and not {write!r} within {timeout_s} s")

    def again(self) -> None:
        self._next = iter(self._batches)


def _number(text: bytes) -> int:
    return int(bytes(each for each in text if 48 <= each < 58))


# ---- what is measured ---------------------------------------------------------------------------


class _Answer(msgspec.Struct):
    Items: list[Image]
    ScannedCount: int


class _Found(msgspec.Struct):
    Responses: dict[str, list[Image]]


_decode_answer, _decode_found = msgspec.json.Decoder(_Answer).decode, msgspec.json.Decoder(_Found).decode


def before(rows: Rows) -> None:
    """A page and its counterparts as the verifier compared them before ADR 0035."""
    mapping, judged = rows.mapping, KEYED.rows()
    source, target = mapping.shape(Side.SOURCE), mapping.shape(Side.TARGET)
    sums = {side: [0] * 256 for side in Side}
    for answer, answers in rows.pages:
        page = [(encode_key(image, source.key), image) for image in _decode_answer(answer).Items]
        found = [(key, parse_item(image, source)) for key, image in page if mapping.belongs(key)]
        there: dict[Key, Item] = {}
        for each in answers:
            for images in _decode_found(each).Responses.values():
                there |= {encode_key(image, target.key): parse_item(image, target) for image in images}
        for key, item in found:
            mapped, other = mapping.map_item(Direction.FORWARD, item), there[key]
            assert mapped.version == other.version
            assert judged.is_same_state(mapped, other)
            digest = xxhash.xxh3_128_intdigest(b"%d:%b%b" % (len(key), key, canonical_content(other)))
            bucket = xxhash.xxh3_64_intdigest(key, seed=2) % 256
            for side in Side:
                sums[side][bucket] = (sums[side][bucket] + digest) % 2**128
    assert sums[Side.SOURCE] == sums[Side.TARGET]


def compare(rows: Rows) -> None:
    """The same by the verifier's own reading; pairs whose bytes differ value by value."""
    reading, own = Reading(rows.mapping.declared), OwnRows()
    findings = Findings(Limits(256, 1, 1), KEYED.rows())
    constants = {side: reading.constants(side) for side in Side}
    for answer, answers in rows.pages:
        there = reading.batch(Side.TARGET, answers)
        pairs = [(key, row, there.get(key)) for key, row in reading.page(Side.SOURCE, answer).rows]
        found = reading.compare(pairs, own)
        findings.prove(found.proven, constants)
        for key, one, other in found.left:
            assert one is not None
            assert other is not None
            assert own.is_same_state(one, other)
            findings.verify(Key(key), Pair(one, other))
    assert findings.book.verified == len(rows.rows[Side.SOURCE])


async def swept(rows: Rows, source: Any, target: Any, segments: int = 1) -> None:
    """A whole pass: each unit scans its segment of both tables, and matches the rows in memory."""
    both, store, clock = BothTables(rows.mapping, source, target), MemoryPassStore(), SystemClock()
    settings = Settings(page=PAGE, units=segments, segments=segments)
    means = Means(both, store, Pace(1e12), Handovers(), settings, clock, lambda: time.time_ns() // 1000)
    record = PassRecord(id=pass_id(1, "bench"), tables=("s", "t"), scan_units=segments, created_us=1, state="running")
    units: list[ScanUnit] = []
    for each in await store.units(await store.begin(record)):
        held = await store.claim(each, "bench")
        assert held is not None
        units.append(ScanUnit(means, record, held, complete=False))
    await all_or_first(each.work() for each in units)
    whole = Findings(means.limits(record), both.rows())
    for unit in units:
        whole.add(unit.findings)
    assert whole.clean
    assert whole.book.verified == len(rows.rows[Side.SOURCE]) == whole.scanned[Side.TARGET]


def sweep(rows: Rows, tables: dict[Side, Canned]) -> None:
    for table in tables.values():
        table.again()
    uvloop.run(swept(rows, tables[Side.SOURCE], tables[Side.TARGET]))


def networked(rows: Rows, port: int) -> None:
    async def run() -> None:
        wire = Wire(
            "dynamodb", WireConfig("us-east-1", f"http://127.0.0.1:{port}"), StaticCredentials(Credentials("a", "b"))
        )
        db = DynamoDB(wire)
        source, target = (DynamoTable(db, rows.mapping, side) for side in Side)
        await swept(rows, source, target)
        await wire.close()

    uvloop.run(run())


def best_us(work: Callable[[], None], pairs: int, rounds: int) -> float:
    """Return the CPU time of the quickest round, µs a pair."""
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent) / pairs * 1e6


# ---- the server ---------------------------------------------------------------------------------


class Served:
    """Answers Scan and BatchGetItem of both tables, built once."""

    def __init__(self, rows: Rows) -> None:
        tables = {rows.mapping.shape(side).table.encode(): side for side in Side}
        self._tables, numbers = tables, range(len(rows.rows[Side.SOURCE]))
        self._pages = {
            (name, first): response(rows.scan(side, first))
            for name, side in tables.items()
            for first in numbers[::PAGE]
        }
        self._batches = {
            (name, first): response(rows.batch(side, first, BATCH))
            for name, side in tables.items()
            for first in numbers[::BATCH]
        }

    def answer(self, operation: bytes, body: bytes) -> bytes:
        request = json.loads(body)
        if operation == b"Scan":
            start = request.get("ExclusiveStartKey", {}).get("pk", {}).get("S", "0")
            return self._pages[request["TableName"].encode(), int(start)]
        [(name, wanted)] = request["RequestItems"].items()
        return self._batches[name.encode(), int(wanted["Keys"][0]["pk"]["S"].removeprefix("USER#"))]


async def serve(rows: Rows) -> None:
    served = Served(rows)
    server = await asyncio.get_running_loop().create_server(lambda: Client(served), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


KINDS: dict[str, Callable[[int], Rows]] = {
    "identity": partial(made, IDENTITY),
    "identity, open": partial(made, OPEN),
    "engagement": partial(made, MAPPING),
    "engagement, one computed": partial(made, MAPPING, computed=True),
    "engagement, bytes differ": partial(made, MAPPING, respelled=True),
}


def measured(name: str, pairs: int, rounds: int) -> dict[str, float]:
    rows = KINDS[name](pairs)
    tables = {side: Canned(rows, side) for side in Side}
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", name, "--pairs", str(pairs)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return {
            "before": best_us(lambda: before(rows), pairs, rounds),
            "compare": best_us(lambda: compare(rows), pairs, rounds),
            "sweep": best_us(lambda: sweep(rows, tables), pairs, rounds),
            "network": best_us(lambda: networked(rows, port), pairs, rounds),
        }
    finally:
        server.kill()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        uvloop.run(serve(KINDS[wanted.serve](wanted.pairs)))
        return
    tune_garbage_collection()
    found = {name: measured(name, wanted.pairs, wanted.rounds) for name in KINDS}
    if wanted.json:
        print(json.dumps(found))
        return
    for name, each in found.items():
        print(name)
        for what, us in each.items():
            print(f"  {what:8} {us:7.2f} µs a pair  {1e6 / us:9,.0f} pairs a CPU-second  {each['before'] / us:5.1f} ×")


if __name__ == "__main__":
    main()
