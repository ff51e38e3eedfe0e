"""The door: a command comes in here, is judged, and goes into the journal with the name of who asked (ADR 0026).

POST /intents, {"migration", "verb", "arguments", "operator", "expires_s", "nonce"}:

202  it is journaled: {"entry", "who", "expires_us"}
400  it is not a command
401  who asks can't be told (`crossfade.runtime.access`)
403  who asks isn't an operator
409  it is refused: the message says why and what to do
503  `not_driving`: another controller has the lease, nothing was journaled; else whether it was can't be told
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from crossfade.core.migration.asking import refusal
from crossfade.core.migration.phases import Intent
from crossfade.core.migration.state import Migration
from crossfade.core.values.errors import CrossfadeError, LeaseLost
from crossfade.ports.clock import Clock
from crossfade.ports.control import Journal
from crossfade.runtime.http import Answer, HttpRefused, Request, told
from crossfade_controller.settings import ControllerSettings

KNOWN_NONCES: Final = 1_000
"""Commands that are recognized when they are sent again because their answer was lost."""

NOT_DRIVING: Final = "not_driving"
"""Code of the answer of a controller that takes nothing, but may in a moment."""

FIELDS: Final = {"migration": str, "verb": str, "arguments": dict, "operator": str, "nonce": str}


class Asked(NamedTuple):
    """A command, as it was read.

    Attributes:
        intent: the verb.
        arguments: of it.
        operator: who asks, as their CLI says.
        expires_s: from now on it may be begun for so long; None for the controller's setting.
        nonce: the same when the same command is sent again.
    """

    intent: Intent
    arguments: dict[str, Any]
    operator: str
    expires_s: float | None
    nonce: str


class Door:
    """Takes commands for the controller that drives. Reads of the state are of a value: the driver isn't disturbed."""

    def __init__(
        self,
        settings: ControllerSettings,
        migration: str,
        journal: Journal,
        driving: Callable[[], Migration | None],
        clock: Clock,
    ) -> None:
        """Take what a command is judged by.

        Args:
            settings: of the controller.
            migration: its name.
            journal: written under the controller's lease.
            driving: the migration's state; None while this controller doesn't drive.
            clock: the controller's.
        """
        self._settings, self._migration, self._journal = settings, migration, journal
        self._driving, self._clock = driving, clock
        self._taken: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def ask(self, request: Request) -> Answer:
        """Take a command into the journal.

        Raises:
            HttpRefused: it isn't taken.
        """
        asked = self._read(request.fields())
        if asked.nonce in self._taken:
            return told(self._taken[asked.nonce], HTTPStatus.ACCEPTED)
        state = self._driving()
        if state is None:
            raise _not_driving()
        revokes = bool(self._settings.revoke_command)
        because = refusal(state, asked.intent, asked.arguments, migration=self._migration, revokes=revokes)
        if because:
            raise HttpRefused(HTTPStatus.CONFLICT, "refused", because)
        named = f"{request.who} ({asked.operator})" if request.who else asked.operator
        lives_s = self._settings.intent_s if asked.expires_s is None else asked.expires_s
        body = {
            "verb": asked.intent.value,
            "arguments": asked.arguments,
            "who": named,
            "nonce": asked.nonce,
            "expires_us": self._clock.wall_us() + int(lives_s * 1e6),
        }
        try:
            entry = await self._journal.append("intent", body)
        except LeaseLost as error:
            raise _not_driving() from error
        except CrossfadeError as error:
            raise HttpRefused(HTTPStatus.SERVICE_UNAVAILABLE, error.code, str(error)) from error
        answer = {"entry": entry.number, "who": named, "expires_us": body["expires_us"]}
        self._taken[asked.nonce] = answer
        if len(self._taken) > KNOWN_NONCES:
            self._taken.popitem(last=False)
        return told(answer, HTTPStatus.ACCEPTED)

    def _read(self, fields: dict[str, Any]) -> Asked:
        for name, kind in FIELDS.items():
            if not isinstance(fields.get(name), kind) or not (fields[name] or kind is dict):
                raise _bad(f"{name}: must be {'an object' if kind is dict else 'a non-empty string'}")
        expires_s = fields.get("expires_s")
        if expires_s is not None and (isinstance(expires_s, bool) or not isinstance(expires_s, int | float)):
            raise _bad("expires_s: must be a number")
        if expires_s is not None and not 0 < expires_s < 1e9:
            raise _bad("expires_s: must be above 0 and below a billion")
        if fields["migration"] != self._migration:
            raise HttpRefused(
                HTTPStatus.CONFLICT,
                "wrong_migration",
                f"this controller drives {self._migration}, not {fields['migration']}: see CROSSFADE_MIGRATION_MAPPING "
                "and CROSSFADE_CONTROLLER_URL",
            )
        try:
            intent = Intent(fields["verb"])
        except ValueError:
            raise _bad(f"verb: must be one of {', '.join(each.value for each in Intent)}") from None
        return Asked(intent, fields["arguments"], fields["operator"][:200], expires_s, fields["nonce"][:64])


def _not_driving() -> HttpRefused:
    message = "this controller isn't driving: another one holds the lease"
    return HttpRefused(HTTPStatus.SERVICE_UNAVAILABLE, NOT_DRIVING, message)


def _bad(message: str) -> HttpRefused:
    return HttpRefused(HTTPStatus.BAD_REQUEST, "invalid_argument", message)
