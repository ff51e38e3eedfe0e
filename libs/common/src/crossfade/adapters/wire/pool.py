"""A bounded pool of connections to one endpoint, first come first served."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from crossfade.adapters.wire.connection import Connection

MAX_IDLE_S: Final = 20.0
"""An idle connection older than this isn't trusted any more: load balancers forget them without a word."""

Open = Callable[[Callable[[Connection], None]], Awaitable[Connection]]
"""Opens a connection; takes whom to tell when it is lost."""


class PoolClosed(Exception):
    """The client was closed; nothing more is lent."""


class Pool:
    """Lends connections. At most `size` are open or being opened."""

    def __init__(self, open_connection: Open, size: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take how to open a connection, and the bound."""
        if size < 1:
            raise ValueError(f"a pool needs at least one connection, got {size}")
        self._open = open_connection
        self._size = size
        self._monotonic = monotonic
        self._idle: deque[Connection] = deque()
        self._lent: set[Connection] = set()
        self._opening = 0
        # A waiter is given a connection, or None: the right to open one.
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    @property
    def size(self) -> int:
        """Connections open, or being opened."""
        return len(self._idle) + len(self._lent) + self._opening

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """Borrow a connection; wait for one when all are lent.

        Args:
            fresh: open a new one, since those at rest are doubted; they are closed.

        Raises:
            PoolClosed: nothing more is lent.
            OSError, TimeoutError: no connection could be opened.
        """
        if self._closed:
            raise PoolClosed("the client is closed")
        if fresh:
            while self._idle:
                self._idle.pop().abort()
        connection = self._rested()
        if connection is None and (self._waiters or self.size >= self._size):
            connection = await self._turn()
        elif connection is None:
            self._opening += 1
        if connection is None:
            connection = await self._opened()
        self._lent.add(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Give a connection back, in whatever state it is."""
        self._lent.discard(connection)
        if not connection.reusable or self._closed:
            connection.abort()
            self._pass_slot()
            return
        waiter = self._next_waiter()
        if waiter is not None:
            # Held as lent while it changes hands, or a newcomer could take the slot.
            self._lent.add(connection)
            waiter.set_result(connection)
            return
        connection.idle_since_s = self._monotonic()
        self._idle.append(connection)

    async def close(self) -> None:
        """Drop all connections; those that wait for one get `PoolClosed`."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()
        for connection in list(self._lent):
            connection.abort()
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(PoolClosed("the client is closed"))
        await asyncio.sleep(0)  # lets the transports close their sockets

    def _rested(self) -> Connection | None:
        oldest_s = self._monotonic() - MAX_IDLE_S
        while self._idle:
            connection = self._idle.pop()  # the warmest; the others may age away
            if connection.reusable and connection.idle_since_s > oldest_s:
                return connection
            connection.abort()
        return None

    async def _turn(self) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            connection = await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                given = waiter.result()  # given and cancelled in the same tick: pass it on
                if given is None:
                    self._opening -= 1
                    self._pass_slot()
                else:
                    self.release(given)
            raise
        if connection is not None and not connection.reusable:
            # It broke between hands.
            self._lent.discard(connection)
            self._opening += 1
            return None
        return connection

    async def _opened(self) -> Connection:
        try:
            connection = await self._open(self._lost)
        except BaseException:
            self._opening -= 1
            self._pass_slot()
            raise
        self._opening -= 1
        if self._closed:
            connection.abort()
            raise PoolClosed("the client is closed")
        return connection

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _pass_slot(self) -> None:
        if self._closed or self.size >= self._size:
            return
        waiter = self._next_waiter()
        if waiter is not None:
            self._opening += 1
            waiter.set_result(None)

    def _lost(self, connection: Connection) -> None:
        # A lent one is found out by its borrower, who gives it back.
        if connection in self._idle:
            self._idle.remove(connection)
