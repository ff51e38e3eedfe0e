"""The verifier's HTTP: plain on loopback, mutual TLS beyond (`crossfade.runtime.tls`)."""

from __future__ import annotations

from bisect import bisect_right
from http import HTTPStatus
from typing import Any

from crossfade.core.mapping.interface import Mapping
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Side
from crossfade.runtime.http import Answer, HttpRefused, Request, Route, anyone, invalid, operator, told, viewer
from crossfade_verifier.passes import Passes
from crossfade_verifier.repair import Repairer, described
from crossfade_verifier.report import Reporter
from crossfade_verifier.settings import Settings


def routes(
    passes: Passes, report: Reporter, repairer: Repairer, mapping: Mapping, settings: Settings
) -> dict[str, Route]:
    """Return what the verifier's door opens to."""
    endpoints = _Endpoints(passes, report, repairer, mapping, settings)
    return {
        "GET /parity": viewer(endpoints.parity),
        "POST /passes": operator(endpoints.ask),
        "GET /passes/{id}": viewer(endpoints.pass_by_id),
        "POST /repair": operator(endpoints.repair),
        "GET /healthz": anyone(endpoints.alive),
        "GET /readyz": anyone(endpoints.ready),
    }


class _Endpoints:
    def __init__(
        self, passes: Passes, report: Reporter, repairer: Repairer, mapping: Mapping, settings: Settings
    ) -> None:
        self._passes, self._report, self._repairer = passes, report, repairer
        self._mapping, self._settings = mapping, settings

    async def parity(self, _request: Request) -> Answer:
        return told(self._report.parity().to_dict())

    async def ask(self, _request: Request) -> Answer:
        asked = self._passes.ask()
        return told({"id": asked.id, "state": asked.state}, HTTPStatus.ACCEPTED)

    async def pass_by_id(self, request: Request) -> Answer:
        found = self._passes.get(request.named["id"])
        if found is None:
            raise HttpRefused(HTTPStatus.NOT_FOUND, "not_found", "no such pass")
        return told(self._report.described(found))

    async def alive(self, _request: Request) -> Answer:
        return told({"status": "ok"})

    async def ready(self, _request: Request) -> Answer:
        """Ready to answer /parity, if only with the table it is waiting for."""
        return told({"status": "ready", "waiting": self._passes.waiting or None})

    async def repair(self, request: Request) -> Answer:
        keys, execute, left = self._wanted(request.fields())
        steps = await self._repairer.plan(keys)
        shown = await self._repairer.carry_out(steps) if execute else [described(step) for step in steps]
        return told({"executed": execute, "steps": shown, **left})

    def _wanted(self, body: dict[str, Any]) -> tuple[list[Key], bool, dict[str, Any]]:
        """Return the keys, whether to write, and what is said of those of the class that this page leaves out."""
        if unknown := body.keys() - {"keys", "class", "execute", "limit", "after"}:
            raise invalid(f"unknown field: {sorted(unknown)[0]}")
        execute = body.get("execute", False)
        if not isinstance(execute, bool):
            raise invalid("execute: must be true or false")
        if ("keys" in body) == ("class" in body):
            raise invalid("keys, class: give one of them")
        most = self._settings.repairs_at_once
        if "class" in body:
            limit = body.get("limit", most)
            if type(limit) is not int or not 1 <= limit <= most:
                raise invalid(f"limit: must be a whole number from 1 to {most}")
            keys, left = self._page(self._class(body["class"]), limit, body.get("after"))
            return keys, execute, left
        if paged := body.keys() & {"limit", "after"}:
            raise invalid(f"{sorted(paged)[0]}: only with class")
        keys = self._keys(body["keys"])
        if len(keys) > most:
            raise invalid(f"keys: at most {most} at once, got {len(keys)}")
        return keys, execute, {}

    def _keys(self, given: Any) -> list[Key]:
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise invalid("keys: must be a list of encoded keys, as /parity shows them")
        return [self._key(each) for each in given]

    def _key(self, text: str) -> Key:
        names = self._mapping.shape(Side.SOURCE).key
        try:
            key = encode_key(key_image(Key(text.encode()), names), names)
        except (PoisonRecord, ValueError) as error:
            raise invalid(
                f'keys: {text[:80]!r} is not an encoded key, such as [{{"S":"ART#7"}},{{"S":"SHOP#1"}}]'
            ) from error
        if not self._mapping.belongs(key):
            raise invalid(f"keys: {text[:80]!r} does not belong to the migration")
        return key

    def _class(self, name: Any) -> Difference:
        known = {each.value: each for each in FINAL}
        found = known.get(name) if isinstance(name, str) else None
        if found is None:
            raise invalid(f"class: must be one of {', '.join(sorted(known))}")
        return found

    def _page(self, found: Difference, limit: int, after: Any) -> tuple[list[Key], dict[str, Any]]:
        """Return some keys of a class, and how to go on: nothing is left out without a word."""
        known = sorted(self._passes.keys_of(found))
        start = 0 if after is None else bisect_right(known, self._keys([after])[0])
        page = known[start : start + limit]
        end, called = start + len(page), self._report.parity().differences[found.value].count
        left = max(called, len(known)) - end  # beyond what is kept, a later pass finds them
        return page, {"left": left, "next": page[-1].decode() if page and end < len(known) else None}
