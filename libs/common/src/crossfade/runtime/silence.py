"""What a command says while the store doesn't answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from crossfade.runtime.aws import access_to
from crossfade.runtime.clients import PLACES, Clients
from crossfade.runtime.settings import ServiceSettings

SLOW_S: Final = 2.0
"""After so long a command says what it is doing."""

ATTEMPT_S: Final = 2.5
ATTEMPTS: Final = 4
"""A request that a command waits for is given up after some ten seconds. A long journal takes many of them, so there is
no bound on all together."""


def command_clients(settings: ServiceSettings) -> Clients:
    """Return the clients of a command, which somebody is waiting for."""
    return Clients(settings, timeout_s=ATTEMPT_S, attempts=ATTEMPTS)


def where(settings: ServiceSettings) -> str:
    """Return where a command's requests go, for the operator."""
    return ", ".join(dict.fromkeys(str(access_to(settings, place)) for place in PLACES))


def say(text: str) -> None:
    """Tell the operator, beside the answer."""
    sys.stderr.write(text + "\n")


@asynccontextmanager
async def narrated(say: Callable[[str], None], what: str, *, slow_s: float = SLOW_S) -> AsyncIterator[None]:
    """Say what is done inside once it takes long.

    Args:
        say: tells the operator.
        what: is done, and with whom: "reading the journal from dynamodb.eu-central-1.amazonaws.com".
        slow_s: after so long it is said.
    """

    async def tell() -> None:
        await asyncio.sleep(slow_s)
        given_up_s = ATTEMPTS * ATTEMPT_S
        say(f"still {what} after {slow_s:g} s; a request is given up after {given_up_s:g} s")

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
