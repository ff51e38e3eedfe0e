"""A wire client whose requests are subject to a permit, as a member's of a plain migration are."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from crossfade.core.values.errors import StoreUnavailable
from wire_server import NOW_S, OK, Request, Run, Server, client, run, says

__all__ = ["run"]  # a fixture


class Permit:
    """Counts what it is told; refuses when it is set to."""

    def __init__(self) -> None:
        self.open = True
        self.unknown = 0

    def check(self) -> None:
        if not self.open:
            raise StoreUnavailable("not now")

    def outcome_unknown(self) -> None:
        self.unknown += 1


def test_without_the_permit_nothing_is_sent(run: Run) -> None:
    async def main() -> None:
        permit = Permit()
        async with Server(says(OK)) as server, client(server, permit=permit) as wire:
            await wire.call("PutItem", b"{}")
            permit.open = False
            with pytest.raises(StoreUnavailable, match="not now"):
                await wire.call("PutItem", b"{}")
            assert len(server.requests) == 1
            assert permit.unknown == 0

    run(main())


def test_the_permit_is_asked_after_the_date_was_taken(run: Run) -> None:
    """Else a process that was stopped between the two would sign a fresh date by a permit that has ended."""

    async def main() -> None:
        asked: list[str] = []

        class Asked(Permit):
            def check(self) -> None:
                asked.append("permit")

        def now() -> float:
            asked.append("date")
            return NOW_S

        async with Server(says(OK)) as server, client(server, now=now, permit=Asked()) as wire:
            await wire.call("PutItem", b"{}")
        assert asked[:2] == ["date", "permit"]

    run(main())


async def _broken(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.close()


def test_a_request_without_an_answer_is_told_of_each_time(run: Run) -> None:
    async def main() -> None:
        permit = Permit()
        async with Server(_broken) as server, client(server, permit=permit, attempts=3) as wire:
            with contextlib.suppress(StoreUnavailable):
                await wire.call("PutItem", b"{}")
            assert permit.unknown == len(server.requests) == 3
        permit, came = Permit(), asyncio.Queue[Request]()

        async def silent(request: Request, _writer: asyncio.StreamWriter) -> None:
            came.put_nowait(request)
            await asyncio.Event().wait()

        async with Server(silent) as server, client(server, permit=permit, attempts=1, timeout_s=0.05) as wire:
            with pytest.raises(StoreUnavailable):
                await wire.call("PutItem", b"{}")
            assert permit.unknown == 1
            await came.get()
            given_up = asyncio.create_task(wire.call("PutItem", b"{}", timeout_s=60))
            await came.get()
            given_up.cancel()
            await asyncio.wait([given_up])
            assert permit.unknown == 2, "a caller that gave up doesn't take the request back"

    run(main())
