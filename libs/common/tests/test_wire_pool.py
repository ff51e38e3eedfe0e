"""The pool lends at most so many connections, in turn, and never one that is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from crossfade.adapters.wire.connection import Connection
from crossfade.adapters.wire.pool import MAX_IDLE_S, Pool, PoolClosed


class Line(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)


class Opener:
    """Opens connections on `Line`s; `gate` holds them up, `failures` makes the next ones fail."""

    def __init__(self) -> None:
        self.opened: list[Connection] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, on_lost: Callable[[Connection], None]) -> Connection:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError
        connection = Connection(on_lost)
        connection.connection_made(Line(connection))
        self.opened.append(connection)
        return connection


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_connection_given_back_is_lent_again() -> None:
    opener = Opener()
    pool = Pool(opener, 2)
    first = await pool.acquire()
    pool.release(first)
    assert await pool.acquire() is first
    assert len(opener.opened) == 1


async def test_no_more_connections_are_open_than_the_bound_even_while_opening() -> None:
    opener = Opener()
    opener.gate.clear()
    pool = Pool(opener, 2)
    tasks = [asyncio.create_task(pool.acquire()) for _ in range(5)]
    await turn()
    assert pool.size == 2
    opener.gate.set()
    await turn()
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    assert len(opener.opened) == 2
    await pool.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_waiters_are_served_in_turn_and_a_newcomer_does_not_overtake() -> None:
    pool = Pool(Opener(), 1)
    held = await pool.acquire()
    served: list[str] = []

    async def borrow(name: str) -> None:
        connection = await pool.acquire()
        served.append(name)
        await asyncio.sleep(0)
        pool.release(connection)

    waiting = [asyncio.create_task(borrow(name)) for name in "abc"]
    await turn()
    pool.release(held)
    newcomer = asyncio.create_task(borrow("newcomer"))
    await asyncio.gather(*waiting, newcomer)
    assert served == ["a", "b", "c", "newcomer"]


async def test_a_connection_on_its_way_to_a_waiter_still_counts() -> None:
    opener = Opener()
    pool = Pool(opener, 1)
    held = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await turn()
    pool.release(held)
    assert pool.size == 1
    newcomer = asyncio.create_task(pool.acquire())
    await turn()
    assert waiter.result() is held
    assert len(opener.opened) == 1
    newcomer.cancel()


async def test_a_broken_connection_given_back_makes_room_for_a_new_one_for_the_waiter() -> None:
    pool = Pool(Opener(), 1)
    broken = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await turn()
    broken.abort()
    pool.release(broken)
    replacement = await asyncio.wait_for(waiter, 1)
    assert replacement is not broken
    assert replacement.reusable
    assert pool.size == 1


async def test_a_connection_that_breaks_between_two_hands_is_replaced() -> None:
    pool = Pool(Opener(), 1)
    lent = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await turn()
    pool.release(lent)
    lent.abort()
    replacement = await asyncio.wait_for(waiter, 1)
    assert replacement is not lent
    assert pool.size == 1


async def test_a_connection_lost_at_rest_is_forgotten() -> None:
    pool = Pool(Opener(), 1)
    rested = await pool.acquire()
    pool.release(rested)
    rested.abort()
    await turn()
    assert pool.size == 0
    assert await pool.acquire() is not rested


async def test_a_connection_that_rested_too_long_is_not_trusted() -> None:
    clock = Clock()
    pool = Pool(Opener(), 1, monotonic=clock)
    rested = await pool.acquire()
    pool.release(rested)
    clock.now_s += MAX_IDLE_S + 1
    assert await pool.acquire() is not rested
    assert not rested.reusable


async def test_a_fresh_one_is_new_and_those_at_rest_are_closed() -> None:
    pool = Pool(Opener(), 3)
    rested = [await pool.acquire(), await pool.acquire()]
    for connection in rested:
        pool.release(connection)
    assert await pool.acquire(fresh=True) not in rested
    assert not any(connection.reusable for connection in rested)
    assert pool.size == 1


async def test_a_failure_to_open_passes_the_turn_on() -> None:
    opener = Opener()
    pool = Pool(opener, 1)
    opener.failures = 1
    opener.gate.clear()
    first = asyncio.create_task(pool.acquire())
    second = asyncio.create_task(pool.acquire())
    await turn()
    opener.gate.set()
    with pytest.raises(ConnectionRefusedError):
        await first
    assert (await asyncio.wait_for(second, 1)).reusable


async def test_a_waiter_that_gives_up_does_not_take_a_turn() -> None:
    pool = Pool(Opener(), 1)
    held = await pool.acquire()
    gone, patient = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await turn()
    gone.cancel()
    await turn()
    pool.release(held)
    assert await asyncio.wait_for(patient, 1) is held


@pytest.mark.parametrize("broken", [False, True])
async def test_a_waiter_cancelled_in_the_moment_it_is_served_passes_its_turn_on(broken: bool) -> None:
    pool = Pool(Opener(), 1)
    held = await pool.acquire()
    gone, patient = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await turn()
    if broken:
        held.abort()
    pool.release(held)
    gone.cancel()
    assert (await asyncio.wait_for(patient, 1)).reusable
    assert gone.cancelled()
    assert pool.size == 1


async def test_closing_drops_the_connections_and_whoever_waits_is_told() -> None:
    pool = Pool(Opener(), 2)
    rested, lent = await pool.acquire(), await pool.acquire()
    pool.release(rested)
    lent_too = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await turn()
    await pool.close()
    with pytest.raises(PoolClosed):
        await waiter
    with pytest.raises(PoolClosed):
        await pool.acquire()
    assert not any(connection.reusable for connection in (rested, lent, lent_too))


async def test_a_connection_that_opens_after_the_closing_is_not_lent() -> None:
    opener = Opener()
    opener.gate.clear()
    pool = Pool(opener, 1)
    late = asyncio.create_task(pool.acquire())
    await turn()
    await pool.close()
    opener.gate.set()
    with pytest.raises(PoolClosed):
        await late
    assert not opener.opened[0].reusable


def test_a_pool_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pool(Opener(), 0)
