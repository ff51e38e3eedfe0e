"""What is said about a command before it is accepted: the same words in a dry run, at the door and in the driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Setup
from crossfade.core.migration.state import Migration, Pending
from crossfade.core.values.errors import IllegalTransition
from crossfade.core.values.shape import Side

FRESH: Final = "fresh_export"
RETAKE: Final = "retake"
"""Argument of `start`: export once more, at a later moment."""

ENTRY: Final = "entry"
"""Argument of `withdraw`: the number of the command's journal entry."""

HOLD_AT_MOST: Final = "hold_at_most_s"
"""Argument of `cutover` and `rollback` under the plain protocol: the attempt is given up when writes were held for so
long."""

COMPARE: Final = "compare"
"""Argument of both: WHOLE for a compare of both tables, which is certain, and takes as long as they are."""

WHOLE: Final = "whole"

POINT_OF_NO_RETURN: Final = "publish-complete"
"""The step of COMPLETE from which absent rows belong to the target table."""

NO_WAY_BACK: Final = (
    "the migration is being completed: the target table is becoming the only owner, so there is no way back"
)


def refusal(
    state: Migration, intent: Intent, arguments: Mapping[str, Any], *, migration: str, revokes: bool | None
) -> str:
    """Say why a command can't be taken now, and what to do; empty when it can.

    Args:
        state: of the migration.
        intent: the verb.
        arguments: of it.
        migration: its name.
        revokes: whether the controller has a program that takes away the API's right; None when that is unknown.
    """
    try:
        state.table.check_intent(intent, state.phase)
    except IllegalTransition as error:
        return str(error)
    if intent in {Intent.COMPLETE, Intent.ABORT} and arguments.get("confirm") != migration:
        return f"{intent.value} needs the migration's name as confirmation: --confirm {migration}"
    if state.table.flags and (HOLD_AT_MOST in arguments or COMPARE in arguments):
        return "this migration holds no writes: its writers follow the protocol. Leave out --hold-at-most and --compare"
    is_past = POINT_OF_NO_RETURN in state.begun
    match intent:
        case Intent.ROLLBACK | Intent.CUTOVER if is_past:
            return NO_WAY_BACK
        case Intent.COMPLETE if state.table.flags and revokes is False and not arguments.get("revoked"):
            return (
                "complete can't be undone, so it must know in advance how the API loses its right to write the source "
                "table: set the controller's CROSSFADE_REVOKE_COMMAND, or revoke the right yourself and say so: "
                f"crossfade complete --confirm {migration} --revoked --execute"
            )
        case Intent.START if arguments.get(FRESH):
            return _not_again(state, "--fresh-export")
        case Intent.START if arguments.get(RETAKE):
            return _not_again(state, "--retake") or _nothing_to_retake(state)
        case Intent.WITHDRAW:
            return _not_withdrawn(state, arguments.get(ENTRY))
    return ""


def _not_again(state: Migration, option: str) -> str:
    """Say why no row is taken once more."""
    if state.phase is Phase.PLANNED:
        return f"there is no export yet: leave out {option}"
    if "import" in state.begun:
        return (
            "the target table is already being filled from the export. Corrections reach it by replication; if that "
            "fails: crossfade abort, and another migration with another target table"
        )
    return ""


def _nothing_to_retake(state: Migration) -> str:
    return "" if "map" in state.begun else "the export's rows aren't mapped yet, so none is known that can't be mapped"


def _not_withdrawn(state: Migration, number: Any) -> str:
    found = next((each for each in state.pending if each.number == number), None)
    if found is None:
        open_ones = ", ".join(f"{each.number} ({each.intent.value})" for each in state.pending) or "none"
        return f"entry {number} is no command that is waiting or under way; those are: {open_ones}"
    if found.intent is Intent.COMPLETE and POINT_OF_NO_RETURN in state.begun:
        return NO_WAY_BACK
    if found.intent is Intent.ABORT and found.acted:
        return "the migration is being aborted: pods have already been told to stop copying"
    return ""


def pending_json(each: Pending) -> dict[str, Any]:
    """Return a command that has no outcome yet as JSON."""
    return {
        "number": each.number,
        "verb": each.intent.value,
        "arguments": dict(each.arguments),
        "who": each.who,
        "taken_up": each.admitted,
        "acted": each.acted,
        "expires_us": each.expires_us or None,
    }


def left_by_abort(setup: Setup, state: Migration) -> list[str]:
    """List what stays after an abort, for somebody to remove or to keep."""
    document, name = state.document, setup.migration
    left = [
        f"the name {name}, which can't be used again: another try needs another name and another target table",
        f"the control tables of {name}, with the journal",
        f"the flags in place: share {document.share / 100:g} %, target_gen {document.target_gen}, source_gen "
        f"{document.source_gen}",
    ]
    if "streams" in state.facts:
        left.append(f"the streams {', '.join(setup.streams)}, and what the tables send to them")
    if "export" in state.facts:
        left.append("the files of export and import in the bucket")
    if "import" in state.facts:
        left.append(f"the table {setup.tables[Side.TARGET]}, which owns nothing")
        left.append(f"attributes cf_* in rows of {setup.tables[Side.SOURCE]}")
    return left
