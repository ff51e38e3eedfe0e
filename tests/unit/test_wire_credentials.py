"""Keys: static ones without botocore, the chain's refreshed behind the calls."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import NamedTuple

import botocore.session  # noqa: F401 -- loaded here, since its urllib3 probes for IPv6 on import and tests block sockets
import pytest
from botocore.exceptions import CredentialRetrievalError

from crossfade.adapters.wire import BotocoreCredentials, Credentials, StaticCredentials, default_credentials
from crossfade.adapters.wire.credentials import KEPT_S, LONGEST_KEPT_S
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
    source = BotocoreCredentials(chain, monotonic=clock)
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


async def test_a_chain_that_fails_hurts_only_when_the_keys_are_too_old() -> None:
    chain, clock = Chain(), Clock()
    source = BotocoreCredentials(chain, monotonic=clock)
    first = await source.current()
    chain.broken = True
    clock.now_s += LONGEST_KEPT_S - 1
    assert await source.current() == first
    await asked_again(chain, 2)
    clock.now_s += 2
    with pytest.raises(StoreUnavailable, match="no metadata service"):
        await source.current()
    chain.broken = False
    assert await source.current() != first


async def test_no_keys_anywhere_is_an_error_of_configuration() -> None:
    chain = Chain()
    chain.empty = True
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        await BotocoreCredentials(chain).current()


async def test_keys_that_the_service_calls_expired_are_fetched_anew_once() -> None:
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
