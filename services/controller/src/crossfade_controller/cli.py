"""The CLI `crossfade`: how an operator drives a migration."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from crossfade.core.migration.asking import COMPARE, HOLD_AT_MOST, WHOLE
from crossfade_controller.after_options import AFTER, add_after
from crossfade_controller.before_options import BEFORE, add_before
from crossfade_controller.failing import INTERRUPTED, USAGE, failure
from crossfade_controller.oncall_options import COMMANDS, add_options, add_usual, count_of, wrong_usage

EXIT_CODES: Final = """\
exit codes:
  0  done; for a dry run: the command could be carried out now; for parity: clean, and safe to cut over
  1  an error; nothing is known to have changed; for parity, verify and repair: no verifier answers
  2  wrong usage, settings or mapping
  3  refused; superseded by another command; withdrawn, cancelled, expired or given up
  4  for a dry run and for plan: something stands in the way now; for parity: not clean, or not safe to cut over;
     for a pass: not clean; for a repair: a key is still wrong, or there is nothing to write
  5  --timeout passed; the command continues, see `crossfade status`, `verify status`, `repair status`
  130  Ctrl-C; a command that was accepted continues
with --json, every failure is one object with error, code, cure and exit_code
"""

ABOUT: Final = """\
Moves a live DynamoDB data set to a new table. A controller service does the work; these commands tell it what to do.
Nothing changes without --execute: until then a command reports what it would do, and which gates are shut. A repair
is planned, shown, and carried out by the plan's id (`repair execute`).
"""

EXAMPLES: Final = """\
a migration of a table whose writers don't change begins with a folder:
  crossfade init --source TABLE --target NEW      mapping, settings, samples, a test; then see its README.md
a migration, from first to last:
  crossfade control create --execute              the control tables, unless Terraform creates them
  crossfade plan                                  is it possible, and what does it take?
  crossfade start --execute --wait                stream, export, import, catch up, dual-write
  crossfade ramp 1 --execute --wait               1 % of the keys; then 10, 50, 100
  crossfade cutover --execute --wait              the keys that no client touched; then bake as long as you need
  crossfade complete --confirm NAME --revoked --execute --wait
  crossfade clean --execute                       take Crossfade's attributes out of the rows
  crossfade retire --confirm NAME --execute       delete the migrated rows of a shared source
when in doubt:
  crossfade parity                                is it safe to cut over? what differs, and why?
  crossfade parity --key KEY                      one key: both rows side by side, and what to do
  crossfade repair plan --class CLASS             what a repair would write; `repair execute` carries it out
  crossfade status                                phase, gates, lags, and what it is waiting for
  crossfade withdraw --execute                    withdraw a waiting command
  crossfade pause --execute                       hold the migration; clients notice nothing
  crossfade rollback --execute --wait             from RAMPING to BAKING: all keys go back, nothing is lost
"""

MAX_KEYS_CHARS: Final = 300_000
"""Of one command's excluded keys; a journal entry is one item of 400 KB."""

_COMMANDS: Final = {
    "control": "create the control tables (`control create`), with point-in-time recovery and deletion protection",
    "plan": "check whether the migration can run, and estimate what it takes",
    "start": "capture, snapshot, import and catch up, until the API writes to both tables (BOTH_WAYS)",
    "status": "show the phase, gates, lags and progress, and what the migration is waiting for",
    "journal": "list what happened, entry by entry: commands and who gave them, phases with their gates, steps",
    "pause": "hold the migration in any phase: no phase change, flags, sweep, snapshot step or repair; "
    "clients, replication and the help for half-moved keys continue",
    "resume": "resume a paused migration",
    "ramp": "set the share of keys that aim at the target table; lowering it hands keys back",
    "cutover": "move all keys, including those that no client touches; ends in BAKING. Run in CUT_OVER or BAKING, "
    "it retries the keys that could not move",
    "rollback": "move all keys back to the source table, until `complete`; while paused, it waits for `resume`",
    "complete": "end the migration permanently; needs the migration's name as confirmation",
    "abort": "give up the migration permanently, before RAMPING or after a rollback; needs its name as "
    "confirmation, and that name can't be used again; while paused, it waits for `resume`",
    "withdraw": "withdraw a command that is waiting or under way; nothing that it has begun is undone",
}


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are JSON on request.

    Attributes:
        as_json: whether it is.
    """

    as_json = False

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end the process with exit code 2."""
        self.print_usage(sys.stderr)
        told = failure("usage", message, USAGE, cure=f"{self.prog} --help")
        sys.stderr.write(f"{self.prog}: error: {message}\n")
        if Parser.as_json:
            sys.stdout.write(json.dumps({"command": self.prog.partition(" ")[2], **told}) + "\n")
        raise SystemExit(USAGE)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = Parser(
        prog="crossfade",
        description=ABOUT,
        epilog=EXAMPLES + "\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, what in {**BEFORE, **_COMMANDS, **AFTER, **COMMANDS}.items():
        one = commands.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + ".",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in COMMANDS:
            add_options(one, name, EXIT_CODES)
            continue
        if name in AFTER:
            add_after(one, name)
            continue
        if name in BEFORE:
            add_before(one, name)
            continue
        add_usual(one)
        _add_options(one, name)
    return top


def _add_options(one: argparse.ArgumentParser, name: str) -> None:
    if name == "control":
        one.add_argument(
            "what", choices=["create"], help="create the tables that are missing, and list those that exist"
        )
    if name == "status":
        one.add_argument("--schema", action="store_true", help="print the JSON schema of --json; needs no connection")
    if name == "journal":
        one.add_argument(
            "--since",
            type=_since,
            default=(0, 0),
            metavar="WHEN",
            help="an entry's number; 90s, 15m, 2h or 3d ago; or a time, 2026-11-28T09:00 (UTC)",
        )
    if name in {"status", "journal"}:
        return
    one.add_argument("--execute", action="store_true", help="do it; without this nothing changes")
    if name == "control":
        return
    if name == "plan":
        one.add_argument(
            "--writes-per-s",
            type=_rate,
            metavar="N",
            help="the application's writes per second at the peak; default: 1,000, or what CloudWatch tells",
        )
        one.add_argument("--save", metavar="FILE", default="", help="save the plan, as JSON")
        one.add_argument("--compare", metavar="FILE", default="", help="say what changed since the plan saved there")
        return
    _add_intent_options(one, name)


def _add_intent_options(one: argparse.ArgumentParser, name: str) -> None:
    one.add_argument("--wait", action="store_true", help="wait until it is done, and report what it is waiting for")
    one.add_argument("--timeout", type=float, metavar="S", help="limit for --wait, in seconds; default: none")
    one.add_argument(
        "--expires",
        type=_hours,
        metavar="HOURS",
        help="expire after this time if nothing has been done for it; default: the controller's CROSSFADE_INTENT_S",
    )
    if name == "withdraw":
        one.add_argument(
            "entry",
            type=count_of,
            nargs="?",
            metavar="ENTRY",
            help="number of its journal entry, as shown by status",
        )
    if name == "ramp":
        one.add_argument("percent", type=_percent, metavar="PERCENT", help="0 to 100, in steps of 0.01")
    if name == "start":
        one.add_argument(
            "--exclude",
            action="append",
            default=[],
            metavar="KEY",
            help="encoded key of a row to leave out of the snapshot, as shown in the error; can be repeated",
        )
        one.add_argument(
            "--exclude-from",
            type=_keys_of,
            default=[],
            metavar="FILE",
            help="leave out each key listed in a file: one encoded key per line, or JSON with `key`, "
            "as in the file of rows that can't be mapped; a name ending in .gz means gzip",
        )
        one.add_argument("--exclude-unknown", action="store_true", help="also accept keys that have no row now")
        one.add_argument(
            "--fresh-export",
            action="store_true",
            help="in SNAPSHOT, before the import: export once more, with rows as they are now; only keys that this "
            "command excludes are left out of it",
        )
        one.add_argument(
            "--retake",
            action="store_true",
            help="in SNAPSHOT, before the import: read the rows that couldn't be mapped again from the source, by key, "
            "as you have corrected them",
        )
    if name in {"rollback", "complete"}:
        one.add_argument(
            "--discard-diverged",
            type=count_of,
            metavar="N",
            help="discard the letters of exactly N writes outside the protocol and keys whose rows differ, as "
            "`status` counts them; the journal keeps each with its payload",
        )
    if name in {"cutover", "rollback"}:
        one.add_argument(
            "--hold-at-most",
            type=_seconds,
            metavar="S",
            help="plain protocol: give the attempt up when writes were held for so long; default: the controller's "
            "CROSSFADE_HOLD_AT_MOST_S",
        )
        one.add_argument(
            "--compare",
            choices=[WHOLE],
            help="plain protocol: compare both tables while writes are held, instead of the keys changed since the "
            "last clean pass; certain, and as long as the tables are",
        )
    if name in {"complete", "abort"}:
        one.add_argument("--confirm", metavar="NAME", default="", help="name of the migration, as confirmation")
    if name == "complete":
        one.add_argument(
            "--leave-behind",
            type=count_of,
            metavar="N",
            help="leave exactly N keys that can't move in the source table, where they can no longer be written",
        )
        one.add_argument(
            "--revoked",
            action="store_true",
            help="you have revoked the API's right to write the source table (without CROSSFADE_REVOKE_COMMAND)",
        )


def _since(text: str) -> tuple[int, int]:
    from crossfade.adapters.clock import SYSTEM
    from crossfade_controller.journaling import since_of

    try:
        return since_of(text, SYSTEM.wall_us())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an entry number, a duration like 2h, or a time") from None


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < rate < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0 and below a billion")
    return rate


def _seconds(text: str) -> float:
    return _rate(text)


def _hours(text: str) -> float:
    """Return hours in seconds."""
    return _rate(text) * 3600


def _keys_of(name: str) -> list[str]:
    """Read a file of encoded keys."""
    try:
        body = Path(name).read_bytes()
        lines = (gzip.decompress(body) if name.endswith(".gz") else body).decode().splitlines()
    except (OSError, EOFError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name} can't be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
        except ValueError:
            read = None
        key = read.get("key") if isinstance(read, dict) else line.strip() if isinstance(read, list) else None
        if not isinstance(key, str) or not key:
            raise argparse.ArgumentTypeError(f"{name}, line {number}: neither an encoded key nor JSON with `key`")
        found.append(key)
    if sum(map(len, found)) > MAX_KEYS_CHARS:
        raise argparse.ArgumentTypeError(
            f"{name} has {len(found)} keys, more than a journal entry holds ({MAX_KEYS_CHARS:,} characters): correct "
            "the rows, or let the mapping's `belongs` leave them out"
        )
    return found


def _percent(text: str) -> int:
    """Return a share in basis points."""
    try:
        share = float(text) * 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (0 <= share <= 10_000) or abs(share - round(share)) > 1e-6:
        raise argparse.ArgumentTypeError(f"{text!r} must be 0 to 100, in steps of 0.01")
    return round(share)


def arguments_of(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the intent's arguments, as they go into the journal."""
    if asked.command == "ramp":
        return {"share": asked.percent}
    if asked.command == "start":
        wanted: dict[str, Any] = {"exclude": list(dict.fromkeys([*asked.exclude, *asked.exclude_from]))}
        flags = {"fresh_export": asked.fresh_export, "exclude_unknown": asked.exclude_unknown, "retake": asked.retake}
        return wanted | {name: True for name, is_set in flags.items() if is_set}
    if asked.command == "complete":
        counts = {"discard_diverged": asked.discard_diverged, "leave_behind": asked.leave_behind}
        return {"confirm": asked.confirm, "revoked": asked.revoked, **_given(counts)}
    if asked.command == "abort":
        return {"confirm": asked.confirm}
    if asked.command == "withdraw":
        return {"entry": asked.entry}
    if asked.command in {"cutover", "rollback"}:
        hold = {HOLD_AT_MOST: asked.hold_at_most, COMPARE: asked.compare}
        return _given(hold | ({"discard_diverged": asked.discard_diverged} if asked.command == "rollback" else {}))
    return {}


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    top = parser()
    Parser.as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    asked = top.parse_args(arguments)
    if asked.version:
        from crossfade.runtime.lifecycle import code_version

        sys.stdout.write(f"crossfade {code_version()}\n")
        return 0
    if asked.command is None:
        top.print_help()
        return 2
    if wrong := wrong_usage(asked):
        top.error(wrong)
    if asked.command == "status" and asked.schema:
        from crossfade.contracts.status import schema

        sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
        return 0
    try:
        return asyncio.run(_run(asked))
    except KeyboardInterrupt:  # what it was doing is said where it was done
        return INTERRUPTED


async def _run(asked: argparse.Namespace) -> int:
    """Run a parsed command, by imports that --help needs none of."""
    if asked.command in AFTER:
        from crossfade_controller.after_command import run_after

        return await run_after(asked)
    if asked.command in BEFORE:
        from crossfade_controller.init_command import run_before

        return await run_before(asked)
    if asked.command in COMMANDS:
        from crossfade.adapters.clock import SYSTEM
        from crossfade_controller.oncall import run_on_call

        return await run_on_call(asked, SYSTEM)
    from crossfade_controller.commands import run_command_line

    return await run_command_line(asked, arguments_of(asked))


if __name__ == "__main__":
    sys.exit(main())
