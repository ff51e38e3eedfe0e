"""`crossfade clean` and `crossfade retire`: run where they are typed, and note in the journal what they did."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import structlog

from crossfade.adapters.plain_table import DynamoPlainTable
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.state import Migration, fold
from crossfade.core.values.errors import ConfigError, CrossfadeError
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.runtime.clients import Clients
from crossfade.runtime.operator import operator_name
from crossfade.runtime.pace import Pace
from crossfade.runtime.settings import read_settings
from crossfade.runtime.silence import say
from crossfade_controller.afterwards import Done, check_retire, clean, retire, sides_to_clean, written_since
from crossfade_controller.build import Built, build
from crossfade_controller.failing import DONE, REFUSED, SHUT, failed, failure
from crossfade_controller.oncall_options import token_of
from crossfade_controller.settings import ControllerSettings

MARGIN_S: Final = 60.0
"""The stream is read from so long before COMPLETE: arrival and journal are of two clocks."""


async def run_after(asked: argparse.Namespace) -> int:
    """Run a parsed command; return its exit code."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for the answer
    try:
        settings = read_settings(ControllerSettings, **token_of(asked))
        async with build(settings, who=operator_name(), under_lease=False) as built, Clients(settings) as clients:
            world = built.world
            state = fold(Migration(phases_of(world.mapping.protocol)), await world.journal.entries())
            found = await (_clean if asked.command == "clean" else _retire)(asked, built, clients, state)
            body = {
                "command": asked.command,
                "migration": world.mapping.name,
                "executed": asked.execute,
                "tables": {name: each.as_json() for name, each in found.items()},
            }
            if asked.execute:
                await world.journal.append("note", {asked.command: body["tables"]})
            text = msgspec.json.encode(body).decode() if asked.json else _text(asked, found)
            sys.stdout.write(text + "\n")
            return SHUT if asked.execute and any(each.kept for each in found.values()) else DONE
    except ConfigError as error:
        told = {"command": asked.command, "outcome": "refused", **failure("refused", str(error), REFUSED)}
        sys.stdout.write((msgspec.json.encode(told).decode() if asked.json else f"refused: {error}") + "\n")
        return REFUSED
    except CrossfadeError as error:
        return failed(error, asked.command, as_json=asked.json)


def _table(built: Built, clients: Clients, side: Side) -> DynamoPlainTable:
    mapping = built.world.mapping
    return DynamoPlainTable(clients.databases()[side], mapping.shape(side), partial(mapping.belongs_at, side))


async def _clean(asked: argparse.Namespace, built: Built, clients: Clients, state: Migration) -> dict[str, Done]:
    found, pace = {}, Pace(asked.rows_per_s)
    for side in sides_to_clean(state):
        name = built.world.mapping.shape(side).table
        if await built.world.admin.table(name) is None:
            continue
        table = _table(built, clients, side)
        found[name] = await clean(table, pace=pace, execute=asked.execute, told=_progress(name))
    return found


async def _retire(asked: argparse.Namespace, built: Built, clients: Clients, state: Migration) -> dict[str, Done]:
    world = built.world
    check_retire(state)
    if asked.execute and asked.confirm != world.mapping.name:
        raise ConfigError(f"retire can't be undone: --confirm {world.mapping.name}")
    changed: frozenset[Key] = frozenset()
    if not asked.unwatched:
        since_s = state.since_us / 1e6 - MARGIN_S
        stream = await world.admin.stream(world.settings.source_stream)
        if stream is None or (world.clock.wall_us() / 1e6 - since_s) / 3600 >= stream.retention_h:
            raise ConfigError(
                f"stream {world.settings.source_stream} doesn't reach back to COMPLETE, so it can't tell which "
                "rows others have written to since. If nobody has, say so: --unwatched"
            )
        changed = await written_since(world.shards, world.settings.source_stream, world.mapping, at_s=since_s)
    name = world.mapping.shape(Side.SOURCE).table
    done = await retire(
        _table(built, clients, Side.SOURCE),
        mapping=world.mapping,
        keep=state.excluded,
        changed=changed,
        pace=Pace(asked.rows_per_s),
        execute=asked.execute,
        told=_progress(name),
    )
    return {name: done}


def _progress(name: str) -> Callable[[Done], None]:
    return lambda done: say(f"{name}: {done.rows} rows read, {done.found} to write, {done.written} written")


def _text(asked: argparse.Namespace, found: dict[str, Done]) -> str:
    lines = []
    for name, each in found.items():
        would = "were" if asked.execute else "would be"
        what = "deleted" if asked.command == "retire" else f"written ({each.tombstones} tombstones deleted)"
        count = each.written if asked.execute else each.found
        lines.append(f"{name}: of {each.rows} rows {count} {would} {what}, for {each.write_units} write units")
        if not asked.execute and each.found:
            lines.append(f"  at {asked.rows_per_s:g} rows a second: {each.found / asked.rows_per_s / 60:.0f} minutes")
        if each.kept:
            lines.append(f"  {each.kept} rows stay: {'; '.join(each.named)}")
    if not asked.execute:
        lines.append("nothing was changed; add --execute")
    return "\n".join(lines)
