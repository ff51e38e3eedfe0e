"""Who may ask what at the doors of real processes: each route with each role, keys that change, and without tokens."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from certificates import Authority
from crossfade.adapters.flagd import FlagFile
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.runtime.http import Answer, Request, anyone, told
from crossfade.runtime.http_client import NO_TOKEN, Answered, Bearer, call_json
from crossfade.runtime.listening import listening
from crossfade.runtime.roles import Role
from crossfade.runtime.tls import client_context
from crossfade.runtime.urls import Address
from identity import AUDIENCE, ISSUER, Issuer

OPERATOR, VIEWER = "crossfade-operator", "crossfade-viewer"
KEY = '[{"S":"USER#2"},{"S":"POINTS#c"}]'

ROLES: dict[str, dict[str, Role]] = {
    "verifier": {
        "GET /parity": Role.VIEWER,
        "GET /parity/buckets": Role.VIEWER,
        "GET /parity/differences": Role.VIEWER,
        "GET /keys/{key}": Role.VIEWER,
        "GET /openapi.json": Role.VIEWER,
        "GET /passes": Role.VIEWER,
        "POST /passes": Role.OPERATOR,
        "POST /passes/{id}/cancel": Role.OPERATOR,
        "GET /passes/{id}": Role.VIEWER,
        "POST /repairs": Role.OPERATOR,
        "GET /repairs": Role.VIEWER,
        "GET /repairs/{id}": Role.VIEWER,
        "POST /repairs/{id}/execute": Role.OPERATOR,
        "POST /repairs/{id}/cancel": Role.OPERATOR,
        "GET /healthz": Role.ANYONE,
        "GET /readyz": Role.ANYONE,
    },
    "controller": {
        "GET /status": Role.VIEWER,
        "POST /intents": Role.OPERATOR,
        "GET /healthz": Role.ANYONE,
        "GET /readyz": Role.ANYONE,
    },
}
"""The lowest role that may ask each route. One that is missing here makes the walk fail: say who may ask it."""


class Process(NamedTuple):
    """A service. Attributes: `url` of its door, `log` its lines so far."""

    url: str
    log: list[str]

    async def status(self, route: str, bearer: Bearer = NO_TOKEN, *, tls: Any = None) -> tuple[int, str]:
        """Ask; return the status, and the code and message of a refusal."""
        method, _, path = route.partition(" ")
        url = self.url + path.replace("{", "").replace("}", "")
        try:
            await call_json(url, {} if method == "POST" else None, bearer=bearer, timeout_s=20, tls=tls)
        except Answered as error:
            return error.status, f"{error.reason}: {error.told}"
        return 200, ""

    async def routes(self) -> list[str]:
        """Return what there is, as the door itself lists it."""
        _, said = await self.status("GET /nowhere")
        return said.partition("available: ")[2].split(", ")


@asynccontextmanager
async def running(service: str, folder: Path, **settings: Any) -> AsyncIterator[Process]:
    """Start a service; its tables are nowhere, and its door is open."""
    FlagFile(folder / "flags.json").write(FlagDocument(), dual_write=False)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "OTEL_"))}
    told = {"aws_endpoint_url": "http://127.0.0.1:9", "flag_file": folder / "flags.json"} | settings
    environment |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    environment |= {f"CROSSFADE_{name.upper()}": str(value) for name, value in told.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"crossfade_{service}.main",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    log: list[str] = []
    reading: asyncio.Task[None] | None = None
    assert process.stdout is not None
    lines = process.stdout

    async def read_on() -> None:
        async for line in lines:
            log.append(line.decode())

    try:
        while not log or json.loads(log[-1])["event"] != "ready":
            line = await lines.readline()
            assert line, log
            log.append(line.decode())
        scheme = "https" if "tls_cert_file" in settings else "http"
        reading = asyncio.create_task(read_on())
        yield Process(f"{scheme}://{json.loads(log[-1])['address']}", log)
    finally:
        process.terminate()
        await process.wait()
        if reading is not None:
            await reading


def of_tokens(jwks: object) -> dict[str, Any]:
    return {"jwks": jwks, "token_issuer": ISSUER, "token_audience": AUDIENCE}


def expected(needed: Role, has: Role | None) -> set[int]:
    """Return what may be answered; None for no token. Beyond the door a route may answer as it likes."""
    if needed is Role.ANYONE:
        return {200, 503}
    if has is None:
        return {401}
    return {403} if has < needed else {200, 202, 400, 404, 409, 503}


@pytest.mark.parametrize("service", ROLES)
async def test_each_route_of_each_door_asks_for_its_role(service: str, tmp_path: Path) -> None:
    issuer = Issuer()
    tokens = {
        None: NO_TOKEN,
        Role.ANYONE: Bearer(issuer.token("something-else")),
        Role.VIEWER: Bearer(issuer.token(VIEWER)),
        Role.OPERATOR: Bearer(issuer.token(OPERATOR)),
    }

    async def jwks(_request: Request) -> Answer:
        return told(issuer.jwks())

    async with (
        listening({"GET /jwks": anyone(jwks)}, Address("127.0.0.1", 0)) as provider,
        running(service, tmp_path, **of_tokens(f"http://{provider}/jwks")) as process,
    ):
        assert set(await process.routes()) == ROLES[service].keys()
        for route, needed in ROLES[service].items():
            for has, bearer in tokens.items():
                status, said = await process.status(route, bearer)
                assert status in expected(needed, has), f"{route} by {has!r}: {status} {said}"
                assert has is None or (status == 403) == (has < needed), f"{route} by {has!r}: {status} {said}"
                if status == 403:
                    assert said.startswith(f"wrong_role: {route.replace('{', '').replace('}', '')} needs the role ")
    assert not [
        part for bearer in tokens.values() for part in bearer.read().split(".")[1:] if part in "".join(process.log)
    ]


async def test_values_are_revealed_to_operators_alone_and_not_without_a_journal(tmp_path: Path) -> None:
    issuer = Issuer()
    route = f"GET /keys/{quote(KEY, safe='')}?reveal=true"
    async with running("verifier", tmp_path, **of_tokens(issuer.publish(tmp_path / "jwks.json"))) as process:
        status, said = await process.status(route, Bearer(issuer.token(VIEWER)))
        assert (status, said.partition(";")[0]) == (403, "wrong_role: revealing values needs the role operator")
        status, said = await process.status(route, Bearer(issuer.token(OPERATOR)))
        assert (status, said.partition(":")[0]) == (503, "not_journaled"), "the journal is nowhere, too"


async def test_keys_are_rotated_under_a_running_process(tmp_path: Path) -> None:
    issuer, file = Issuer(), tmp_path / "jwks.json"
    async with running("verifier", tmp_path, **of_tokens(issuer.publish(file))) as process:
        old = Bearer(issuer.token(VIEWER))
        assert (await process.status("GET /parity", old))[0] == 200
        issuer.rotate("second")
        new = Bearer(issuer.token(VIEWER))
        status, said = await process.status("GET /parity", new)
        assert (status, said.startswith("invalid_token: unknown key: key 'second'")) == (401, True)
        issuer.publish(file)
        assert [(await process.status("GET /parity", each))[0] for each in (old, new)] == [200, 200]
        del issuer.keys["first"]
        issuer.publish(file)
        assert [(await process.status("GET /parity", each))[0] for each in (old, new)] == [401, 200]


async def test_without_jwks_a_machine_with_one_user_asks_everything(tmp_path: Path) -> None:
    async with running("verifier", tmp_path) as process:
        for route in ROLES["verifier"]:
            assert (await process.status(route))[0] not in (401, 403), route
            assert (await process.status(route, Bearer("whatever")))[0] not in (401, 403), route


async def test_by_tls_a_certificate_looks_and_those_that_are_named_command(tmp_path: Path) -> None:
    """Before, each certificate of the authority could have a repair carried out: a replicator's, too."""
    authority = Authority()
    files = {name: authority.files(tmp_path / name, subject=name) for name in ("verifier", "ann", "replicator")}
    given = dict(zip(("tls_cert_file", "tls_key_file", "tls_client_ca_file"), files["verifier"], strict=True))
    async with running("verifier", tmp_path, operators='["ann"]', **given) as process:
        for name, commands in (("ann", True), ("replicator", False)):
            tls = client_context(files[name])
            for route, needed in ROLES["verifier"].items():
                status, said = await process.status(route, tls=tls)
                assert (status == 403) == (needed is Role.OPERATOR and not commands), (
                    f"{route} by {name}: {status} {said}"
                )
