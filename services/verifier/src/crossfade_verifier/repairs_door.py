"""The verifier's HTTP about repairs: plan, execute, cancel, and look (ADR 0040)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from heapq import merge
from http import HTTPStatus
from typing import Any, Final

from crossfade.contracts.repairs import RepairList, RepairRecord
from crossfade.core.mapping.interface import Mapping
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.values.errors import IllegalTransition, PoisonRecord
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Side
from crossfade.ports.repairs import KEPT
from crossfade.runtime.http import Answer, HttpRefused, Request, Route, invalid, operator, told, viewer
from crossfade_verifier.repairs import Repairs

PAGE: Final = 100
"""Steps on a page that nobody gives a limit for."""

MOST: Final = 1000
"""Steps on a page."""

WITHIN_S: Final = 2.0
"""How long an answer waits for its plan."""

AT_ONCE: Final = 4000
"""Keys that are sorted in one go: a millisecond or so, while everybody else waits."""


def repair_routes(
    repairs: Repairs,
    keys_of: Callable[[Difference], list[Key]],
    called: Callable[[Difference], int],
    mapping: Mapping,
    *,
    most: int,
) -> dict[str, Route]:
    """Return what the verifier's door opens to, of repairs.

    Args:
        repairs: of the migration.
        keys_of: keys of a class, as they were called last.
        called: how many keys are in a class, kept or not.
        mapping: of the migration.
        most: keys that one plan may name.
    """
    door = _RepairsDoor(repairs, keys_of, called, mapping, most)
    return {
        "POST /repairs": operator(door.plan),
        "GET /repairs": viewer(door.all),
        "GET /repairs/{id}": viewer(door.one),
        "POST /repairs/{id}/execute": operator(door.execute),
        "POST /repairs/{id}/cancel": operator(door.cancel),
    }


class _RepairsDoor:
    def __init__(
        self,
        repairs: Repairs,
        keys_of: Callable[[Difference], list[Key]],
        called: Callable[[Difference], int],
        mapping: Mapping,
        most: int,
    ) -> None:
        self._repairs, self._keys_of, self._called = repairs, keys_of, called
        self._mapping, self._most = mapping, most

    async def plan(self, request: Request) -> Answer:
        body = _fields(request, "keys", "class", "limit", "after")
        who = _who(request, body)
        if ("keys" in body) == ("class" in body):
            raise invalid("keys, class: give one of them")
        keys, asked, left, go_on = await self._of_class(body) if "class" in body else self._of_keys(body)
        begun = await self._repairs.plan(keys, asked=asked, who=who, left=left, go_on=go_on)
        return await self._told(await self._repairs.planned(begun.id, WITHIN_S), limit=PAGE)

    async def all(self, request: Request) -> Answer:
        request.parameters()
        found = [await self._repairs.report(each) for each in (await self._repairs.all())[:KEPT]]
        return told(RepairList(repairs=found).to_dict())

    async def one(self, request: Request) -> Answer:
        query = request.parameters("after", "limit")
        after = _whole(query.get("after", "0"), "after", 0, None)
        limit = _whole(query.get("limit", str(PAGE)), "limit", 0, MOST)
        return await self._told(await self._known(request), after=after, limit=limit, status=HTTPStatus.OK)

    async def execute(self, request: Request) -> Answer:
        body = _fields(request, "pace")
        who, pace, most = _who(request, body), body.get("pace"), self._repairs.per_s
        if pace is not None and (type(pace) is not int or not 1 <= pace <= most):
            raise invalid(f"pace: must be a whole number of steps a second, from 1 to {most} (CROSSFADE_REPAIRS_PER_S)")
        record = await self._known(request)
        try:
            record = await self._repairs.execute(record.id, who=who, pace_per_s=pace)
        except IllegalTransition as error:
            raise HttpRefused(HTTPStatus.CONFLICT, "wrong_state", str(error)) from error
        return await self._told(record)

    async def cancel(self, request: Request) -> Answer:
        who = _who(request, _fields(request))
        record = await self._known(request)
        return await self._told(await self._repairs.cancel(record.id, who=who))

    async def _known(self, request: Request) -> RepairRecord:
        name = request.named["id"]
        try:
            return await self._repairs.get(name)
        except KeyError as error:
            message = f"there is no repair {name[:80]!r}: GET /repairs lists those that are kept"
            raise HttpRefused(HTTPStatus.NOT_FOUND, "not_found", message) from error

    async def _told(
        self, record: RepairRecord, *, after: int = 0, limit: int = 0, status: HTTPStatus = HTTPStatus.ACCEPTED
    ) -> Answer:
        return told((await self._repairs.report(record, after=after, limit=limit)).to_dict(), status)

    def _of_keys(self, body: dict[str, Any]) -> tuple[list[Key], dict[str, Any], int, None]:
        if paged := body.keys() & {"limit", "after"}:
            raise invalid(f"{sorted(paged)[0]}: only with class")
        given = body["keys"]
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise invalid("keys: must be a list of encoded keys, as /parity shows them")
        if len(given) > self._most:
            raise invalid(f"keys: at most {self._most} in a plan, got {len(given)}")
        keys = list(dict.fromkeys([self._key(each, "keys") for each in given]))
        return keys, {"keys": len(keys)}, 0, None

    async def _of_class(self, body: dict[str, Any]) -> tuple[list[Key], dict[str, Any], int, dict[str, Any] | None]:
        """Return some keys of a class, how many it leaves out, and how to go on: nothing is left out without a word."""
        found, limit, after = self._class(body["class"]), body.get("limit", self._most), body.get("after")
        if type(limit) is not int or not 1 <= limit <= self._most:
            raise invalid(f"limit: must be a whole number from 1 to {self._most}")
        if after is not None and not isinstance(after, str):
            raise invalid("after: must be an encoded key, the last one of the plan before")
        known = await self._sorted(self._keys_of(found))
        start = 0 if after is None else bisect_right(known, self._key(after, "after"))
        keys = known[start : start + limit]
        end = start + len(keys)
        left = max(self._called(found), len(known)) - end  # beyond what is kept, a later pass finds them
        go_on = {**body, "after": keys[-1].decode()} if keys and end < len(known) else None
        return keys, dict(body), left, go_on

    async def _sorted(self, keys: list[Key]) -> list[Key]:
        """Sort keys, and let others work in between: a hundred thousand take 60 ms."""
        clock, runs, found = self._repairs.clock, [], []
        for start in range(0, len(keys), AT_ONCE):
            runs.append(sorted(keys[start : start + AT_ONCE]))
            await clock.sleep(0)
        for key in merge(*runs):
            found.append(key)
            if not len(found) % AT_ONCE:
                await clock.sleep(0)
        return found

    def _class(self, name: Any) -> Difference:
        known = {each.value: each for each in FINAL}
        found = known.get(name) if isinstance(name, str) else None
        if found is None:
            raise invalid(f"class: must be one of {', '.join(sorted(known))}")
        return found

    def _key(self, text: str, field: str) -> Key:
        names = self._mapping.shape(Side.SOURCE).key
        try:
            key = encode_key(key_image(Key(text.encode()), names), names)
        except (PoisonRecord, ValueError) as error:
            raise invalid(
                f'{field}: {text[:80]!r} is not an encoded key, such as [{{"S":"ART#7"}},{{"S":"SHOP#1"}}]'
            ) from error
        if not self._mapping.belongs(key):
            raise invalid(f"{field}: {text[:80]!r} does not belong to the migration")
        return key


def _fields(request: Request, *known: str) -> dict[str, Any]:
    body = request.fields()
    if unknown := body.keys() - {*known, "who"}:
        raise invalid(f"unknown field: {sorted(unknown)[0]}")
    return body


def _who(request: Request, body: dict[str, Any]) -> str:
    """Return who asks, for the journal: a name that was proven wins over one that is only said."""
    said = body.pop("who", "")
    if not isinstance(said, str) or len(said) > 100:
        raise invalid("who: must be a name of 100 characters at most")
    return request.who or said or "somebody"


def _whole(text: str, name: str, least: int, most: int | None) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else -1
    if number < least or (most is not None and number > most):
        raise invalid(f"{name}: must be a whole number from {least}" + (f" to {most}" if most is not None else ""))
    return number
