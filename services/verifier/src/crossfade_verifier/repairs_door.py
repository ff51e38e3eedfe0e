"""The verifier's HTTP about repairs: plan, execute, cancel, and look (ADR 0040)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from heapq import merge
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from crossfade.contracts.repairs import RepairList, RepairRecord
from crossfade.core.mapping.interface import Mapping
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.values.errors import IllegalTransition
from crossfade.core.values.keys import Key
from crossfade.ports.repairs import KEPT
from crossfade.runtime.http import Answer, Handler, HttpRefused, Request, invalid, told
from crossfade_verifier.keytext import key_of_text
from crossfade_verifier.operations import CANCEL_REPAIR, EXECUTE, PLAN, REPAIR, WhatToRepair
from crossfade_verifier.repairs import Repairs

PAGE: Final = 100
"""Steps that are shown with a new plan."""

WITHIN_S: Final = 2.0
"""How long an answer waits for its plan."""

AT_ONCE: Final = 4000
"""Keys that are sorted in one go: a millisecond or so, while everybody else waits."""


def repair_handlers(
    repairs: Repairs,
    keys_of: Callable[[Difference], list[Key]],
    called: Callable[[Difference], int],
    mapping: Mapping,
    *,
    most: int,
) -> dict[str, Handler]:
    """Return what answers about repairs.

    Args:
        repairs: of the migration.
        keys_of: keys of a class, as they were called last.
        called: how many keys are in a class, kept or not.
        mapping: of the migration.
        most: keys that one plan may name.
    """
    door = _RepairsDoor(repairs, keys_of, called, mapping, most)
    return {
        "POST /repairs": door.plan,
        "GET /repairs": door.all,
        "GET /repairs/{id}": door.one,
        "POST /repairs/{id}/execute": door.execute,
        "POST /repairs/{id}/cancel": door.cancel,
    }


class _Wanted(NamedTuple):
    """What a plan is made of.

    Attributes:
        keys: of it, each once.
        asked: the request, for whoever reads the plan.
        left: keys of the class that it leaves out.
        go_on: the request that plans those; None if there is none.
    """

    keys: list[Key]
    asked: dict[str, Any]
    left: int = 0
    go_on: dict[str, Any] | None = None


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
        body: WhatToRepair = PLAN.taken(request)
        if (body.keys is UNSET) == (body.found is UNSET):
            raise invalid("keys, class: give one of them")
        wanted = self._of_keys(body) if body.found is UNSET else await self._of_class(body.found, body)
        begun = await self._repairs.plan(
            wanted.keys, asked=wanted.asked, who=request.name(body.who), left=wanted.left, go_on=wanted.go_on
        )
        return await self._told(await self._repairs.planned(begun.id, WITHIN_S), limit=PAGE)

    async def all(self, _request: Request) -> Answer:
        found = [await self._repairs.report(each) for each in (await self._repairs.all())[:KEPT]]
        return told(RepairList(repairs=found).to_dict())

    async def one(self, request: Request) -> Answer:
        return await self._told(await self._known(request), status=HTTPStatus.OK, **REPAIR.read(request))

    async def execute(self, request: Request) -> Answer:
        body, most = EXECUTE.taken(request), self._repairs.per_s
        if body.pace is not None and not 1 <= body.pace <= most:
            raise invalid(f"pace: must be a whole number of steps a second, from 1 to {most} (CROSSFADE_REPAIRS_PER_S)")
        record = await self._known(request)
        try:
            record = await self._repairs.execute(record.id, who=request.name(body.who), pace_per_s=body.pace)
        except IllegalTransition as error:
            raise HttpRefused(HTTPStatus.CONFLICT, "wrong_state", str(error)) from error
        return await self._told(record)

    async def cancel(self, request: Request) -> Answer:
        who = request.name(CANCEL_REPAIR.taken(request).who)
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

    def _of_keys(self, body: WhatToRepair) -> _Wanted:
        for name, value in (("limit", body.limit), ("after", body.after)):
            if value is not UNSET:
                raise invalid(f"{name}: only with class")
        given = list(body.keys or ())
        if len(given) > self._most:
            raise invalid(f"keys: at most {self._most} in a plan, got {len(given)}")
        keys = list(dict.fromkeys(key_of_text(each, self._mapping, field="keys") for each in given))
        return _Wanted(keys, {"keys": len(keys)})

    async def _of_class(self, name: str, body: WhatToRepair) -> _Wanted:
        """Return some keys of a class, how many it leaves out, and how to go on: nothing is left out without a word."""
        found = _class(name)
        limit = self._most if body.limit is UNSET else body.limit
        if not 1 <= limit <= self._most:
            raise invalid(f"limit: must be a whole number from 1 to {self._most}")
        asked = {"class": name} | ({} if body.limit is UNSET else {"limit": limit})
        known, start = await self._sorted(self._keys_of(found)), 0
        if isinstance(body.after, str):
            asked["after"] = body.after
            start = bisect_right(known, key_of_text(body.after, self._mapping, field="after"))
        keys = known[start : start + limit]
        end = start + len(keys)
        left = max(self._called(found), len(known)) - end  # beyond what is kept, a later pass finds them
        return _Wanted(keys, asked, left, asked | {"after": keys[-1].decode()} if keys and end < len(known) else None)

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


def _class(name: str) -> Difference:
    known = {each.value: each for each in FINAL}
    if name not in known:
        raise invalid(f"class: must be one of {', '.join(sorted(known))}")
    return known[name]
