"""The verifier's HTTP: plain on loopback, mutual TLS beyond (`crossfade.runtime.tls`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from crossfade.core.mapping.interface import Mapping
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.values.errors import CrossfadeError, MigrationPaused, PoisonRecord
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Side
from verifier.passes import Passes
from verifier.repair import Repairer, described
from verifier.report import ParityReport
from verifier.settings import Settings


class _BadRequest(Exception):
    """The message names the field."""


def application(
    passes: Passes, report: ParityReport, repairer: Repairer, mapping: Mapping, settings: Settings
) -> Starlette:
    """Return the ASGI application."""
    endpoints = _Endpoints(passes, report, repairer, mapping, settings)
    return Starlette(
        routes=[
            Route("/parity", endpoints.parity),
            Route("/passes", endpoints.ask, methods=["POST"]),
            Route("/passes/{id}", endpoints.pass_by_id),
            Route("/repair", endpoints.repair, methods=["POST"]),
            Route("/healthz", endpoints.alive),
            Route("/readyz", endpoints.ready),
        ],
        exception_handlers={_BadRequest: _refuse, CrossfadeError: _fail},
    )


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": {"code": "invalid_argument", "message": str(error)}}, status_code=400)


async def _fail(_request: Request, error: Exception) -> JSONResponse:
    code = error.code if isinstance(error, CrossfadeError) else "internal"
    status = 409 if isinstance(error, MigrationPaused) else 503
    return JSONResponse({"error": {"code": code, "message": str(error)}}, status_code=status)


class _Endpoints:
    def __init__(
        self, passes: Passes, report: ParityReport, repairer: Repairer, mapping: Mapping, settings: Settings
    ) -> None:
        self._passes, self._report, self._repairer = passes, report, repairer
        self._mapping, self._settings = mapping, settings

    async def parity(self, _request: Request) -> JSONResponse:
        return JSONResponse(self._report.parity())

    async def ask(self, _request: Request) -> JSONResponse:
        asked = self._passes.ask()
        return JSONResponse({"id": asked.id, "state": asked.state}, status_code=202)

    async def pass_by_id(self, request: Request) -> JSONResponse:
        found = self._passes.get(request.path_params["id"])
        if found is None:
            return JSONResponse({"error": {"code": "not_found", "message": "no such pass"}}, status_code=404)
        return JSONResponse(self._report.described(found))

    async def alive(self, _request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> JSONResponse:
        """Ready to answer /parity; which may well be that it waits for a table."""
        return JSONResponse({"status": "ready", "waiting": self._passes.waiting or None})

    async def repair(self, request: Request) -> JSONResponse:
        keys, execute = self._wanted(await _body(request))
        steps = await self._repairer.plan(keys)
        if not execute:
            return JSONResponse({"executed": False, "steps": [described(step) for step in steps]})
        return JSONResponse({"executed": True, "steps": await self._repairer.carry_out(steps)})

    def _wanted(self, body: dict[str, Any]) -> tuple[list[Key], bool]:
        if unknown := body.keys() - {"keys", "class", "execute"}:
            raise _BadRequest(f"unknown field: {sorted(unknown)[0]}")
        execute = body.get("execute", False)
        if not isinstance(execute, bool):
            raise _BadRequest("execute: must be true or false")
        if ("keys" in body) == ("class" in body):
            raise _BadRequest("keys, class: give one of them")
        keys = self._keys(body["keys"]) if "keys" in body else self._of_class(body["class"])
        if len(keys) > self._settings.repairs_at_once:
            raise _BadRequest(f"keys: at most {self._settings.repairs_at_once} at once, got {len(keys)}")
        return keys, execute

    def _keys(self, given: Any) -> list[Key]:
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise _BadRequest("keys: must be a list of encoded keys, as /parity shows them")
        return [self._key(each) for each in given]

    def _key(self, text: str) -> Key:
        names = self._mapping.shape(Side.LEGACY).key
        try:
            key = encode_key(key_image(Key(text.encode()), names), names)
        except (PoisonRecord, ValueError) as error:
            raise _BadRequest(
                f'keys: {text[:80]!r} is no encoded key, as in [{{"S":"USER#7"}},{{"S":"POINTS#1"}}]'
            ) from error
        if not self._mapping.belongs(key):
            raise _BadRequest(f"keys: {text[:80]!r} does not belong to the migration")
        return key

    def _of_class(self, name: Any) -> list[Key]:
        known = {each.value: each for each in FINAL}
        found: Difference | None = known.get(name) if isinstance(name, str) else None
        if found is None:
            raise _BadRequest(f"class: must be one of {', '.join(sorted(known))}")
        return self._passes.keys_of(found, self._settings.repairs_at_once)


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise _BadRequest("the body is no JSON") from error
    if not isinstance(body, dict):
        raise _BadRequest("the body must be an object")
    return body


__all__: Sequence[str] = ("application",)
