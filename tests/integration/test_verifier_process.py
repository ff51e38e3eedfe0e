"""The verifier as a process, on the embedded AWS, beside real replicators."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side
from engagement_migration.samples import NOT_OURS, legacy_wallet
from localaws import Endpoints
from openapi_checks import check_answer
from replicator_world import World, open_world, wallet
from verifier_process import Verifier

pytestmark = pytest.mark.embedded

WALLETS = 5


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


def is_safe(body: dict[str, Any]) -> bool:
    return bool(body["safe_to_cut_over"]["answer"])


async def drilled_down(verifier: Verifier, key: str) -> None:
    """From a bucket that differs to its key, to its attributes and its last records."""
    # The continuous mode may have called the key before a pass has summed up its bucket.
    page = await verifier.until(lambda page: page["buckets"], path="/parity/buckets?differing=true")
    (called,) = (await verifier.call(f"/parity/differences?bucket={page['buckets'][0]['number']}"))["differences"]
    assert (called["class"], called["key"]) == ("diverged", key)
    spot = await verifier.call(f"/keys/{quote(key, safe='')}")
    assert spot["class"] == "diverged"
    assert "balance" in [each["name"] for each in spot["attributes"] if each["differs"]]
    assert spot["streams"]["target"]["changes"][0]["version"] == spot["target"]["version"]
    told = await verifier.call("/openapi.json")
    assert "/keys/{key}" in told["paths"]
    for path, body in (("/parity/buckets?differing=true", page), (f"/keys/{quote(key, safe='')}", spot)):
        check_answer("GET", path, 200, body)


async def test_a_migration_is_verified_live_a_loss_is_found_and_repaired(world: World) -> None:
    world.start("forward")
    world.start("reverse")
    await world.phase(Phase.BOTH_WAYS)
    for number in range(WALLETS):
        await world.put(Side.SOURCE, legacy_wallet(str(number), "1", 10))
        await world.earn(wallet(number), 5)
    for row in NOT_OURS:
        await world.put(Side.SOURCE, row)
    verifier = Verifier(world, cloudwatch="true", cloudwatch_every_s="1", lag_per_million="1000000")
    await verifier.ready()
    assert (await verifier.call("/healthz"))["status"] == "ok"
    clean = await verifier.until(is_safe)
    assert clean["sides"]["source"]["items"] == clean["sides"]["target"]["items"] == WALLETS
    assert clean["sides"]["source"]["digest"] == clean["sides"]["target"]["digest"]
    assert clean["sides"]["source"]["scanned"] == WALLETS + len(NOT_OURS)

    for _ in range(10):  # live traffic raises no alarm, and its way across is measured
        await world.earn(wallet(1), 1)
        body = await verifier.call("/parity")
        assert body["verdict"] != "drift", body
        await asyncio.sleep(0.1)

    owner = await world.tables[Side.SOURCE].read(wallet(2))
    assert owner is not None
    assert owner.version is not None
    wrong = key_image(wallet(2), ("pk", "sk")) | {"points": of_number(1), "cf_role": of_string("S")}
    await world.put(Side.TARGET, wrong | {"cf_mv": of_number(owner.version)})
    drift = await verifier.until(lambda body: body["verdict"] == "drift")
    assert drift["differences"]["diverged"]["count"] == 1
    assert drift["differences"]["diverged"]["samples"][0]["source"]["version"] == str(owner.version)
    assert not is_safe(drift)

    await drilled_down(verifier, wallet(2).decode())

    asked = {"keys": [wallet(2).decode()]}
    plan = await verifier.call("/repairs", asked)
    assert (plan["state"], plan["steps"][0]["class"]) == ("planned", "diverged")
    await verifier.call(f"/repairs/{plan['id']}/execute", {})
    done = await verifier.until(lambda body: body["state"] == "done", path=f"/repairs/{plan['id']}")
    assert [each["outcome"] for each in done["steps"]] == ["repaired"]
    entries = [each for each in await world.journal.entries() if each.kind == "repair"]
    assert [each.body["stage"] for each in entries] == ["planned", "begun", "done"]
    spot = await verifier.call("/keys/USER%232%2FPOINTS%231")
    assert (spot["class"], spot["differs"]) == ("equal", [])
    standby = await world.tables[Side.TARGET].read(wallet(2))
    assert standby is not None
    assert (standby.version, standby.role, standby.recent) == (owner.version, Role.STANDBY, owner.recent)

    fresh = await verifier.call("/passes", {})
    body = await verifier.until(lambda body: is_safe(body) and body["last_pass"]["clean"])
    assert not body["last_clean_pass"]["with_repairs"]
    assert (await verifier.call(f"/passes/{fresh['id']}"))["state"] == "done"
    listed = await verifier.call("/passes")
    assert [each["state"] for each in listed["passes"] if each["id"] == fresh["id"]] == ["done"]
    assert (await verifier.call(f"/passes/{fresh['id']}/cancel", {}))["state"] == "done"
    check_answer("GET", "/passes", 200, listed)
    lags = body["lags"]["source"]
    assert lags["crossing"]["samples"] > 0
    assert 0 <= lags["crossing"]["p50_ms"] < 10_000
    assert lags["records_read"] >= 10
    assert lags["table_to_stream_s"] is not None, lags["table_to_stream_unknown"]
    assert await verifier.stop() == 0, verifier.log
    assert verifier.log[-1]["event"] == "stopped"


async def test_before_the_target_table_exists_it_waits_and_says_so(world: World) -> None:
    await world.call(world.wire, "DeleteTable", {"TableName": world.mapping.shape(Side.TARGET).table})
    verifier = Verifier(world)
    await verifier.ready()
    body = await verifier.until(lambda body: "doesn't exist yet" in body["reason"])
    assert body["verdict"] == "waiting"
    assert not is_safe(body)
    assert (await verifier.call("/readyz"))["status"] == "ready"
    assert await verifier.stop() == 0, verifier.log


def test_a_bad_setting_is_named_before_anything_starts() -> None:
    environment = {**os.environ, "CROSSFADE_SEGMENTS": "0", "CROSSFADE_PAWS_S": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "crossfade_verifier.main"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "CROSSFADE_SEGMENTS" in ended.stderr
    assert "CROSSFADE_PAWS_S: unknown setting; did you mean CROSSFADE_PAUSE_S?" in ended.stderr


@pytest.mark.parametrize(
    ("argument", "shown"), [("--help", "CROSSFADE_IN_FLIGHT_BOUND_S"), ("--version", "verifier 0.")]
)
def test_it_tells_its_settings_and_its_version(argument: str, shown: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "crossfade_verifier.main", argument],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0
    assert shown in ended.stdout
