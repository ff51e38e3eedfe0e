"""The controller's door by TLS: the certificate says who gives a command."""

import ssl
from pathlib import Path
from typing import Any

from certificates import Authority
from controller.knocking import Knocker, Refused
from controller_console import door_of
from crossfade.adapters.memory.control import ControlStore, MemoryJournal, MemoryStatusBoard
from crossfade.core.migration.phases import Intent
from crossfade.runtime import http
from crossfade.runtime.tls import client_context
from crossfade.runtime.urls import Address


async def test_a_certificate_says_who_asks_and_one_that_may_not_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    files = {name: authority.files(tmp_path / name, subject=name) for name in ("controller", "ann", "replicator")}
    store = ControlStore()
    told: dict[str, Any] = {}
    door = door_of(store, operators=["ann"])
    async with http.listening(
        door.routes, Address("127.0.0.1", 0, "CROSSFADE_HTTP_PORT"), tls=files["controller"]
    ) as address:
        for name in ("ann", "replicator"):
            told[name] = await _asked_by(store, f"https://{address}", client_context(files[name]))
    assert told["ann"] == "ann (root@desk)"
    assert "the certificate of replicator may give no commands" in told["replicator"]
    assert len(store.journal) == 1


async def _asked_by(store: ControlStore, url: str, tls: ssl.SSLContext) -> str:
    door = Knocker(
        MemoryJournal(store, who="x"),
        MemoryStatusBoard(store),
        migration="engagement",
        operator="root@desk",
        url=url,
        tls=tls,
    )
    try:
        return (await door.ask(Intent.PAUSE, {})).who
    except Refused as error:
        return str(error)
