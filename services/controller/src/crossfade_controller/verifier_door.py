"""The CLI at the verifier's door: asks it, and says what no answer means."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreUnavailable
from crossfade.runtime.http_client import Answered, call_json
from crossfade.runtime.silence import ATTEMPT_S, ATTEMPTS, narrated
from crossfade.runtime.tls import client_context
from crossfade_controller.settings import ControllerSettings

ANSWER_S: Final = ATTEMPTS * ATTEMPT_S
"""How long an answer is waited for, as for what other commands read; a plan of repairs reads rows first."""

Send = Callable[[str, object], Awaitable[Any]]
"""Posts a body to a URL, or gets it where the body is None; see `call_json`."""


class NoVerifier(CrossfadeError):
    """No verifier answers."""

    code = "no_verifier"


class NotFound(CrossfadeError):
    """The verifier doesn't know what was named."""

    code = "not_found"


class NotDone(CrossfadeError):
    """The verifier refuses; the message says why."""

    code = "refused"


class WrongUsage(CrossfadeError):
    """The verifier can't read the request; the message names the argument."""

    code = "usage"


_MEANS: Final[dict[int, type[CrossfadeError]]] = {
    HTTPStatus.BAD_REQUEST: WrongUsage,
    HTTPStatus.UNAUTHORIZED: NotDone,
    HTTPStatus.FORBIDDEN: NotDone,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: NotDone,
}


class VerifierDoor:
    """Asks one verifier.

    Attributes:
        url: its base URL.
    """

    def __init__(self, url: str, send: Send) -> None:
        """Take where it is, and what carries a request there."""
        self.url, self._send = url.rstrip("/"), send

    async def get(self, *path: str, **query: str | int | None) -> Any:
        """Ask for a document.

        Args:
            path: its parts, as they are.
            query: parameters; those that are None are left out.

        Raises:
            NoVerifier: nothing answers, or something that is no verifier.
            NotFound: it doesn't know what the path names.
            NotDone: it refuses.
            WrongUsage: an argument is wrong.
        """
        given = urlencode({name.rstrip("_"): value for name, value in query.items() if value is not None})
        return await self._ask("/".join(quote(each, safe="") for each in path) + (f"?{given}" if given else ""), None)

    async def post(self, *path: str, body: Mapping[str, Any]) -> Any:
        """Ask for something to be done. Errors as for `get`."""
        return await self._ask("/".join(quote(each, safe="") for each in path), body)

    async def _ask(self, target: str, body: object) -> Any:
        try:
            return await self._send(f"{self.url}/{target}", body)
        except Answered as error:
            is_route = error.status == HTTPStatus.NOT_FOUND and "/" not in target  # not what a path names
            if error.status in _MEANS and error.told and not is_route:
                raise _MEANS[error.status](error.told) from error
            if error.told and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise NoVerifier(f"the verifier can't answer now: {error.told}") from error
            raise NoVerifier(f"no verifier of this build answers: {error}") from error
        except StoreUnavailable as error:
            raise NoVerifier(f"the verifier doesn't answer: {error}") from error


def verifier_door(settings: ControllerSettings, say: Callable[[str], None] | None = None) -> VerifierDoor:
    """Return the door that the settings name.

    Args:
        settings: with its address, and what is shown there.
        say: tells the operator when an answer is late; None for nobody.

    Raises:
        ConfigError: they name none.
    """
    if not settings.verifier_url:
        raise ConfigError("CROSSFADE_VERIFIER_URL is not set: name the verifier's address, as http://127.0.0.1:8002")
    tls: ssl.SSLContext | None = client_context(settings.tls) if settings.tls else None

    async def send(url: str, body: object) -> Any:
        late = narrated(say, f"asking the verifier at {settings.verifier_url}") if say else nullcontext()
        async with late:
            return await call_json(url, body, timeout_s=ANSWER_S, tls=tls, bearer=settings.bearer)

    return VerifierDoor(settings.verifier_url, send)
