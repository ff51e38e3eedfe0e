"""The CLI at the controller's door: finds the controller that drives, and hands it a command."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from crossfade.core.migration.phases import Intent
from crossfade.core.values.errors import CrossfadeError, StoreUnavailable
from crossfade.ports.clock import Clock
from crossfade.ports.control import Journal, StatusBoard
from crossfade.runtime.http_client import NO_TOKEN, Answered, Bearer, call_json
from crossfade_controller.door import NOT_DRIVING

LOOK_S: Final = 0.3

JUDGED: Final = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT}
"""What the door answers to a command that it will never take."""

SEND_S: Final = 20.0
"""How long an answer is waited for; the controller writes to the journal first."""

NOTHING_SENT: Final = (ConnectionRefusedError, socket.gaierror, ssl.SSLError)
"""Failures before a command has left."""

NO_CONTROLLER: Final = (
    "start the controller (python -m crossfade_controller.main), or find out why it isn't driving: runbook "
    "no-controller; if its status has no address, set CROSSFADE_CONTROLLER_URL"
)

Send = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Posts a body to a URL; see `call_json`."""


class NotTaken(CrossfadeError):
    """No controller accepted the command: nothing was journaled, and nothing will happen later."""

    code = "no_controller"


class Refused(CrossfadeError):
    """The controller refused the command; the message says why."""

    code = "refused"


class OutcomeUnknown(CrossfadeError):
    """The command was sent, and it is unknown whether it was accepted."""

    code = "outcome_unknown"


class Taken(NamedTuple):
    """A command that is in the journal.

    Attributes:
        entry: its number.
        who: asked, as the controller knows them.
        expires_us: when it expires if it hasn't begun, by the controller's clock.
    """

    entry: int
    who: str
    expires_us: int


class Knocker:
    """Hands commands over."""

    def __init__(
        self,
        journal: Journal,
        board: StatusBoard,
        *,
        clock: Clock,
        migration: str,
        operator: str,
        url: str = "",
        patience_s: float = 5.0,
        send: Send | None = None,
        tls: ssl.SSLContext | None = None,
        bearer: Bearer = NO_TOKEN,
    ) -> None:
        """Take where to knock.

        Args:
            journal: read only, to learn whether a command whose answer was lost was taken.
            board: tells the door of the controller that drives.
            clock: of the terminal.
            migration: its name.
            operator: who asks.
            url: base URL of the controller; empty for what the board tells.
            patience_s: how long to look for a controller that drives.
            send: posts a body; None for HTTP.
            tls: for https.
            bearer: says who asks, where tokens are wanted.
        """
        self._journal, self._board, self._clock = journal, board, clock
        self._migration, self._operator, self._url, self._patience_s = migration, operator, url, patience_s
        self._send = send or (lambda to, body: call_json(to, body, timeout_s=SEND_S, tls=tls, bearer=bearer))

    async def ask(self, intent: Intent, arguments: Mapping[str, Any], *, expires_s: float | None = None) -> Taken:
        """Hand over a command.

        Raises:
            NotTaken: no controller that drives was found within the patience.
            Refused: the controller refuses it.
            OutcomeUnknown: it was sent, no answer came, and the journal doesn't have it.
        """
        body: dict[str, Any] = {
            "migration": self._migration,
            "verb": intent.value,
            "arguments": dict(arguments),
            "operator": self._operator,
            "nonce": secrets.token_hex(16),
        }
        if expires_s is not None:
            body["expires_s"] = expires_s
        ends_s = self._clock.monotonic() + self._patience_s
        while True:
            taken, why = await self._knock(body)
            if taken is not None:
                return taken
            if self._clock.monotonic() >= ends_s:
                raise NotTaken(
                    f"{intent.value} was not accepted, and will not be carried out later: {why}. {NO_CONTROLLER}"
                )
            await self._clock.sleep(LOOK_S)

    async def _knock(self, body: Mapping[str, Any]) -> tuple[Taken | None, str]:
        """Return the controller's answer, or why none could be reached."""
        url = self._url or str((await self._board.get() or {}).get("door") or "")
        if not url:
            return None, "no controller has published its address"
        try:
            answer = await self._send(f"{url.rstrip('/')}/intents", body)
        except Answered as error:
            if error.status in JUDGED and error.reason:
                raise Refused(error.told) from error
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                return None, f"another service answers there: {error}"
            if error.reason == NOT_DRIVING:
                return None, f"{url}: {error.told}"
            return await self._looked_up(body, error), ""
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NOTHING_SENT):
                return None, f"nothing is listening at {error}"
            return await self._looked_up(body, error), ""
        return Taken(int(answer["entry"]), str(answer["who"]), int(answer["expires_us"])), ""

    async def _looked_up(self, body: Mapping[str, Any], error: StoreUnavailable) -> Taken:
        """Look for a command whose answer was lost in the journal."""
        for entry in await self._journal.entries():
            if entry.kind == "intent" and entry.body.get("nonce") == body["nonce"]:
                return Taken(entry.number, str(entry.body["who"]), int(entry.body["expires_us"]))
        raise OutcomeUnknown(
            f"the answer was lost ({error}), and the journal has no {body['verb']} yet: look at "
            "`crossfade journal` before you try again"
        )
