"""The CLI's console on a store in memory, with the controller's real door before its journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.control import ControlStore, MemoryJournal, MemoryStatusBoard
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.state import Migration, fold
from crossfade.ports.clock import Clock
from crossfade.runtime import http
from crossfade.runtime.access import access_of
from crossfade.runtime.http_client import Answered
from crossfade_controller.answering import Console
from crossfade_controller.door import Door
from crossfade_controller.knocking import Knocker
from crossfade_controller.settings import ControllerSettings
from engagement_migration import MAPPING

URL = "http://127.0.0.1:1"


def door_of(store: ControlStore, *, drives: bool = True, clock: Clock = SYSTEM, **settings: Any) -> http.Door:
    """The controller's door, over HTTP's own, without a port."""

    def driving() -> Migration | None:
        return fold(Migration(KEYED_PHASES), store.journal) if drives else None

    told = ControllerSettings(**settings)
    door = Door(told, "engagement", MemoryJournal(store, who="pod", now_us=clock.wall_us), driving, clock)
    return http.Door({"POST /intents": http.operator(door.ask)}, access=access_of(told, clock))


def knocker_of(
    store: ControlStore, door: http.Door | None, *, patience_s: float = 0.0, operator: str = "ann", who: str = ""
) -> Knocker:
    """The CLI's hand at that door; None where no door is open."""

    async def send(url: str, body: Mapping[str, Any]) -> Any:
        assert door is not None
        headers = {"host": "127.0.0.1:1", "content-type": "application/json"}
        path = "/" + url.rpartition("/")[2]
        answer = await door.answer(http.Request("POST", path, headers, msgspec.json.encode(body), who))
        if answer.status >= 300:
            raise Answered(url, answer.status, answer.body)
        return msgspec.json.decode(answer.body)

    journal, board = MemoryJournal(store, who=operator), MemoryStatusBoard(store)
    url = "" if door is None else URL
    return Knocker(
        journal,
        board,
        clock=SYSTEM,
        migration="engagement",
        operator=operator,
        url=url,
        patience_s=patience_s,
        send=send,
    )


def console_of(store: ControlStore, *, as_json: bool = True, door: http.Door | None = None) -> Console:
    """A console whose commands go through the door of a controller that drives."""
    settings = ControllerSettings()
    return Console(
        MemoryJournal(store, who="ann"),
        MemoryStatusBoard(store),
        settings.setup(MAPPING),
        KEYED_PHASES,
        SYSTEM,
        as_json,
        knocker_of(store, door or door_of(store)),
    )
