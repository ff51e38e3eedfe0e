"""A plain table is cut over, rolled back and cut over again by real processes, under an application's writes."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crossfade_demo.processes import Service, python_module
from migration_world import Migration, Stage, stage

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TABLES = {"source": "orders", "target": "orders-next"}
HOOK = """\
import json, os, pathlib, sys
told = pathlib.Path(sys.argv[2])
known = json.loads(told.read_text())
epoch = int(os.environ["EPOCH"])
if epoch < known["epoch"]:
    sys.exit(f"epoch {epoch} is lower than {known['epoch']}")
table = None if sys.argv[1] == "hold" else os.environ["OWNER_TABLE"]
new = told.with_suffix(".new")
new.write_text(json.dumps({"epoch": epoch, "table": table}))
new.replace(told)
print(sys.argv[1], "of", os.environ["OWNER"])
"""


class Application:
    """Writes orders one after the other to the table that its switch names, and keeps its book."""

    def __init__(self, stage: Stage, switch: Path) -> None:
        self._store, self._switch = stage.store, switch
        self.book: dict[str, int | None] = {}
        self.refused = 0
        self._number = 0

    def table(self) -> str | None:
        table: str | None = json.loads(self._switch.read_text())["table"]
        return table

    async def write(self, key: str, table: str) -> None:
        self._number += 1
        name = {"customer": {"S": f"CUSTOMER#{int(key) % 5}"}, "entry": {"S": f"ORDER#{key}"}}
        if self._number % 7 == 0:
            await self._store.call("DeleteItem", TableName=table, Key=name)
            self.book[key] = None
        else:
            item = {**name, "total": {"N": str(self._number)}, "lines": {"L": [{"S": "a"}, {"N": "1.50"}]}}
            await self._store.call("PutItem", TableName=table, Item=item)
            self.book[key] = self._number

    async def run(self) -> None:
        while True:
            table = self.table()
            if table is not None:
                await self.write(str(secrets.randbelow(40)), table)
            await asyncio.sleep(0.02)

    async def check(self, table: str) -> None:
        rows = {}
        async for row in self._store.scan(table):
            entry = dict(row)
            if "total" in entry:
                rows[str(entry["entry"]["S"]).removeprefix("ORDER#")] = int(entry["total"]["N"])
        assert rows == {key: number for key, number in self.book.items() if number is not None}


class World:
    """The processes of a plain migration."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        self.switch = folder / "switch.json"
        self.switch.write_text(json.dumps({"epoch": 0, "table": "orders"}))
        (folder / "hook.py").write_text(HOOK)
        self.application = Application(stage, self.switch)
        endpoints = stage.endpoints
        hook = [sys.executable, str(folder / "hook.py")]
        path = f"{ROOT / 'tests/support'}"
        self.shared = {
            "AWS_ACCESS_KEY_ID": endpoints.access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoints.secret_access_key,
            "PYTHONPATH": path,
            "CROSSFADE_REGION": endpoints.region,
            "CROSSFADE_AWS_ENDPOINT_URL": endpoints.aws_endpoint,
            "CROSSFADE_REDIS_URL": endpoints.redis_url or "",
            "CROSSFADE_MIGRATION_MAPPING": "plain_records:MAPPING",
        }
        signed = {"CROSSFADE_SIGNATURE_S": "2"}
        self.verifier = self._service(
            "verifier",
            "crossfade_verifier.main",
            CROSSFADE_READS_PER_S="5000",
            CROSSFADE_SEGMENTS="1",
            CROSSFADE_IN_FLIGHT_BOUND_S="3",
        )
        self.forward = self._service("forward", "crossfade_replicator.main", CROSSFADE_CONSUMER="forward", **signed)
        self.reverse = self._service("reverse", "crossfade_replicator.main", CROSSFADE_CONSUMER="reverse", **signed)
        self.settings = signed | {
            "CROSSFADE_BUCKET": "plain",
            "CROSSFADE_SETTLING_S": "1",
            "CROSSFADE_EVIDENCE_S": "0.2",
            "CROSSFADE_FACTS_S": "0.5",
            "CROSSFADE_METRIC_PERIOD_S": "1",
            "CROSSFADE_LEASE_S": "5",
            "CROSSFADE_DOOR_S": "60",
            "CROSSFADE_GATE_QUIET_S": "1",
            "CROSSFADE_GATE_LAG_S": "10",
            "CROSSFADE_GATE_CLEAN_PASS_S": "60",
            "CROSSFADE_SETTLE_S": "0.3",
            "CROSSFADE_HOLD_COMMAND": json.dumps([*hook, "hold", str(self.switch)]),
            "CROSSFADE_RELEASE_COMMAND": json.dumps([*hook, "release", str(self.switch)]),
            "CROSSFADE_CANARY_KEY": '[{"S":"CUSTOMER#canary"},{"S":"CANARY"}]',
        }

    def _service(self, name: str, module: str, **settings: str) -> Service:
        own = {"CROSSFADE_WORKER": name} if "replicator" in module else {}
        return Service(name, python_module(module), self.shared | own | settings, self.folder, self.stage.pace)

    async def start(self) -> None:
        store = self.stage.store
        await store.create_bucket("plain")
        key = ("customer", "entry")
        await store.call(
            "CreateTable",
            TableName="orders",
            KeySchema=[
                {"AttributeName": name, "KeyType": kind} for name, kind in zip(key, ("HASH", "RANGE"), strict=True)
            ],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in key],
            BillingMode="PAY_PER_REQUEST",
        )
        recovery = {"PointInTimeRecoveryEnabled": True}
        await store.call("UpdateContinuousBackups", TableName="orders", PointInTimeRecoverySpecification=recovery)
        expiry = {"AttributeName": "expires_at", "Enabled": True}
        await store.call("UpdateTimeToLive", TableName="orders", TimeToLiveSpecification=expiry)
        for number in range(40):
            await self.application.write(str(number), "orders")
        await self.verifier.start()
        await self.verifier.ready()
        self.settings["CROSSFADE_VERIFIER_URL"] = f"http://{self.verifier.address}"
        self.migration = Migration(self.stage.pace, lambda: self.controller.address)
        await self.crossfade("control", "create", "--execute")
        self.controller = self._service("controller", "crossfade_controller.main", **self.settings)
        for each in (self.controller, self.forward, self.reverse):
            await each.start()
        await self.controller.ready()

    async def stop(self) -> None:
        for each in (self.controller, self.forward, self.reverse, self.verifier):
            await each.stop()

    async def crossfade(self, *words: str) -> Any:
        command = python_module("crossfade_controller.cli", *words, "--json")
        ran = await self.migration.tool(command, self.shared | self.settings)
        assert ran.code == 0, (ran.out, ran.err)
        return ran.said


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with stage(tmp_path) as made:
        world = World(made, tmp_path)
        await world.start()
        try:
            yield world
        finally:
            await world.stop()


async def test_a_table_is_cut_over_and_back_and_forward_again_under_writes(world: World) -> None:
    writing = asyncio.create_task(world.application.run())
    await world.crossfade("start", "--execute", "--wait")
    for verb, owner in (("cutover", "target"), ("rollback", "source"), ("cutover", "target")):
        told = await world.crossfade(verb, "--execute", "--wait")
        assert told["outcome"] == "done", told
        assert "writes were stopped for" in told["because"]
        assert world.application.table() == TABLES[owner]
        await asyncio.sleep(1)  # some writes of its own for each interval
    writing.cancel()
    await world.application.check("orders-next")
