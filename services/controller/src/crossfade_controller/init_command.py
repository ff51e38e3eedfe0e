"""`crossfade init`: reads the source table, and writes a folder with all that a plain migration of it needs."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, Final

from crossfade.adapters.admin import facts_of
from crossfade.adapters.describing import REFUSED
from crossfade.adapters.dynamodb import Page
from crossfade.core.migration.control import control_tables
from crossfade.core.plan.described import NO_TABLE, Unknown
from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreRefused
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Side, same_table
from crossfade.ports.admin import TableFacts
from crossfade.runtime.clients import Clients
from crossfade.runtime.settings import ServiceSettings, read_settings
from crossfade.runtime.silence import command_clients, narrated, say, where
from crossfade_controller.failing import DONE, failed
from crossfade_controller.initial import Wanted, files_of, migration_name, next_steps
from crossfade_controller.sampling import sample
from crossfade_controller.settings import ControllerSettings

UNITS: Final = 200
"""Read units that samples may take."""

KEPT: Final = (
    "region",
    "aws_endpoint_url",
    *(f"{side.value}_{name}" for side in Side for name in ("region", "endpoint_url", "profile", "role_arn")),
)
"""Settings of the caller's environment that go into the folder."""


async def run_before(asked: argparse.Namespace) -> int:
    """Run `init` or `policy`; return its exit code."""
    try:
        settings = read_settings(ControllerSettings)
        return await run_init(settings, asked) if asked.command == "init" else run_policy(settings, asked)
    except CrossfadeError as error:
        return failed(error, asked.command, as_json=asked.json)
    except Exception as error:  # as in `crossfade_controller.commands`
        sys.stderr.write(traceback.format_exc())
        return failed(error, asked.command, as_json=asked.json)


def run_policy(settings: ControllerSettings, asked: argparse.Namespace) -> int:
    """Print a step's policy; return the exit code."""
    from crossfade_controller.policies import Named, policy, resources

    named = Named(asked.source, asked.source, asked.target)
    if not (asked.source and (asked.target or asked.step == "init")):
        mapping = settings.mapping()
        source, target = (mapping.shape(side).table for side in (Side.SOURCE, Side.TARGET))
        named = Named(mapping.name, asked.source or source, asked.target or target)
    sys.stdout.write(json.dumps(policy(asked.step, resources(settings, named)), indent=2) + "\n")
    return DONE


async def run_init(settings: ControllerSettings, asked: argparse.Namespace) -> int:
    """Write the folder and say what is next; return the exit code.

    Raises:
        CrossfadeError: of `look` and `write`.
    """
    async with narrated(say, f"reading {asked.source} from {where(settings)}"):
        wanted = await look(settings, asked)
    folder = Path(asked.into or wanted.package.replace("_", "-"))
    written = write(folder, files_of(wanted))
    if asked.json:
        body = {"migration": wanted.name, "folder": str(folder), "files": written, "samples": len(wanted.rows)}
        sys.stdout.write(json.dumps(body) + "\n")
    else:
        sys.stdout.write("\n".join(told(wanted, folder, written)) + "\n")
    return DONE


def told(wanted: Wanted, folder: Path, written: list[str]) -> list[str]:
    """Say what was written, and what to do next."""
    lines = [f"wrote the migration {wanted.name!r} of {wanted.source} to {wanted.target}:"]
    lines += [f"  {folder / name}" for name in written]
    key = ", ".join(f"{name} ({kind})" for name, kind in wanted.key)
    lines.append(f"key {key}; TTL {wanted.ttl or wanted.ttl_unknown or 'off'}; {len(wanted.rows)} rows sampled")
    return [*lines, "next:", f"  cd {folder}", *(f"  {each}" for each in next_steps(wanted))]


async def look(settings: ServiceSettings, asked: argparse.Namespace) -> Wanted:
    """Read what has to be known of the source table.

    Args:
        settings: of the process.
        asked: the parsed command line.

    Raises:
        ConfigError: there is no such table, or source and target are one.
        StoreRefused: it may not be read.
    """
    if same_table(asked.source, asked.target):
        raise ConfigError(f"--source and --target are one table, {asked.source}: name the target differently")
    name = migration_name(asked.source, asked.name)
    control_tables(name)  # refuses what can't be part of a table's name
    async with command_clients(settings) as clients:
        facts, unknown = await _facts(clients, asked.source)
        if facts is None:
            at = where(settings)
            raise ConfigError(f"there is no table {asked.source} at {at}: correct --source, or where it is looked for")
        db = clients.databases()[Side.SOURCE]

        async def page(*, segment: int, segments: int, start: Image | None, limit: int) -> Page:
            return await db.scan(
                asked.source, segment=segment, segments=segments, start=start, limit=limit, consistent=False
            )

        rows = (await sample(page, rows=asked.samples, units=UNITS)).found if asked.samples else ()
    kept = {each: str(value) for each in KEPT if (value := getattr(settings, each))}
    key_names = {each for each, _ in facts.key}
    return Wanted(
        name=name,
        source=asked.source,
        target=asked.target,
        key=facts.key,
        ttl=facts.ttl,
        index_keys=tuple(each for each in facts.index_keys if each.name not in key_names),
        settings=kept,
        rows=rows,
        ttl_unknown=unknown,
    )


async def _facts(clients: Clients, table: str) -> tuple[TableFacts | None, str]:
    """Describe the table; and say why its TTL is unknown, if it is."""
    wire = clients.wire("dynamodb", Side.SOURCE)

    async def told(operation: str, part: str) -> dict[str, Any]:
        body = await wire.call(operation, json.dumps({"TableName": table}).encode())
        found: dict[str, Any] = json.loads(body)[part]
        return found

    try:
        described = await told("DescribeTable", "Table")
    except StoreRefused as error:
        if error.reason in NO_TABLE:
            return None, ""
        raise
    try:
        return facts_of(table, described, await told("DescribeTimeToLive", "TimeToLiveDescription"), {}), ""
    except StoreRefused as error:
        if error.reason not in REFUSED:
            raise
        return facts_of(table, described, {}, {}), str(Unknown("dynamodb:DescribeTimeToLive"))


def write(folder: Path, files: dict[str, str]) -> list[str]:
    """Write a folder whole, or not at all.

    Args:
        folder: must not be there, or be empty.
        files: text by path.

    Returns:
        The paths, in order.

    Raises:
        ConfigError: something is there already, or it can't be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        there = sorted(each.name for each in folder.iterdir())[:3] if folder.is_dir() else []
        listed = f" ({', '.join(there)} …)" if there else ""
        raise ConfigError(
            f"{folder} is there already{listed}, and nothing is overwritten: name another folder with --into, or move "
            "it away"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for name, text in files.items():
                path = beside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            beside.chmod(0o755)
            if folder.exists():
                folder.rmdir()
            os.rename(beside, folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError(f"{folder} can't be written: {error}") from error
    return sorted(files)
