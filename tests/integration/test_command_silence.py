"""Commands before a DynamoDB that takes connections and never answers: each says what it is trying, and ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crossfade.runtime.silence import narrated

READS = {
    "status": "the journal and the status",
    "journal": "the journal and the status",
    "pause --execute": "the journal and the status",
    "ramp 1": "the journal and the status",
    "plan": "tables, streams and bucket",
    "control create": "the control tables",
}
"""Each way through `crossfade`, and what it reads."""

TOOLS = {
    "replay {records}": "replay",
    "replay {records} --execute": "replay",
    "dead-letters list": "dead-letters list",
    "dead-letters show forward/1": "dead-letters show",
    "dead-letters merge forward/1 --execute": "dead-letters merge",
    "dead-letters redrive": "dead-letters redrive",
    "dead-letters redrive --execute": "dead-letters redrive",
    "dead-letters discard forward/1 --execute": "dead-letters discard",
}
"""Each way through `replicator`, and how it names itself."""


async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        writer.close()


async def ended(endpoint: str, module: str, command: str, **settings: str) -> tuple[int | None, str, str]:
    """Run a command against an endpoint; return its exit code, stdout and stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *command.split(), "--json"),
        env={
            **clean,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "CROSSFADE_AWS_ENDPOINT_URL": endpoint,
            "CROSSFADE_MIGRATION_MAPPING": "engagement_migration:MAPPING",
            **settings,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), errors.decode()


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_each_command_says_what_it_is_reading_and_ends_with_a_clear_error(endpoint: str) -> None:
    settings = {"CROSSFADE_FLAG_FILE": "/nowhere/flags.json", "CROSSFADE_BUCKET": "bucket"}
    found = await asyncio.gather(*(ended(endpoint, "crossfade_controller.cli", each, **settings) for each in READS))
    for (command, reads), (code, out, errors) in zip(READS.items(), found, strict=True):
        first, failed, *_ = [*errors.splitlines(), "", ""]
        assert first.startswith(f"still reading {reads} of 'engagement' from {endpoint} after 2 s"), (command, errors)
        assert re.match(r"store_unavailable: \w+: no answer within 2\.5 s", failed), (command, errors)
        assert code == 1, command
        assert json.loads(out)["code"] == "store_unavailable", command


async def test_each_tool_of_the_replicator_says_what_it_is_doing_and_ends_with_a_clear_error(
    endpoint: str, tmp_path: Path
) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text("{}\n")
    commands = [command.format(records=records) for command in TOOLS]
    found = await asyncio.gather(*(ended(endpoint, "crossfade_replicator.main", each) for each in commands))
    for (command, verb), (code, out, errors) in zip(TOOLS.items(), found, strict=True):
        first, failed, *_ = [*errors.splitlines(), "", ""]
        assert first.startswith(f"still running {verb} on 'engagement' at {endpoint} after 2 s"), (command, errors)
        assert re.match(r"store_unavailable: \w+: no answer within 2\.5 s", failed), (command, errors)
        assert (code, out) == (2, ""), command


async def test_what_answers_soon_is_not_spoken_of() -> None:
    said: list[str] = []
    async with narrated(said.append, "reading", slow_s=0.2):
        await asyncio.sleep(0)
    await asyncio.sleep(0.3)
    assert said == []
    async with narrated(said.append, "reading", slow_s=0.01):
        await asyncio.sleep(0.3)
    assert len(said) == 1
