"""How a command of the CLI fails: one line on stderr, an exit code, and with --json one object on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crossfade.core.values.errors import CrossfadeError

DONE: Final = 0
ERROR: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
SHUT: Final = 4
TIMEOUT: Final = 5
INTERRUPTED: Final = 130

CURES: Final[dict[str, str]] = {
    "config": "correct the setting or the mapping that the message names",
    "usage": "crossfade COMMAND --help",
    "throttled": "run the command again in a moment; if it persists, raise the control tables' capacity",
    "store_unavailable": "check that AWS (or CROSSFADE_AWS_ENDPOINT_URL) can be reached, then run the command again",
    "store_refused": "check that these credentials permit what the message names, and that the request is correct",
    "state_missing": "follow the message; services/controller/README.md, `state_missing`",
    "lease_lost": "run the command again: another controller has taken over",
    "no_verifier": "runbooks verifier-down and verifier-blind; CROSSFADE_VERIFIER_URL names the verifier's address",
    "not_found": "without an id, `status` lists what the verifier knows",
    "no_controller": "start the controller, then run the command again; runbook no-controller",
    "outcome_unknown": "crossfade journal shows whether it was accepted",
    "refused": "crossfade status shows the phase and what is possible",
    "timeout": "the command continues: see crossfade status; crossfade withdraw stops it",
    "interrupted": "the command continues: see crossfade status; crossfade withdraw stops it",
    "internal": "a bug in Crossfade: report it with the trace on stderr; crossfade status shows the state",
}
"""By code, what helps where the message says no more."""

EXITS: Final = {"config": USAGE, "usage": USAGE, "state_missing": REFUSED, "refused": REFUSED, "not_found": REFUSED}
"""Exit codes of those that are more than an error."""


def failure(code: str, message: str, exit_code: int, *, cure: str = "") -> dict[str, Any]:
    """Return what --json prints for a failure, apart from what the command itself adds."""
    return {"error": message, "code": code, "cure": cure or CURES.get(code, CURES["internal"]), "exit_code": exit_code}


def fail(body: Mapping[str, Any], *, as_json: bool) -> int:
    """Say on stderr why a command failed, with --json on stdout as well; return its exit code."""
    sys.stderr.write(f"{body['code']}: {body['error']}\n")
    if body["cure"] and body["cure"] not in body["error"]:
        sys.stderr.write(f"  {body['cure']}\n")
    if as_json:
        sys.stdout.write(msgspec.json.encode(body).decode() + "\n")
    return int(body["exit_code"])


def failed(error: Exception, command: str, *, as_json: bool) -> int:
    """Say what an exception means; return the exit code."""
    code = error.code if isinstance(error, CrossfadeError) else "internal"
    exit_code = EXITS.get(code, ERROR)
    message = str(error) if isinstance(error, CrossfadeError) else f"{type(error).__name__}: {error}"
    return fail({"command": command, **failure(code, message, exit_code)}, as_json=as_json)
