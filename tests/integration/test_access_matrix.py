"""ADR 0039's table: with and without JWKS, by TLS, on loopback and beyond, with and without a token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from controller_console import door_of
from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.control import ControlStore, MemoryJournal, MemoryStatusBoard
from crossfade.core.migration.phases import Intent
from crossfade.runtime.access import access_of
from crossfade.runtime.http import anyone, operator, page, viewer
from crossfade.runtime.http_client import NO_TOKEN, Answered, Bearer, call_json
from crossfade.runtime.listening import listening
from crossfade.runtime.tls import TlsFiles, client_context
from crossfade.runtime.urls import Address
from crossfade_controller.build import ask_for_pass, ask_verifier
from crossfade_controller.knocking import Knocker, Refused
from crossfade_verifier.settings import Settings
from identity import AUDIENCE, ISSUER, Issuer

OPERATOR, VIEWER = "crossfade-operator", "crossfade-viewer"
BEYOND = "127.0.0.2"
"""No name of loopback to the door, and reached by nobody else."""

ROUTES = {
    "GET /parity": viewer(page(lambda: (HTTPStatus.OK, {}))),
    "POST /passes": operator(page(lambda: (HTTPStatus.ACCEPTED, {}))),
    "GET /healthz": anyone(page(lambda: (HTTPStatus.OK, {}))),
}


class Place:
    """Certificates and an issuer."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        self.files = {
            name: authority.files(folder / name, BEYOND if name == "beyond" else "127.0.0.1", subject=name)
            for name in ("service", "beyond", "ann", "replicator")
        }
        self.issuer = Issuer()
        self.jwks = self.issuer.publish(folder / "jwks.json")

    def settings(self, *, jwks: bool, tls: bool, host: str) -> Settings:
        given: dict[str, Any] = {"host": host, "operators": ["ann"]}
        if jwks:
            given |= {"jwks": str(self.jwks), "token_issuer": ISSUER, "token_audience": AUDIENCE}
        if tls:
            named = ("tls_cert_file", "tls_key_file", "tls_client_ca_file")
            given |= dict(zip(named, self._own(host), strict=True))
        elif host == BEYOND:
            given["insecure"] = True
        return Settings(**given)

    def _own(self, host: str) -> TlsFiles:
        return self.files["beyond" if host == BEYOND else "service"]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[str]:
    at = Address(settings.host, 0)
    access = access_of(settings, SYSTEM)
    async with listening(ROUTES, at, access=access, tls=settings.tls, for_all=settings.insecure) as address:
        yield f"{'https' if settings.tls else 'http'}://{address}"


async def statuses(url: str, bearer: Bearer, tls: Any) -> list[int]:
    """Return what looking, commanding and probing are answered with."""
    found = []
    for path, body in (("/parity", None), ("/passes", {}), ("/healthz", None)):
        try:
            await call_json(url + path, body, bearer=bearer, tls=tls)
            found.append(200)
        except Answered as error:
            found.append(error.status)
    return found


ALL, LOOKS, NONE, UNKNOWN = [200, 200, 200], [200, 403, 200], [403, 403, 200], [401, 401, 200]

MATRIX: Mapping[tuple[bool, bool, str], Mapping[str, list[int]]] = {
    # jwks, TLS, host: by who asks, "certificate" or "token" or both
    (False, False, "127.0.0.1"): {"": ALL, "viewer": ALL, "broken": ALL},
    (False, False, BEYOND): {"": ALL, "viewer": ALL, "broken": ALL},
    (False, True, "127.0.0.1"): {"ann": ALL, "replicator": LOOKS, "replicator operator": LOOKS, "ann broken": ALL},
    (False, True, BEYOND): {"ann": ALL, "replicator": LOOKS},
    (True, False, "127.0.0.1"): {"": UNKNOWN, "viewer": LOOKS, "operator": ALL, "other": NONE, "broken": UNKNOWN},
    (True, False, BEYOND): {"": UNKNOWN, "viewer": LOOKS, "operator": ALL, "other": NONE, "broken": UNKNOWN},
    (True, True, "127.0.0.1"): {
        "ann": ALL,
        "replicator": LOOKS,
        "replicator operator": ALL,
        "ann viewer": LOOKS,
        "ann broken": UNKNOWN,
    },
    (True, True, BEYOND): {"ann": ALL, "replicator": LOOKS, "replicator operator": ALL, "ann other": NONE},
}


@pytest.mark.parametrize(("jwks", "tls", "host"), MATRIX)
async def test_who_may_do_what_is_what_the_table_says(jwks: bool, tls: bool, host: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    tokens = {
        "viewer": place.issuer.token(VIEWER),
        "operator": place.issuer.token(OPERATOR),
        "other": place.issuer.token("other"),
        "broken": place.issuer.token(OPERATOR, exp=1),
    }
    async with opened(place.settings(jwks=jwks, tls=tls, host=host)) as url:
        for who, expected in MATRIX[jwks, tls, host].items():
            words = who.split()
            context = client_context(place.files[words[0]]) if tls else None
            bearer = Bearer(tokens[words[-1]], plain=True) if words and words[-1] in tokens else NO_TOKEN
            assert await statuses(url, bearer, context) == expected, who


def test_the_table_has_every_case() -> None:
    assert MATRIX.keys() == {
        (jwks, tls, host) for jwks in (False, True) for tls in (False, True) for host in ("127.0.0.1", BEYOND)
    }


# ---- the controller --------------------------------------------------------------------------------


async def test_a_command_with_a_token_is_journaled_under_its_name(tmp_path: Path) -> None:
    place, store = Place(tmp_path), ControlStore()
    door = door_of(store)
    access = access_of(place.settings(jwks=True, tls=False, host="127.0.0.1"), SYSTEM)

    async def asked(bearer: Bearer) -> str:
        knocker = Knocker(
            MemoryJournal(store, who="x"),
            MemoryStatusBoard(store),
            clock=SYSTEM,
            migration="engagement",
            operator="root@desk",
            url=f"http://{address}",
            bearer=bearer,
        )
        return (await knocker.ask(Intent.PAUSE, {})).who

    async with listening(door.routes, Address("127.0.0.1", 0), access=access) as address:
        with pytest.raises(Refused, match="send a token: Authorization: Bearer TOKEN; `crossfade` takes it from"):
            await asked(NO_TOKEN)
        with pytest.raises(Refused, match="needs the role operator; bob is a viewer"):
            await asked(Bearer(place.issuer.token(VIEWER, sub="bob")))
        with pytest.raises(Refused, match="has been expired since"):
            await asked(Bearer(place.issuer.token(OPERATOR, exp=1)))
        assert store.journal == []
        assert await asked(Bearer(place.issuer.token(OPERATOR))) == "ann (root@desk)"
    assert [each.body["who"] for each in store.journal] == ["ann (root@desk)"]


async def test_the_controller_shows_its_token_to_the_verifier_and_says_when_that_is_not_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path)
    async with opened(place.settings(jwks=True, tls=False, host="127.0.0.1")) as url:
        assert "answered 401: no_token" in (await ask_verifier(url)).detail
        seen = await ask_verifier(url, bearer=Bearer(place.issuer.token(VIEWER)))
        assert "401" not in seen.detail
        assert "403" not in seen.detail
        await ask_for_pass(url, bearer=Bearer(place.issuer.token(VIEWER)))
        assert "the verifier takes no requests for passes from this controller" in capsys.readouterr().out
        await ask_for_pass(url, bearer=Bearer(place.issuer.token(OPERATOR)))
        assert capsys.readouterr().out == ""
