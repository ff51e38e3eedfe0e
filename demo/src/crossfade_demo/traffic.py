"""Live traffic: clients of the gRPC API, from the first second to the last, each with a book of its own.

The load is open: calls start by the clock, whether or not earlier ones have come back, so a stall of the system shows
as latency and as a gap, never as fewer calls. On a slow machine that clock is slower, as all of the demo's time is.
Every client retries what the contract says, with the same transaction id, on another process.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final, NamedTuple

import grpc

from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1 import engagement_service_pb2_grpc as rpc
from crossfade.runtime.telemetry import Started
from crossfade_demo.book import Acknowledged, Attempted, Book, Call, Wallet
from crossfade_demo.pace import Deadline, Pace
from crossfade_demo.retries import retry_after_s
from crossfade_demo.traces import Calls
from crossfade_demo.ulid import new_ulid

CLIENTS: Final = 16
ATTEMPT_S: Final = 2.0
GIVE_UP_S: Final = 20.0
ASK_AGAIN: Final = 0.03  # share of successful writes that are deliberately sent once more
READS: Final = 0.25
SPENDS: Final = 0.25


class Asked(NamedTuple):
    """One write a client wants done."""

    method: str
    wallet: Wallet
    delta: int
    transaction_id: str


class Client:
    """One client: retries until it knows, and writes down what it was told."""

    def __init__(
        self, number: int, stubs: Sequence[Any], random: Random, pace: Pace, calls: Calls | None = None
    ) -> None:
        self.book = Book()
        self._pace = pace
        self._calls = calls
        self._stubs = itertools.cycle([*stubs[number % len(stubs) :], *stubs[: number % len(stubs)]])
        self._stub = next(self._stubs)
        self._random = random
        self._private: Wallet = (f"client-{number:02d}", "own")
        self._own = asyncio.Lock()
        self._own_lost = False
        self.own_balance = 0

    async def write(self, wallet: Wallet, delta: int) -> None:
        """Earn or spend, retried until the outcome is known; sometimes asked once more after success."""
        method = "EarnPoints" if delta > 0 else "SpendPoints"
        asked = Asked(method, wallet, delta, new_ulid(self._random))
        if await self._until_known(asked) and self._random.random() < ASK_AGAIN:
            await self._ask_again(asked)

    async def write_own(self) -> None:
        """Earn on, or delete, the wallet that only this client uses: its balance is known after every step."""
        if self._own.locked() or self._own_lost:
            return
        async with self._own:
            if self.own_balance and self._random.random() < 0.3:
                asked = Asked("DeleteWallet", self._private, -self.own_balance, new_ulid(self._random))
                if await self._known(asked):
                    self.own_balance = 0
                    await self._ask_again(asked)
            else:
                asked = Asked("EarnPoints", self._private, self._random.randint(1, 50), new_ulid(self._random))
                if await self._known(asked):
                    self.own_balance += asked.delta

    async def _known(self, asked: Asked) -> bool:
        self._own_lost = not await self._until_known(asked)
        return not self._own_lost

    async def read(self, wallet: Wallet) -> None:
        """Read a balance, retried like a write."""
        started_s, deadline = time.monotonic(), self._pace.deadline(GIVE_UP_S)
        request = pb.GetBalanceRequest(user=wallet[0], channel=wallet[1])
        while True:
            try:
                await self._stub.GetBalance(request, timeout=ATTEMPT_S * self._pace.now)
                self._note(started_s, ok=True)
                return
            except grpc.aio.AioRpcError as error:
                wait_s = retry_after_s(error)
                if wait_s is None or deadline.over:
                    self._give_up(f"GetBalance {wallet}", error, deadline)
                    self._note(started_s, ok=False)
                    return
            await self._back_off(wait_s)

    async def _until_known(self, asked: Asked) -> bool:
        """Send until it is acknowledged (True), refused, or given up (False)."""
        span = self._calls.begin(asked.method) if self._calls else None
        status = grpc.StatusCode.UNKNOWN
        try:
            acknowledged, status = await self._until_answered(asked, span)
            return acknowledged
        finally:
            if self._calls:
                self._calls.end(span, status.name)

    async def _until_answered(self, asked: Asked, span: Started | None) -> tuple[bool, grpc.StatusCode]:
        started_s, deadline = time.monotonic(), self._pace.deadline(GIVE_UP_S)
        sent_before = False
        while True:
            try:
                answer = await self._send(asked, span)
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code is grpc.StatusCode.FAILED_PRECONDITION and asked.method == "SpendPoints":
                    self.book.refused += 1
                    self._note(started_s, ok=True)
                    return False, code
                wait_s = retry_after_s(error)
                if wait_s is None or deadline.over:
                    self.book.unknown.append(Attempted(asked.transaction_id, asked.wallet, asked.delta))
                    self._give_up(f"{asked.method} {asked.wallet}", error, deadline)
                    self._note(started_s, ok=False)
                    return False, code
                sent_before = True
                self.book.retried += 1
                await self._back_off(wait_s)
                continue
            self.book.first_replays += answer.replayed and not sent_before
            done = Acknowledged(asked.transaction_id, asked.wallet, asked.delta, answer.version, time.monotonic())
            self.book.acknowledged.append(done)
            self._note(started_s, ok=True)
            return True, grpc.StatusCode.OK

    async def _ask_again(self, asked: Asked) -> None:
        self.book.replays_asked += 1
        for _ in range(8):
            try:
                answer = await self._send(asked)
            except grpc.aio.AioRpcError as error:
                if (wait_s := retry_after_s(error)) is not None:
                    await self._back_off(wait_s)
                    continue
                self.book.wrong.append(f"{asked.method} {asked.wallet} again: {error.code().name} {error.details()}")
                return
            if not answer.replayed:
                self.book.wrong.append(f"{asked.method} {asked.wallet} again: applied a second time")
            return

    async def _send(self, asked: Asked, span: Started | None = None) -> Any:
        user, channel = asked.wallet
        if asked.method == "DeleteWallet":
            request: Any = pb.DeleteWalletRequest(
                user=user, channel=channel, reason="demo", transaction_id=asked.transaction_id
            )
        else:
            kind = pb.EarnPointsRequest if asked.method == "EarnPoints" else pb.SpendPointsRequest
            request = kind(
                user=user,
                channel=channel,
                amount=abs(asked.delta),
                reason="demo",
                transaction_id=asked.transaction_id,
            )
        metadata = (("traceparent", span.traceparent),) if span else None
        timeout_s = ATTEMPT_S * self._pace.now
        return await getattr(self._stub, asked.method)(request, timeout=timeout_s, metadata=metadata)

    def _give_up(self, asked: str, error: grpc.aio.AioRpcError, deadline: Deadline) -> None:
        late = retry_after_s(error) is not None and deadline.too_busy
        (self.book.late if late else self.book.wrong).append(f"{asked}: {error.code().name} {error.details()}")

    async def _back_off(self, wait_s: float) -> None:
        self._stub = next(self._stubs)
        await asyncio.sleep(wait_s + self._random.uniform(0.005, 0.05))

    def _note(self, started_s: float, *, ok: bool) -> None:
        now_s = time.monotonic()
        self.book.calls.append(Call(now_s, now_s - started_s, ok))


class Traffic:
    """All clients together, at one rate."""

    def __init__(
        self,
        addresses: Sequence[str],
        wallets: Sequence[Wallet],
        rate: int,
        seed: int,
        pace: Pace,
        calls: Calls | None = None,
    ) -> None:
        self._random = Random(seed)
        self._channels = [grpc.aio.insecure_channel(each, options=_QUICK) for each in addresses]
        stubs = [rpc.EngagementServiceStub(channel) for channel in self._channels]
        self.clients = [Client(number, stubs, Random(seed * 1000 + number), pace, calls) for number in range(CLIENTS)]
        self._wallets = list(wallets)
        self._random.shuffle(self._wallets)
        self._cumulated = list(itertools.accumulate(1 / rank for rank in range(1, len(self._wallets) + 1)))
        self._interval_s = 1 / rate
        self._pace = pace
        self._stop = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    @property
    def books(self) -> list[Book]:
        """The clients' books."""
        return [client.book for client in self.clients]

    def start(self) -> None:
        """Start the calls."""
        self._loop = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Start no more calls, and wait for those under way."""
        self._stop.set()
        if self._loop:
            await self._loop
        if self._running:
            await asyncio.wait(self._running)  # each gives up at its own deadline
        for channel in self._channels:
            await channel.close()

    async def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            due_s += self._interval_s * self._pace.now
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, due_s - time.monotonic()))
            task = asyncio.create_task(self._one())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _one(self) -> None:
        client = self._random.choice(self.clients)
        dice = self._random.random()
        if dice < 0.02:
            await client.write_own()
            return
        (wallet,) = self._random.choices(self._wallets, cum_weights=self._cumulated)
        if dice < READS:
            await client.read(wallet)
        elif dice < READS + SPENDS:
            await client.write(wallet, -self._random.randint(1, 20))
        else:
            await client.write(wallet, self._random.randint(1, 20))


_QUICK: Final = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
