"""The stub of the benchmarks answers in shapes that the real client and the real core accept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from apply_records import change_record

from crossfade.adapters.dynamodb import DynamoDB, StatementResult
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.wire import Credentials, ServiceError, StaticCredentials, Wire, WireConfig
from crossfade.core.replication.change import ChangeKind, decode_change
from crossfade.core.values.image import number, of_string

STUB = Path(__file__).parents[2] / "benchmarks" / "stub_server.py"
KEYS = StaticCredentials(Credentials("a", "b"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireConfig]:
    payloads = tmp_path_factory.mktemp("stub") / "records.jsonl"
    payloads.write_bytes(b"\n".join(change_record(number) for number in range(100)))
    with subprocess.Popen([sys.executable, STUB, payloads], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            yield WireConfig("us-east-1", f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


async def test_each_statement_gets_an_answer_and_single_writes_succeed(config: WireConfig) -> None:
    async with Wire("dynamodb", config, KEYS) as wire:
        store = DynamoDB(wire)
        for count in (1, 25, 7):
            results = await store.execute([b'{"Statement":"UPDATE","Parameters":[]}'] * count)
            assert results == [StatementResult(None, None)] * count
        await store.put_item(b"{}")
        assert await store.get_item("t", {"pk": of_string("x")}) is None
        assert await store.batch_get("t", [{"pk": of_string("x")}]) == []
        with pytest.raises(ServiceError, match="UnknownOperationException"):
            await wire.call("ListTables", b"{}")


async def test_records_are_change_records_that_the_core_decodes_each_of_its_own_key(config: WireConfig) -> None:
    async with Wire("kinesis", config, KEYS) as wire:
        stream = Kinesis(wire)
        shard, *_ = await stream.list_shards("s")
        fetched = await stream.get_records(await stream.shard_iterator("s", shard.shard_id), limit=100)
        changes = [decode_change(record.data, ("pk", "sk")) for record in fetched.records]
        assert len({change.key for change in changes}) == 100
        assert {change.kind for change in changes} == {ChangeKind.MODIFY}
        assert all(
            change.precise
            and change.new is not None
            and change.old is not None
            and number(change.new["cf_mv"]) == number(change.old["cf_mv"]) + 1
            for change in changes
        )
