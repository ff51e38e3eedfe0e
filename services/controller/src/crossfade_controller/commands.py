"""What each command does: read the journal and the status, append an intent, wait for its outcome."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import msgspec

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.status import DynamoStatusBoard
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.tables import DynamoTable
from crossfade.core.migration.acts import Settle, Wait, gates_json, wait_json
from crossfade.core.migration.asking import ENTRY, pending_json, refusal
from crossfade.core.migration.control import control_tables
from crossfade.core.migration.foresight import foresee
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.phases import Intent
from crossfade.core.migration.seen import Seen
from crossfade.core.migration.state import Migration, fold
from crossfade.core.values.clocks import utc
from crossfade.core.values.errors import CrossfadeError, StateMissing
from crossfade.core.values.shape import Side
from crossfade.runtime.operator import operator_name
from crossfade.runtime.settings import read_settings
from crossfade.runtime.silence import SLOW_S, command_clients, narrated, say, where
from crossfade.runtime.tls import client_context
from crossfade_controller.answering import Console
from crossfade_controller.excluding import why_not_excluded
from crossfade_controller.failing import DONE, REFUSED, SHUT, failed, failure
from crossfade_controller.journaling import journal_json, journal_text
from crossfade_controller.knocking import NO_CONTROLLER, Knocker, NotTaken, Refused
from crossfade_controller.oncall_options import token_of
from crossfade_controller.render import intent_text, status_text
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.waiting import DEAF_S, POLL_S, Waiting

SILENT_S: Final = 30.0
"""A status that seems older than this, or comes from the future, is looked at once more: if it stands still it is old.
Two machines' clocks alone don't decide."""

FRESH_S: Final = 2.0
"""How long `status` waits for a status that knows the whole journal; the controller tells one a second."""

_BESIDE: Final = {Intent.PAUSE, Intent.RESUME, Intent.WITHDRAW}
"""They replace no other command."""

MEANING: Final = {
    Intent.START: "enable the streams, export, map and import, catch up, and switch dual writes on",
    Intent.RAMP: "publish flags with another share",
    Intent.CUTOVER: "publish share 100 %, and hand over every key that no client touches or that could not move before",
    Intent.ROLLBACK: "publish share 0 % with a higher generation, and hand every key back",
    Intent.COMPLETE: "declare the target table the only owner; there is no way back after that",
    Intent.ABORT: "switch dual writes off and end the migration permanently: its name can't be used again",
    Intent.PAUSE: "hold phases, flags, sweeper, snapshot and repairs; clients, replication and help continue",
    Intent.WITHDRAW: "withdraw a command that is waiting; nothing that it has begun is undone",
    Intent.RESUME: "resume the migration, and carry out the command that is waiting for it",
}


PLAIN_MEANING: Final = {
    Intent.START: "enable the streams, export, map and import, and catch up",
    Intent.CUTOVER: "hold the application's writes, give all rows to the target table, and let it write there",
    Intent.ROLLBACK: "hold the application's writes, give all rows back to the source table, and let it write there",
    Intent.COMPLETE: "move the TTL to the target table and stop replication; there is no way back after that",
    Intent.ABORT: "end the migration permanently, with the source table as it is: its name can't be used again",
    Intent.PAUSE: "hold phases, snapshot and repairs, and give up a flip that is under way; replication continues",
}
"""What a command means under the plain protocol, where that is another thing."""

READS: Final = {"plan": "tables, streams and bucket", "control": "the control tables"}
"""What is read by the commands that need more than the journal and the status."""

REVOKED: Final = (
    "complete must know before its point of no return how the API loses its right to write the source table: set the "
    "controller's CROSSFADE_REVOKE_COMMAND, or revoke the right yourself and say so with --revoked"
)


async def run_command_line(asked: argparse.Namespace, arguments: dict[str, Any]) -> int:
    """Run a parsed command; return its exit code."""
    try:
        settings = read_settings(ControllerSettings, **token_of(asked))
        mapping = settings.mapping()
        what = READS.get(asked.command, "the journal and the status")
        reading = f"reading {what} of {mapping.name!r} from {where(settings)}"
        if asked.command in READS:
            run = _plan if asked.command == "plan" else _control_create
            async with narrated(say, reading):
                return await run(settings, asked)
        async with command_clients(settings) as clients:
            wire = clients.wire("dynamodb")
            control, tables = control_db(wire), control_tables(mapping.name)
            log = DynamoJournal(control, tables.journal, who=operator_name(), code=version("crossfade-common"))
            board = DynamoStatusBoard(control, tables.heartbeats)
            console = Console(
                log,
                board,
                settings.setup(mapping),
                phases_of(mapping.protocol),
                SYSTEM,
                asked.json,
                Knocker(
                    log,
                    board,
                    clock=SYSTEM,
                    migration=mapping.name,
                    operator=operator_name(),
                    url=settings.controller_url,
                    patience_s=settings.door_s,
                    tls=client_context(settings.tls) if settings.tls else None,
                    bearer=settings.bearer,
                ),
                partial(why_not_excluded, mapping, DynamoTable(clients.databases()[Side.SOURCE], mapping, Side.SOURCE)),
            )
            async with narrated(console.say, reading):
                await _check(settings, console)
            if asked.command == "status":
                async with narrated(console.say, reading, slow_s=2 * FRESH_S + SLOW_S):  # it may wait for a fresh one
                    return await status(console)
            if asked.command == "journal":
                async with narrated(console.say, reading):
                    return await journal(console, asked.since)
            return await ask(
                console,
                Intent(asked.command),
                arguments,
                execute=asked.execute,
                wait=asked.wait,
                timeout_s=asked.timeout,
                expires_s=asked.expires,
            )
    except CrossfadeError as error:
        return failed(error, asked.command, as_json=asked.json)
    except Exception as error:  # a program that reads --json gets its object, a person the trace as well
        sys.stderr.write(traceback.format_exc())
        return failed(error, asked.command, as_json=asked.json)


async def _check(settings: ControllerSettings, console: Console) -> None:
    """See that the journal is this migration's, where that can be in doubt: it is missing or empty.

    Raises:
        StateMissing: it is not; see `crossfade_controller.history`.
    """
    try:
        state = fold(Migration(console.phases), await console.journal.entries())
        if state.has_begun and await console.board.get() is not None:
            return
    except StateMissing:
        state = Migration(console.phases)
    from crossfade_controller.build import build  # reaches everything, and is seldom needed
    from crossfade_controller.history import check_history, check_tables

    async with build(settings, who=operator_name(), under_lease=False) as built:
        await check_tables(built.world)
        await check_history(built.world, state)


async def _control_create(settings: ControllerSettings, asked: argparse.Namespace) -> int:
    from crossfade_controller.build import build
    from crossfade_controller.creating import create

    async with build(settings, who=operator_name(), under_lease=False) as built:
        created = await create(built.dynamodb, built.tables, built.world, execute=asked.execute)
    body = {**created.as_json(), "migration": settings.mapping().name}
    sys.stdout.write((msgspec.json.encode(body).decode() if asked.json else created.as_text()) + "\n")
    return DONE


async def _plan(settings: ControllerSettings, asked: argparse.Namespace) -> int:
    from crossfade_controller.plan_command import run_plan  # plan alone reaches everything

    return await run_plan(settings, asked)


async def status(console: Console, *, patience_s: float = FRESH_S) -> int:
    """Print the status; the phase is the journal's, which is ahead of the status by up to a second.

    Args:
        console: where to read and write.
        patience_s: how long to wait for a status that knows the whole journal.
    """
    entries = await console.journal.entries()
    state = fold(Migration(console.phases), entries)
    body = dict(await console.board.get() or {})
    end_s = console.clock.monotonic() + patience_s
    while body and body.get("journal", 0) < state.number and console.clock.monotonic() < end_s:
        await console.clock.sleep(POLL_S)
        body = dict(await console.board.get() or {})
    if not body:
        body = {"migration": console.migration, "waiting_for": "the controller to start"}
    if body.get("journal", 0) < state.number or "phase" not in body:
        body["phase"] = state.phase.value
    body["intents"] = [pending_json(each) for each in state.pending]
    outcomes = [each.body for each in entries if each.kind == "outcome"]
    body["last_outcome"] = outcomes[-1] if outcomes else None
    seems_s = (console.clock.wall_us() - body["at_us"]) / 1e6 if "at_us" in body else None
    body["age_s"] = None if seems_s is None else max(0.0, round(seems_s, 1))
    body["is_old"] = seems_s is None or (
        abs(seems_s) > SILENT_S and not await _is_told_again(console, body.get("at_us"), patience_s)
    )
    console.answer(status_text(body), body)
    return DONE


async def journal(console: Console, since: tuple[int, int]) -> int:
    """Print the journal, from an entry or a time on."""
    first, since_us = since
    entries = await console.journal.entries(after=max(0, first - 1))
    entries = [each for each in entries if each.at_us >= since_us]
    console.answer(journal_text(entries), journal_json(console.migration, entries))
    return DONE


async def _is_told_again(console: Console, at_us: int | None, patience_s: float) -> bool:
    """Say whether the controller tells its status once more within `patience_s`."""
    end_s = console.clock.monotonic() + patience_s
    while at_us is not None:
        if (await console.board.get() or {}).get("at_us") != at_us:
            return True
        if console.clock.monotonic() >= end_s:
            break
        await console.clock.sleep(POLL_S)
    return False


async def ask(
    console: Console,
    intent: Intent,
    arguments: Mapping[str, Any],
    *,
    execute: bool,
    wait: bool = False,
    timeout_s: float | None = None,
    expires_s: float | None = None,
    deaf_s: float = DEAF_S,
) -> int:
    """Ask the controller for something, or say what would come of it.

    Args:
        console: where to read and write.
        intent: the command.
        arguments: of the intent.
        execute: whether to ask at all.
        wait: until the controller has settled it.
        timeout_s: of the wait; None for no end.
        expires_s: how long it may wait before anything is done for it; None for the controller's setting.
        deaf_s: a status that stands still for so long while it waits means that nobody acts on it.

    Raises:
        NotTaken: no controller takes it.
        OutcomeUnknown: it can't be told whether one did.
    """
    state = fold(Migration(console.phases), await console.journal.entries())
    last = dict(await console.board.get() or {})
    if intent is Intent.WITHDRAW and arguments.get(ENTRY) is None and len(state.pending) == 1:
        arguments = {ENTRY: state.pending[0].number}
    body: dict[str, Any] = {
        "command": intent.value,
        "arguments": arguments,
        "migration": console.migration,
        "phase": state.phase.value,
        "executed": execute,
        "meaning": (MEANING if state.table.flags else MEANING | PLAIN_MEANING)[intent],
    }
    because = refusal(state, intent, arguments, migration=console.migration, revokes=last.get("revokes"))
    if not because and intent is Intent.START:
        because = await console.excludes(state, arguments)
    if because:
        return _refused(console, because, body)
    if not execute:
        return _dry_run(console, intent, state, last, body)
    if console.door is None:
        raise NotTaken(NO_CONTROLLER)
    try:
        taken = await console.door.ask(intent, arguments, expires_s=expires_s)
    except Refused as error:
        return _refused(console, str(error), body)
    body |= {"who": taken.who, "expires_us": taken.expires_us}
    console.say(f"{intent.value}: journal entry {taken.entry}, requested by {taken.who}")
    if not wait:
        text = (
            f"requested {intent.value}; `crossfade status` shows its progress, `crossfade withdraw {taken.entry} "
            f"--execute` withdraws it; it expires unless it has begun by {utc(taken.expires_us)}"
        )
        console.answer(text, {**body, "entry": taken.entry, "outcome": "asked", "because": ""})
        return DONE
    return await Waiting(console, taken.entry, body, deaf_s=deaf_s).end(timeout_s)


def _refused(console: Console, because: str, body: Mapping[str, Any]) -> int:
    told = failure("refused", because, REFUSED)
    console.fail(f"refused: {because}", {**body, "outcome": "refused", "because": because, **told})
    return REFUSED


def _dry_run(
    console: Console, intent: Intent, state: Migration, last: Mapping[str, Any], body: Mapping[str, Any]
) -> int:
    """Say what would come of a command: what the controller's own state machine answers, by its last status."""
    held_out = int((last.get("held_out") or {}).get("keys") or 0)
    told = foresee(state, _seen(console, last), intent, body["arguments"], held_out=held_out)
    shut = gates_json(told.shut)
    share = f", share {state.document.share / 100:g} %" if state.table.flags else ""
    lines = [f"would {body['meaning']}", f"  phase {state.phase.value}{share}"]
    lines += [f"  next: {', '.join(told.ahead)}"] if told.ahead else []
    for each in shut:
        lines += [f"  shut: {each['name']}: {each['because']}", *([f"        {each['cure']}"] if each["cure"] else [])]
    wait = told.end if isinstance(told.end, Wait) else None
    if wait is not None and not shut:
        lines.append(f"  would wait for: {wait.text}")
    if isinstance(told.end, Settle) and told.end.outcome == "refused":
        lines.append(f"  would be refused: {told.end.because}")
    if not last:
        lines.append("  the controller has never reported a status: is it running?")
    if intent is Intent.COMPLETE and state.table.flags and not body["arguments"].get("revoked"):
        lines.append(f"  {REVOKED}")
    pending = [pending_json(each) for each in state.pending]
    if intent not in _BESIDE:
        lines += [f"  would replace {intent_text(each)}" for each in pending]
    leaves = state.table.left_behind(console.setup, state) if intent is Intent.ABORT else []
    lines += [f"  leaves {each}" for each in leaves]
    lines.append("nothing was changed; add --execute")
    foreseen = {"next": list(told.ahead), "wait": None if wait is None else wait_json(wait)}
    answered = {**body, "outcome": "dry run", "shut": shut, "pending": pending, "leaves": leaves, **foreseen}
    console.answer("\n".join(lines), answered)
    return SHUT if shut else DONE


def _seen(console: Console, last: Mapping[str, Any]) -> Seen:
    """Return what the controller's last status shows; gates that it doesn't tell are unknown."""
    told = (GateResult(*(each[name] for name in GateResult._fields)) for each in last.get("gates", ()))
    gates = {each.name: each for each in told}
    revoke = () if last.get("revokes") is False else ("CROSSFADE_REVOKE_COMMAND",)
    began_s = (last.get("parity") or {}).get("clean_pass_began_s")
    return Seen(console.setup._replace(revoke=revoke), gates, int(last.get("at_us") or 0), pass_began_s=began_s)
