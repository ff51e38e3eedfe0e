"""State that may not be missing: a journal that is gone, emptied or another's begins no new history (ADR 0018)."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest
from test_controller_process import crossfade, environment, published, seed, start_controller

from crossfade.adapters.control.rows import entry_row
from crossfade.contracts.journal import Entry
from crossfade.core.migration.acts import document_json
from crossfade.core.migration.control import control_tables
from crossfade.core.ownership.ramp import FULL_SHARE, FlagDocument
from localaws import Stack
from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded

TABLES = control_tables("engagement")
ALL_NEW = FlagDocument(share=FULL_SHARE, target_gen=6, source_gen=4)
WAY = ("PLANNED", "CAPTURING", "SNAPSHOT", "CATCHING_UP", "BOTH_WAYS", "RAMPING", "CUT_OVER", "BAKING")


class Baking:
    """A migration in BAKING, as its journal, tables and flags have it: every wallet is the target table's."""

    def __init__(self, aws: Endpoints, folder: Path) -> None:
        self.flags = folder / "flags.json"
        self.folder = folder
        self.env = environment(aws, self.flags)
        self.dynamodb: Any = boto3.client("dynamodb", **aws.client_arguments())
        self.processes: list[subprocess.Popen[str]] = []
        seed(aws)

    def begin(self) -> None:
        assert self.crossfade("control", "create", "--execute")[0] == 0
        bodies: list[tuple[str, dict[str, Any]]] = [
            ("phase", {"from": here, "to": there, "gates": []}) for here, there in pairwise(WAY)
        ]
        bodies.insert(-2, ("generation", {"counter": 6, "for": "ramp"}))
        bodies.insert(-2, ("share", {"document": document_json(ALL_NEW), "dual_write": True, "gates": []}))
        for number, (kind, body) in enumerate(bodies, 1):
            row = entry_row(Entry(number, kind, time.time_ns() // 1000, "ann", "1", body), "n")
            item = {name: json.loads(bytes(value)) for name, value in row.items()}
            self.dynamodb.put_item(TableName=TABLES.journal, Item=item)
        self.dynamodb.create_table(
            TableName="engagement",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        for wallet in self.rows("wallet"):
            if not wallet["sk"]["S"].startswith("POINTS#"):
                continue
            stood = {"cf_gen": {"N": "6"}, "cf_mv": {"N": "1764000000000000000"}}
            self.dynamodb.put_item(TableName="wallet", Item={**wallet, **stood, "cf_role": {"S": "S"}})
            self.dynamodb.put_item(TableName="engagement", Item={**wallet, **stood, "cf_role": {"S": "A"}})

    def rows(self, table: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
        return found

    def crossfade(self, *arguments: str, **env: str) -> tuple[int, dict[str, Any], str]:
        return crossfade(self.env | env, *arguments)

    def controller(self, **env: str) -> tuple[subprocess.Popen[str], str]:
        process, address = start_controller(self.env | env)
        self.processes.append(process)
        return process, address

    def stop(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    def told(self, process: subprocess.Popen[str], event: str) -> dict[str, Any]:
        """Return the next line of a log with this event."""
        assert process.stdout is not None
        for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            if said["event"] == event:
                return said
        raise AssertionError(f"ended without {event!r}")

    def lose(self, table: str) -> list[dict[str, Any]]:
        kept = self.rows(table)
        with pytest.raises(self.dynamodb.exceptions.ClientError, match=r"[Dd]eletion protection"):
            self.dynamodb.delete_table(TableName=table)
        self.dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        self.dynamodb.delete_table(TableName=table)
        return kept

    def make(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Make a table with these rows, as a restored one comes: without protection and recovery."""
        self.dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        for row in rows:
            self.dynamodb.put_item(TableName=table, Item=row)

    def exists(self, table: str) -> bool:
        return table in self.dynamodb.list_tables()["TableNames"]


@pytest.fixture
def baking(tmp_path: Path) -> Iterator[Baking]:
    with Stack(redis=False) as stack:
        place = Baking(stack.endpoints, tmp_path)
        place.begin()
        try:
            yield place
        finally:
            for process in place.processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                process.communicate()


def test_with_the_journal_gone_in_baking_nothing_starts_over_and_a_restore_continues(baking: Baking) -> None:
    first, _ = baking.controller()
    baking.told(first, "phase")
    baking.stop(first)
    assert published(baking.flags) == (ALL_NEW, True)
    journal = baking.lose(TABLES.journal)

    second, _ = baking.controller()
    why = baking.told(second, "not driving")["error"]
    for said in (
        why,
        baking.crossfade("status")[2],
        baking.crossfade("start", "--execute")[2],
        baking.crossfade("control", "create", "--execute")[2],
    ):
        assert "control table engagement-journal is missing, engagement-leases" in said
        assert "restore-table-from-backup --target-table-name engagement-journal" in said
    code, plan, _ = baking.crossfade("plan")
    shut = {each["name"]: each["because"] for each in plan["checks"] if not each["open"]}
    assert code == 4
    assert "restore-table-from-backup" in shut["control_tables"]
    assert "this table owns keys" in shut["target_table"]
    assert "delete" not in shut["target_table"]
    assert not baking.exists(TABLES.journal), "nobody made an empty one"
    assert published(baking.flags) == (ALL_NEW, True)

    baking.make(TABLES.journal, journal)
    assert baking.told(second, "phase")["phase"] == "BAKING"
    code, created, _ = baking.crossfade("control", "create", "--execute")
    assert code == 0
    to_do = {each["name"]: each["to_do"] for each in created["tables"]}
    assert to_do.pop(TABLES.journal) == ["turn on point-in-time recovery", "turn on deletion protection"]
    assert not any(to_do.values())
    baking.stop(second)
    assert published(baking.flags) == (ALL_NEW, True)


def test_an_empty_journal_over_owned_rows_is_no_first_start(baking: Baking) -> None:
    baking.lose(TABLES.journal)
    baking.make(TABLES.journal, [])
    process, _ = baking.controller()
    why = baking.told(process, "not driving")["error"]
    assert "engagement-journal has no migration, but table engagement owns keys" in why
    assert "mistyped" in why
    assert not baking.flags.exists(), "no document of a new history"
    for command in (("status",), ("start", "--execute")):
        code, _, said = baking.crossfade(*command)
        assert (code, "owns keys" in said) == (3, True), said
    assert baking.rows(TABLES.journal) == []
    baking.stop(process)


def test_under_a_mistyped_name_neither_tables_nor_a_history_begin(baking: Baking) -> None:
    (baking.folder / "mistyped.py").write_text(
        "from engagement_migration import MAPPING as RIGHT\n"
        "class Mistyped:\n"
        "    name = 'engagemnt'\n"
        "    def __getattr__(self, name):\n"
        "        return getattr(RIGHT, name)\n"
        "MAPPING = Mistyped()\n"
    )
    env = {"CROSSFADE_MIGRATION_MAPPING": "mistyped:MAPPING", "PYTHONPATH": str(baking.folder)}
    process, _ = baking.controller(**env)
    why = baking.told(process, "not driving")["error"]
    _, _, status = baking.crossfade("status", **env)
    code, _, create = baking.crossfade("control", "create", "--execute", **env)
    assert code == 3
    for said in (why, status, create):
        assert "no control table of this migration exists (engagemnt-journal" in said
        assert "table engagement owns keys" in said
        assert "the migration's name is mistyped" in said
        assert "restore-table-from-backup" in said
    assert not any(name.startswith("engagemnt") for name in baking.dynamodb.list_tables()["TableNames"])
    assert not baking.flags.exists()
    baking.stop(process)


def test_a_first_start_is_told_how_to_make_the_tables_and_waits_for_them(tmp_path: Path) -> None:
    with Stack(redis=False) as stack:
        place = Baking(stack.endpoints, tmp_path)
        process, _ = place.controller()
        try:
            assert (
                "for a first start, crossfade control create --execute" in place.told(process, "not driving")["error"]
            )
            assert place.crossfade("status")[0] == 3
            code, dry, _ = place.crossfade("control", "create")
            assert (code, dry["executed"], place.exists(TABLES.journal)) == (0, False, False)
            assert place.crossfade("control", "create", "--execute")[0] == 0
            assert place.told(process, "phase")["phase"] == "PLANNED"
            described = place.dynamodb.describe_table(TableName=TABLES.journal)["Table"]
            assert described["DeletionProtectionEnabled"]
            backups = place.dynamodb.describe_continuous_backups(TableName=TABLES.dead_letters)
            recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
            assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
            place.stop(process)
        finally:
            process.kill()
            process.communicate()
