"""The keys of tokens: rotated, withdrawn, out of reach; from a file and from an address."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import jwt
import pytest

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.core.values.errors import StoreUnavailable
from crossfade.runtime.access import ByToken, Rules
from crossfade.runtime.http import HttpRefused
from crossfade.runtime.jwks import AGAIN_S, Keys, KeysUnavailable, UnknownKey, read_keys
from crossfade.runtime.roles import Certificates
from identity import AUDIENCE, ISSUER, Issuer

REFRESH_S, KEEP_S = 60.0, 600.0


class Endpoint:
    """An issuer's JWKS at an address. Attributes: `fetched` counts; `down` and `gate` break it."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.fetched = 0
        self.down = False
        self.answer: object = None
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.clock = MemoryClock()
        self.keys = Keys("https://login.example/jwks", clock=self.clock, refresh_s=60, keep_s=KEEP_S, fetch=self.fetch)

    async def fetch(self) -> Any:
        self.fetched += 1
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        if self.down:
            raise StoreUnavailable("https://login.example/jwks: no route to host")
        return self.answer or json.loads(json.dumps(self.issuer.jwks()))

    async def known(self, kid: str) -> bool:
        try:
            await self.keys.find(kid, "ES256")
        except UnknownKey:
            return False
        return True


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(Issuer())


# ---- an address ------------------------------------------------------------------------------------


async def test_keys_are_fetched_when_they_are_needed_and_not_for_each_token(endpoint: Endpoint) -> None:
    assert endpoint.fetched == 0
    assert [await endpoint.known("first") for _ in range(100)] == [True] * 100
    assert endpoint.fetched == 1
    endpoint.clock.pass_s(REFRESH_S)
    await endpoint.known("first")
    assert endpoint.fetched == 2


async def test_a_new_key_is_fetched_at_once_and_names_that_nobody_has_are_not_fetched_again_and_again(
    endpoint: Endpoint,
) -> None:
    await endpoint.known("first")
    endpoint.clock.pass_s(AGAIN_S)
    endpoint.issuer.rotate("second")
    assert await endpoint.known("second")
    assert endpoint.fetched == 2
    for number in range(100):
        assert not await endpoint.known(f"made up {number}")
    assert endpoint.fetched == 2
    endpoint.clock.pass_s(AGAIN_S)
    assert not await endpoint.known("made up")
    assert endpoint.fetched == 3
    assert await endpoint.known("first"), "the old one still counts: tokens that it signed are about"


async def test_many_who_ask_at_once_wait_for_one_fetch(endpoint: Endpoint) -> None:
    endpoint.gate = asyncio.Event()
    asking = [asyncio.create_task(endpoint.known("first")) for _ in range(20)]
    await endpoint.waiting.wait()
    endpoint.gate.set()
    assert await asyncio.gather(*asking) == [True] * 20
    assert endpoint.fetched == 1


async def test_one_who_gives_up_waiting_leaves_the_fetch_to_the_others(endpoint: Endpoint) -> None:
    endpoint.gate = asyncio.Event()
    first, second = (asyncio.create_task(endpoint.known("first")) for _ in range(2))
    await endpoint.waiting.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    endpoint.gate.set()
    assert await second
    assert endpoint.fetched == 1


async def test_a_key_that_was_withdrawn_stops_working_after_the_next_refresh(endpoint: Endpoint) -> None:
    endpoint.issuer.rotate("second")
    assert await endpoint.known("first")
    del endpoint.issuer.keys["first"]
    endpoint.clock.pass_s(REFRESH_S)
    assert not await endpoint.known("first")
    assert await endpoint.known("second")
    endpoint.issuer.keys.clear()
    endpoint.clock.pass_s(REFRESH_S)
    assert not await endpoint.known("second"), "an empty JWKS is one: nobody's tokens count"


async def test_an_address_that_is_down_leaves_the_last_keys_for_a_bounded_time_and_says_so(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await endpoint.known("first")
    endpoint.down = True
    while endpoint.clock.monotonic() < KEEP_S:
        endpoint.clock.pass_s(REFRESH_S)
        assert await endpoint.known("first")
    assert "the keys of tokens can't be read" in capsys.readouterr().out
    endpoint.clock.pass_s(1)
    with pytest.raises(KeysUnavailable, match=r"no route to host; it was read 601 s ago"):
        await endpoint.known("first")
    endpoint.down = False
    endpoint.clock.pass_s(AGAIN_S)
    assert await endpoint.known("first")


async def test_while_the_keys_can_not_be_read_an_unknown_one_may_be_good(endpoint: Endpoint) -> None:
    await endpoint.known("first")
    endpoint.down = True
    endpoint.clock.pass_s(AGAIN_S)
    with pytest.raises(KeysUnavailable):
        await endpoint.known("second")
    endpoint.clock.pass_s(AGAIN_S)
    endpoint.down = False
    assert not await endpoint.known("second")


async def test_an_address_that_hangs_makes_nobody_wait_who_has_a_key_that_is_known(endpoint: Endpoint) -> None:
    await endpoint.known("first")
    endpoint.down = True
    endpoint.clock.pass_s(REFRESH_S)
    await endpoint.known("first")  # it has failed: from now on it isn't waited for
    endpoint.gate = asyncio.Event()
    endpoint.clock.pass_s(REFRESH_S)
    assert await endpoint.known("first")
    await endpoint.waiting.wait()
    stranded = asyncio.create_task(endpoint.known("made up"))
    await asyncio.sleep(0)
    assert await endpoint.known("first")
    endpoint.gate.set()
    with pytest.raises(KeysUnavailable):
        await stranded


async def test_without_any_keys_a_door_answers_that_it_can_not_tell(endpoint: Endpoint) -> None:
    endpoint.down = True
    rules = Rules(ISSUER, AUDIENCE, "roles", frozenset(), frozenset({"crossfade-operator"}), "sub")
    access = ByToken(rules, endpoint.keys, Certificates(frozenset(), tls=False), clock=endpoint.clock)
    with pytest.raises(HttpRefused, match=r"no route to host; they never were") as refused:
        await access.caller("", f"Bearer {endpoint.issuer.token('crossfade-operator')}")
    assert (refused.value.status, refused.value.code) == (503, "keys_unavailable")


@pytest.mark.parametrize("answer", [[1], {"keys": {}}, {"error": "no such realm"}, 7, "keys"])
async def test_what_is_no_jwks_leaves_the_last_keys(endpoint: Endpoint, answer: object) -> None:
    assert await endpoint.known("first")
    endpoint.answer = answer
    endpoint.clock.pass_s(REFRESH_S)
    assert await endpoint.known("first")
    endpoint.clock.pass_s(KEEP_S + 1)
    with pytest.raises(KeysUnavailable, match="is not a JWKS"):
        await endpoint.known("first")


# ---- a file ----------------------------------------------------------------------------------------


def of_file(file: Path, clock: MemoryClock) -> Keys:
    return Keys(str(file), clock=clock, refresh_s=REFRESH_S, keep_s=KEEP_S)


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    issuer, file = Issuer(), tmp_path / "jwks.json"
    keys = of_file(issuer.publish(file), MemoryClock())
    await keys.find("first", "ES256")
    issuer.rotate("second")
    issuer.publish(file)
    await keys.find("second", "ES256")
    del issuer.keys["first"]
    issuer.publish(file)
    with pytest.raises(UnknownKey):
        await keys.find("first", "ES256")


@pytest.mark.parametrize("broken", ["", "{", "[]", None])
async def test_a_file_that_is_gone_or_broken_leaves_the_last_keys_for_a_bounded_time(
    tmp_path: Path, broken: str | None
) -> None:
    issuer, file, clock = Issuer(), tmp_path / "jwks.json", MemoryClock()
    keys = of_file(issuer.publish(file), clock)
    assert isinstance(await keys.find("first", "ES256"), jwt.PyJWK)
    if broken is None:
        os.remove(file)
    else:
        file.write_text(broken)
    clock.pass_s(KEEP_S)
    assert await keys.find("first", "ES256")
    clock.pass_s(1)
    with pytest.raises(KeysUnavailable, match=str(file)):
        await keys.find("first", "ES256")
    issuer.publish(file)
    assert await keys.find("first", "ES256")


def test_a_jwks_has_only_keys_that_tokens_may_be_signed_with() -> None:
    issuer = Issuer()
    listed = [issuer.jwk("first"), {"kty": "oct", "k": "aHVzaGh1c2g", "kid": "shared"}, {"kty": "RSA", "kid": "cut"}]
    assert [each.kid for each in read_keys(json.dumps({"keys": listed}).encode())] == ["first"]
    with pytest.raises(ValueError, match="is not JSON"):
        read_keys(b"{")
