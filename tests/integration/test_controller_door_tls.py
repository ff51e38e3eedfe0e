"""The controller's door by TLS: the certificate says who gives a command."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from controller_console import door_of, knocker_of
from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.control import ControlStore, MemoryJournal, MemoryStatusBoard
from crossfade.core.migration.phases import Intent
from crossfade.runtime.access import ByCertificate
from crossfade.runtime.listening import listening
from crossfade.runtime.roles import Certificates
from crossfade.runtime.tls import client_context
from crossfade.runtime.urls import Address
from crossfade_controller.knocking import Knocker, Refused


async def test_a_certificate_says_who_asks_and_one_that_may_not_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    files = {name: authority.files(tmp_path / name, subject=name) for name in ("controller", "ann", "replicator")}
    store = ControlStore()
    told: dict[str, Any] = {}
    door = door_of(store, operators=["ann"])
    async with listening(
        door.routes,
        Address("127.0.0.1", 0, "CROSSFADE_HTTP_PORT"),
        access=ByCertificate(Certificates(frozenset({"ann"}), tls=True)),
        tls=files["controller"],
    ) as address:
        for name in ("ann", "replicator"):
            told[name] = await _asked_by(store, f"https://{address}", client_context(files[name]))
    assert told["ann"] == "ann (root@desk)"
    assert "replicator is a viewer: the certificate of replicator isn't one of those" in told["replicator"]
    assert len(store.journal) == 1


@pytest.mark.parametrize(("operators", "taken"), [([], set()), (["*"], {"ann", "replicator"}), ([""], set())])
async def test_with_nobody_named_no_certificate_gives_commands_and_all_do_by_an_explicit_word(
    operators: list[str], taken: set[str]
) -> None:
    for who in ("ann", "replicator"):
        store = ControlStore()
        knocker = knocker_of(store, door_of(store, operators=operators), who=who)
        if who in taken:
            await knocker.ask(Intent.PAUSE, {})
        else:
            with pytest.raises(
                Refused,
                match=f"{who} is a viewer: the certificate of {who} isn't one of those that CROSSFADE_OPERATORS",
            ):
                await knocker.ask(Intent.PAUSE, {})
        assert bool(store.journal) == (who in taken)


async def test_a_certificate_without_a_name_gives_no_commands(tmp_path: Path) -> None:
    files = Authority().files(tmp_path, subject="controller")
    given: dict[str, Any] = {
        "tls_cert_file": files.cert,
        "tls_key_file": files.key,
        "tls_client_ca_file": files.client_ca,
    }
    store = ControlStore()
    with pytest.raises(Refused, match="the certificate of no name isn't one of those that CROSSFADE_OPERATORS names"):
        await knocker_of(store, door_of(store, operators=["ann"], **given), who="").ask(Intent.PAUSE, {})
    assert store.journal == []


async def _asked_by(store: ControlStore, url: str, tls: ssl.SSLContext) -> str:
    door = Knocker(
        MemoryJournal(store, who="x"),
        MemoryStatusBoard(store),
        clock=SYSTEM,
        migration="engagement",
        operator="root@desk",
        url=url,
        tls=tls,
    )
    try:
        return (await door.ask(Intent.PAUSE, {})).who
    except Refused as error:
        return str(error)
