"""The operator's tools: `replicator replay` and `replicator dead-letters`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.contracts.document import Document
from crossfade.contracts.letter import DeadLetter
from crossfade.core.migration.control import control_tables
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.control import DeadLetters, Journal, Parking
from crossfade.ports.table import RowTable, TransferTable
from crossfade.runtime import lifecycle
from crossfade.runtime.masking import plain, veiled
from crossfade.runtime.operator import operator_name
from crossfade.runtime.silence import command_clients, narrated, say, where
from crossfade_replicator.journal import PhaseWatch
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.letters import chosen, discard, name_of
from crossfade_replicator.merging import Merging, described, lines_of
from crossfade_replicator.plain.building import Parts, plain_parts
from crossfade_replicator.plain.redrive import DUTY, PlainRedrive
from crossfade_replicator.replay import Kept, Redrive, Redriven, Sides, Summary, apply_pipeline, records_of, replay
from crossfade_replicator.settings import ToolSettings

REVEALED_AT_ONCE: Final = 100
"""Keys of one journal entry, which is an item of at most 400 KB."""

LEFT = 1
"""Exit code when something could not be applied."""


async def run(settings: ToolSettings, options: argparse.Namespace) -> int:
    """Run one tool.

    Args:
        settings: of the process.
        options: the parsed command line.

    Returns:
        0, or 1 when a record could not be applied.

    Raises:
        CrossfadeError: a store can't be used, or the file can't be read.
    """
    mapping = settings.mapping()
    verb = " ".join(filter(None, (options.command, getattr(options, "action", ""))))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(narrated(say, f"running {verb} on {mapping.name!r} at {where(settings)}"))
        clients = await stack.enter_async_context(command_clients(settings))
        wire, kinesis, dbs = clients.wire("dynamodb"), clients.wire("kinesis"), clients.databases()
        letters = DynamoDeadLetters(control_db(wire), control_tables(mapping.name).dead_letters)

        def tables(side: Side) -> tuple[RowTable, TransferTable]:
            return DynamoTable(dbs[side], mapping, side), DynamoTransfers(
                dbs[side], mapping.shape(side), mapping.protocol
            )

        journal = DynamoJournal(
            control_db(wire),
            control_tables(mapping.name).journal,
            who=operator_name(),
            code=lifecycle.code_version(),
        )
        standing, owner_map = await PhaseWatch(journal).look(), None
        if mapping.protocol is PLAIN:
            owner_map = await DynamoOwnerMaps(control_db(wire), control_tables(mapping.name).journal).read()

        if options.command == "replay":
            if mapping.protocol is PLAIN:
                raise ConfigError(
                    "a file of records isn't replayed under the plain protocol, where a record counts by the interval "
                    "that it is of: `crossfade repair` brings the owner's rows to the standby"
                )
            direction = Direction(options.direction)
            (origin, _), (destination, transfers) = tables(direction.origin), tables(direction.destination)
            store: Parking = letters if options.execute else Kept()
            sides = Sides(origin, destination, transfers)
            pipeline = apply_pipeline(
                mapping,
                direction,
                sides,
                store,
                clock=SYSTEM,
                execute=options.execute,
                strays_since_us=standing.strays_since_us.get(direction.origin, 0),
            )
            path = Path(options.file)
            summary = await replay(
                list(records_of(path)), pipeline, origin=f"replay-{path.name}", execute=options.execute
            )
            _print(summary, options, _summary_lines(summary))
            return LEFT if summary.parked else 0
        seen = await _reveals(letters, journal, options) if options.reveal else []
        if options.action == "list":
            parked = seen if options.reveal else await _all(letters)
            _print([_shown(each, reveal=options.reveal) for each in parked], options, _listed(parked))
            return 0
        merging = Merging(
            mapping,
            lambda side: tables(side)[0],
            letters,
            journal,
            complete=standing.phase is Phase.COMPLETE if owner_map is None else owner_map.owner is Side.TARGET,
            clock=SYSTEM,
        )
        spell = plain if options.reveal else veiled
        if options.action == "show":
            shown = await merging.show(options.letters)
            bodies = [described(each, spell) for each in shown]
            _print(bodies, options, [line for each in shown for line in lines_of(each, spell)])
            return 0
        if options.action == "merge":
            merged = await merging.merge(options.letters, execute=options.execute)
            body = [described(each.shown, spell) | {"done": each.done} for each in merged]
            _print(body, options, [line for each in merged for line in lines_of(each.shown, spell)])
            return 0 if all(each.done for each in merged) else LEFT
        if options.action == "discard":
            gone = await discard(letters, journal, options.letters, execute=options.execute)
            _print([_shown(each, reveal=options.reveal) for each in gone], options, _listed(gone))
            return 0
        redrive: Redrive | PlainRedrive
        if mapping.protocol is PLAIN:

            def parts(direction: Direction, store: DeadLetters) -> Parts:
                return plain_parts(
                    settings,
                    mapping,
                    direction,
                    clients=clients,
                    control=control_db(wire),
                    streams={side: Kinesis(clients.wire("kinesis", side)) for side in Side},
                    letters=store,
                    stack=stack,
                    kill=KillPoints(),
                    clock=SYSTEM,
                    strays_since_us=lambda: since(direction.origin),
                    duty=DUTY,
                )

            async def since(side: Side) -> int:
                return standing.strays_since_us.get(side, 0)

            again = PlainRedrive(mapping, letters, parts, owner_map, execute=options.execute)
            return _redriven(await again.run(), options)
        redrive = Redrive(
            mapping,
            tables,
            letters,
            Kinesis(kinesis),
            settings.feed_stream,
            clock=SYSTEM,
            execute=options.execute,
            strays_since_us=standing.strays_since_us,
        )
        return _redriven(await redrive.run(), options)


def _redriven(redriven: Sequence[Redriven], options: argparse.Namespace) -> int:
    lines = [f"{each.consumer}/{each.sequence}\n    {each.reason or 'settled'}" for each in redriven]
    _print(list(redriven), options, lines or ["no dead letters"])
    return 0 if all(each.settled for each in redriven) else LEFT


def _print(body: Any, options: argparse.Namespace, lines: list[str]) -> None:
    if options.json:
        lines = [msgspec.json.encode(_plain(body)).decode()]
    elif not options.execute and getattr(options, "action", "") not in ("list", "show"):
        lines = [*lines, "dry run: nothing was written; add --execute"]
    sys.stdout.write("\n".join(lines) + "\n")


def _plain(body: Any) -> Any:
    """Turn named tuples into objects, so that JSON names their fields."""
    if isinstance(body, Document):
        return body.to_dict()
    if isinstance(body, tuple) and hasattr(body, "_asdict"):
        return {name: _plain(value) for name, value in body._asdict().items()}
    return [_plain(each) for each in body] if isinstance(body, list) else body


def _summary_lines(summary: Summary) -> list[str]:
    verb = "" if summary.executed else "would be "
    counts = dict(summary.counts)
    lines = [f"{counts.pop('records', 0):>9}  records"]
    lines += [f"{count:>9}  {verb}{name}" for name, count in counts.items()]
    return lines + [f"{each.sequence}\n    {each.key}  {each.code}: {each.reason}" for each in summary.parked]


def _listed(letters: Sequence[DeadLetter]) -> list[str]:
    lines = [
        f"{name_of(each)}\n    {each.key.decode()}  {each.code}{' (settled)' * each.settled}: {each.reason}"
        for each in letters
    ]
    return lines or ["no dead letters"]


async def _all(letters: DeadLetters) -> list[DeadLetter]:
    return [*await letters.all(), *await letters.settled()]


async def _reveals(letters: DeadLetters, journal: Journal, options: argparse.Namespace) -> list[DeadLetter]:
    """Journal whose values are about to be shown, and to whom; if that fails, nothing is done. Returns the letters."""
    seen = await chosen(letters, options.letters) if options.letters else await _all(letters)
    who, by = operator_name(), f"dead-letters {options.action}"
    for start in range(0, len(seen), REVEALED_AT_ONCE):
        keys = sorted({each.key.decode() for each in seen[start : start + REVEALED_AT_ONCE]})
        await journal.append("reveal", {"keys": keys, "who": who, "by": by})
    return seen


def _shown(each: DeadLetter, *, reveal: bool) -> dict[str, Any]:
    return {
        "name": name_of(each),
        "consumer": each.consumer,
        "sequence": each.sequence,
        "key": each.key.decode(),
        "version": None if each.version is None else str(each.version),
        "code": each.code,
        "reason": each.reason,
        "trace": each.trace,
        "table": each.table,
        "committed_us": str(each.committed_us),
        "settled": each.settled,
        "cure": each.cure,
        "at_us": str(each.at_us),
        "payload": plain(each.payload) if reveal else f"{len(each.payload)} bytes, shown by --reveal",
    }
