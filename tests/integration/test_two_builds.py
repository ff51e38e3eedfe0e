"""Two builds of the services side by side, as in each rolling update: this one, and one whose documents have grown.

The next build is this one's source with a field more in each document, run in a process of its own on the same tables.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

import crossfade
from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import control_db, create_control_tables
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.core.migration.control import ControlTables, control_tables
from crossfade.core.values.errors import UnknownDocument
from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded

SOURCE = Path(next(iter(crossfade.__path__)))
GROWN = {"report": "Report", "heartbeat": "Heartbeat", "letter": "DeadLetter", "journal": "Entry"}

NEXT = """
import asyncio, json, sys
from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.letter import DeadLetter
from crossfade.contracts.report import Report
from crossfade.core.migration.control import control_tables
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.keys import Key

async def main():
    asked = json.loads(sys.argv[1])
    wire = Wire("dynamodb", WireConfig(region=asked["region"], endpoint_url=asked["endpoint"]),
                StaticCredentials(Credentials(asked["id"], asked["secret"], None)))
    db, names = control_db(wire), control_tables(asked["migration"])
    reports, letters = DynamoReports(db, names.reports), DynamoDeadLetters(db, names.dead_letters)
    beats, journal = DynamoHeartbeats(db, names.heartbeats), DynamoJournal(db, names.journal, who="next", code="next")
    if asked["do"] == "write":
        await reports.put([Report("forward", "s/shard-1", 1, 2, 3, 4, {"applied": 5}, added_later="kept")])
        await letters.park(
            DeadLetter("forward", "shard:9", Key(b"k"), None, "w", "conflict", b"p", "", 8, added_later="kept"))
        await beats.beat(Heartbeat("next-pod", FlagDocument(1, 2, 4, False), True, 10.0, 7, added_later="kept"))
        await journal.append("note", {"by": "next"})
    told = {
        "report": [each.added_later for each in await reports.all()],
        "letter": [each.added_later for each in await letters.all()],
        "heartbeat": {each.pod: each.added_later for each in await beats.all()},
        "journal": [each.added_later for each in await journal.entries()],
    }
    print(json.dumps(told))
    await wire.close()

asyncio.run(main())
"""


class World(NamedTuple):
    """The tables that both builds work on, and how to run the next build."""

    endpoints: Endpoints
    migration: str
    db: DynamoDB
    names: ControlTables
    source: Path

    def next_build(self, do: str) -> dict[str, object]:
        asked = {
            "do": do,
            "migration": self.migration,
            "region": self.endpoints.region,
            "endpoint": self.endpoints.aws_endpoint,
            "id": self.endpoints.access_key_id,
            "secret": self.endpoints.secret_access_key,
        }
        environment = os.environ | {"PYTHONPATH": str(self.source.parent)}
        command = [sys.executable, "-c", NEXT, json.dumps(asked)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told: dict[str, object] = json.loads(done.stdout)
        return told


def grow(source: Path, *, version: int) -> None:
    """Make the next build of a copy of the source: a field more in each document, of this version."""
    for module, name in GROWN.items():
        file = source / "contracts" / f"{module}.py"
        text = file.read_text()
        grown = re.sub(
            rf"(class {name}\(.*?\n    NAME: ClassVar\[str\] = [^\n]*\n)(.*?)(?=\n    (?:def|@)|\Z)",
            rf'\1    LATEST: ClassVar[int] = {version}\n\2\n    added_later: str = "default"\n',
            text,
            count=1,
            flags=re.DOTALL,
        )
        assert grown != text
        file.write_text(grown)


@pytest.fixture
async def world(request: pytest.FixtureRequest, local_aws: Endpoints, tmp_path: Path) -> AsyncIterator[World]:
    source = tmp_path / "next" / "crossfade"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    grow(source, version=request.param)
    wire = Wire(
        "dynamodb",
        WireConfig(region=local_aws.region, endpoint_url=local_aws.aws_endpoint),
        StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key, None)),
    )
    migration = f"two-builds-{secrets.token_hex(4)}"
    names = control_tables(migration)
    await create_control_tables(wire, names)
    yield World(local_aws, migration, control_db(wire), names, source)
    await wire.close()


@pytest.mark.parametrize("world", [1], indirect=True)
async def test_what_the_next_build_writes_is_read_and_nothing_of_it_is_lost(world: World) -> None:
    reports, letters = (
        DynamoReports(world.db, world.names.reports),
        DynamoDeadLetters(world.db, world.names.dead_letters),
    )
    world.next_build("write")
    held = await reports.held("forward", "s/shard-1")
    assert held is not None
    assert await reports.replace(held, held.report.replace(at_us=2))  # as the Lambda does between two of its builds
    (letter,) = await letters.all()
    await letters.remove(letter)
    await letters.park(letter)  # as a redrive does that is refused again
    await DynamoHeartbeats(world.db, world.names.heartbeats).beat((await _beats(world))[0].replace(pod="this-pod"))
    await DynamoJournal(world.db, world.names.journal, who="this", code="this").append("note", {})
    assert world.next_build("read") == {
        "report": ["kept"],
        "letter": ["kept"],
        "heartbeat": {"next-pod": "kept", "this-pod": "kept"},
        "journal": ["default", "default"],
    }


async def _beats(world: World) -> list[Heartbeat]:
    return list(await DynamoHeartbeats(world.db, world.names.heartbeats).all())


@pytest.mark.parametrize("world", [2], indirect=True)
async def test_what_means_something_else_in_the_next_build_is_refused_by_name(world: World) -> None:
    world.next_build("write")
    for read, name in (
        (DynamoReports(world.db, world.names.reports).all, "report"),
        (DynamoDeadLetters(world.db, world.names.dead_letters).all, "dead letter"),
        (DynamoHeartbeats(world.db, world.names.heartbeats).all, "heartbeat"),
        (DynamoJournal(world.db, world.names.journal, who="this", code="this").entries, "journal entry"),
    ):
        with pytest.raises(UnknownDocument, match=f"{name} has version 2, and this build reads up to 1"):
            await read()
