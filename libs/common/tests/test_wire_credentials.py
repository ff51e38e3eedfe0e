"""Keys: static ones without botocore, the chain's refreshed behind the calls."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError

from crossfade.adapters.wire import (
    BotocoreCredentials,
    Credentials,
    StaticCredentials,
    Wire,
    WireConfig,
    default_credentials,
)
from crossfade.adapters.wire.credentials import KEPT_S, RETRIED_S, SPARE_S
from crossfade.core.values.errors import ConfigError, StoreUnavailable


class Frozen(NamedTuple):
    access_key: str
    secret_key: str
    token: str | None


class Chain:
    """As much of a botocore session as is used: each loading gives a new generation of keys."""

    def __init__(self) -> None:
        self.asked = 0
        self.loaded = 0
        self.empty = False
        self.broken = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._expiry_time: datetime | None = None

    def get_component(self, name: str) -> Chain:
        assert name == "credential_provider"
        return self

    def load_credentials(self) -> Chain | None:
        self.loaded += 1
        return None if self.empty else self

    def get_frozen_credentials(self) -> Frozen:
        self.asked += 1
        assert self.may_answer.wait(5)
        if self.broken:
            raise CredentialRetrievalError(provider="test", error_msg="no metadata service")
        return Frozen(f"AKID{self.asked}", "secret", "token")


class Clock:
    def __init__(self) -> None:
        self.now_s = 10_000.0

    def __call__(self) -> float:
        return self.now_s

    def expiry(self, in_s: float) -> datetime:
        return datetime.fromtimestamp(self.now_s + in_s, UTC)


async def asked_again(chain: Chain, times: int) -> None:
    """Wait until the chain was asked so often."""
    for _ in range(1000):
        if chain.asked >= times:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"asked {chain.asked} times, not {times}")


async def test_keys_of_the_environment_are_static() -> None:
    source = default_credentials({"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_SESSION_TOKEN": "C"})
    assert isinstance(source, StaticCredentials)
    assert await source.current() == Credentials("A", "B", "C")
    assert not source.refused(Credentials("A", "B", "C"))


async def test_an_empty_token_is_none() -> None:
    source = default_credentials({"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_SESSION_TOKEN": ""})
    assert await source.current() == Credentials("A", "B", None)


@pytest.mark.parametrize("token", ["abc\n", "a b", "a\r\nx-evil: 1", "café"])
def test_a_key_that_would_break_the_request_is_refused_by_name_not_by_value(token: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        default_credentials({"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_SESSION_TOKEN": token})
    assert token not in str(refusal.value)


def test_without_keys_in_the_environment_botocore_is_asked() -> None:
    assert isinstance(default_credentials({"AWS_ACCESS_KEY_ID": "A"}), BotocoreCredentials)


def test_importing_the_client_loads_no_botocore() -> None:
    probe = (
        "import sys, crossfade.adapters.dynamodb, crossfade.adapters.kinesis;"
        "sys.exit(any(name.partition('.')[0] in ('botocore', 'aiobotocore', 'boto3') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0


async def test_callers_at_the_same_time_ask_once() -> None:
    chain = Chain()
    source = BotocoreCredentials(chain)
    assert set(await asyncio.gather(*(source.current() for _ in range(8)))) == {Credentials("AKID1", "secret", "token")}
    assert chain.asked == 1


async def test_keys_grown_old_still_serve_while_new_ones_are_fetched_behind_the_call() -> None:
    chain, clock = Chain(), Clock()
    source = BotocoreCredentials(chain, monotonic=clock, wall=clock)
    first = await source.current()
    clock.now_s += KEPT_S - 1
    assert await source.current() == first
    assert chain.asked == 1
    clock.now_s += 2
    chain.may_answer.clear()
    assert await asyncio.wait_for(source.current(), 1) == first, "the call must not wait for the refresh"
    chain.may_answer.set()
    await asked_again(chain, 2)
    for _ in range(1000):  # until the thread's answer has come over
        if (await source.current()) != first:
            break
        await asyncio.sleep(0.005)
    assert (await source.current()).access_key == "AKID2"


async def until_answered(source: BotocoreCredentials) -> None:
    """Wait until nothing is being asked."""
    for _ in range(1000):
        if source._asking is None:
            return
        await asyncio.sleep(0.005)
    pytest.fail("still being asked")


async def test_keys_serve_until_shortly_before_they_expire_however_long_the_chain_fails() -> None:
    chain, clock = Chain(), Clock()
    source = BotocoreCredentials(chain, monotonic=clock, wall=clock)
    chain._expiry_time = clock.expiry(in_s=3600)
    first = await source.current()
    chain.broken = True
    clock.now_s += 3600 - SPARE_S - 1  # an hour of failures, ten times the 300 s that they were kept before
    assert await source.current() == first
    await until_answered(source)
    clock.now_s += 2
    with pytest.raises(StoreUnavailable, match="no metadata service"):
        await source.current()
    chain.broken, chain._expiry_time = False, clock.expiry(in_s=3600)
    assert await source.current() != first


async def test_keys_are_never_used_past_their_expiry() -> None:
    chain, clock = Chain(), Clock()
    source = BotocoreCredentials(chain, monotonic=clock, wall=clock)
    chain._expiry_time = clock.expiry(in_s=100)
    first = await source.current()
    chain.broken = True
    clock.now_s += 100 - SPARE_S
    with pytest.raises(StoreUnavailable):
        await source.current()
    chain.broken = False
    chain._expiry_time = clock.expiry(in_s=-5)
    with pytest.raises(StoreUnavailable, match="expired 5 s ago"):
        await source.current()
    chain._expiry_time = clock.expiry(in_s=100)
    assert await source.current() != first


async def test_keys_that_live_shortly_are_refreshed_at_half_their_life_behind_the_call() -> None:
    chain, clock = Chain(), Clock()
    source = BotocoreCredentials(chain, monotonic=clock, wall=clock)
    chain._expiry_time = clock.expiry(in_s=80)
    first = await source.current()
    clock.now_s += 39
    assert await source.current() == first
    assert chain.asked == 1
    clock.now_s += 2
    chain.may_answer.clear()
    assert await asyncio.wait_for(source.current(), 1) == first, "the call must not wait for the refresh"
    chain._expiry_time = clock.expiry(in_s=80)
    chain.may_answer.set()
    await until_answered(source)
    assert (await source.current()).access_key == "AKID2"


async def test_a_refresh_that_failed_is_tried_again_but_not_at_every_call() -> None:
    chain, clock = Chain(), Clock()
    source = BotocoreCredentials(chain, monotonic=clock, wall=clock)
    chain._expiry_time = clock.expiry(in_s=3600)
    await source.current()
    chain.broken = True
    clock.now_s += KEPT_S
    for _ in range(5):
        await source.current()
        await until_answered(source)
    assert chain.asked == 2
    clock.now_s += RETRIED_S
    await source.current()
    await until_answered(source)
    assert chain.asked == 3


async def test_keys_without_expiry_serve_for_good() -> None:
    chain, clock = Chain(), Clock()
    source = BotocoreCredentials(chain, monotonic=clock, wall=clock)
    first = await source.current()
    chain.broken = True
    clock.now_s += 1e6
    assert await source.current() == first
    await until_answered(source)


async def test_a_chain_that_hangs_keeps_no_call_beyond_its_own_timeout() -> None:
    chain = Chain()
    chain.may_answer.clear()
    source = BotocoreCredentials(chain)
    config = WireConfig("eu-central-1", "http://127.0.0.1:1", attempts=1)
    async with Wire("dynamodb", config, source) as wire, asyncio.timeout(3):
        with pytest.raises(StoreUnavailable, match=r"GetItem: no AWS credentials within 0.1 s"):
            await wire.call("GetItem", b"{}", timeout_s=0.1)
    chain.may_answer.set()
    await until_answered(source)


async def test_a_chain_that_hangs_is_given_up_and_built_again() -> None:
    chain = Chain()
    chain.may_answer.clear()
    source = BotocoreCredentials(chain, hung_s=0.05)
    async with asyncio.timeout(3):
        with pytest.raises(StoreUnavailable, match=r"no answer within 0.05 s"):
            await source.current()
    chain.may_answer.set()
    assert (await source.current()).access_key in ("AKID1", "AKID2")
    assert chain.loaded == 2, "the lost thread may hold the first one's lock"


def test_a_chain_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = (
        "import asyncio, threading\n"
        "from crossfade.adapters.wire.credentials import BotocoreCredentials\n"
        "class Chain:\n"
        "    def get_component(self, name): threading.Event().wait()\n"
        "async def main():\n"
        "    try: await asyncio.wait_for(BotocoreCredentials(Chain()).current(), 0.1)\n"
        "    except TimeoutError: print('gave up')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "gave up\n")


@pytest.mark.parametrize("expires_in_s", [7200.0, math.inf])
async def test_the_expiry_is_where_botocore_keeps_it(expires_in_s: float) -> None:
    """It has no public name; should botocore move it, this says so."""
    frozen = {"access_key": "A", "secret_key": "B", "token": "C"}
    if expires_in_s == math.inf:
        keys: Any = botocore.credentials.Credentials("A", "B", "C")
    else:
        at = datetime.now(UTC) + timedelta(seconds=expires_in_s)
        metadata = {**frozen, "expiry_time": at.isoformat()}
        keys = RefreshableCredentials.create_from_metadata(metadata, refresh_using=lambda: metadata, method="test")

    class Loaded(Chain):
        def load_credentials(self) -> Any:
            return keys

    _, expires_s = BotocoreCredentials(Loaded())._ask()
    assert expires_s == pytest.approx(time.time() + expires_in_s, abs=5)


async def test_botocore_finding_only_expired_keys_is_the_chain_failing() -> None:
    def refreshed() -> dict[str, str]:
        return {"access_key": "A", "secret_key": "B", "token": "C", "expiry_time": "2020-01-01T00:00:00Z"}

    class Loaded(Chain):
        def load_credentials(self) -> Any:
            return RefreshableCredentials.create_from_metadata(refreshed(), refresh_using=refreshed, method="test")

    with pytest.raises(StoreUnavailable, match="still expired"):
        await BotocoreCredentials(Loaded()).current()


async def test_no_keys_anywhere_is_an_error_of_configuration() -> None:
    chain = Chain()
    chain.empty = True
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        await BotocoreCredentials(chain).current()


async def test_keys_that_the_service_calls_expired_are_fetched_once_more() -> None:
    chain = Chain()
    source = BotocoreCredentials(chain)
    first = await source.current()
    assert source.refused(first)
    second = await source.current()
    assert second != first
    assert source.refused(first), "another call, late with the old keys"
    assert await source.current() == second
    assert chain.loaded == 2


async def test_a_caller_that_gives_up_does_not_take_the_keys_from_the_others() -> None:
    chain = Chain()
    chain.may_answer.clear()
    source = BotocoreCredentials(chain)
    gone, patient = asyncio.create_task(source.current()), asyncio.create_task(source.current())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    chain.may_answer.set()
    assert (await asyncio.wait_for(patient, 5)).access_key == "AKID1"
