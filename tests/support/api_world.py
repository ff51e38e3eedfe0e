"""Two tables in memory and any number of API pods on them, each with a flag file of its own; for tests of the API."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import ControlStore, MemoryHeartbeats
from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.adapters.memory.marks import MemoryMarks
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.application.epochs import Epochs
from crossfade.application.ownership import Ownership
from crossfade.application.pulse import Pulse
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import CrossfadeError, StoreUnavailable
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.ports.sending import Sent
from crossfade.ports.table import TransferTable
from crossfade.runtime.figures import Figures
from crossfade.runtime.grpc import DETAILS_KEY
from engagement_api.mirror import Mirror
from engagement_api.points import Points
from engagement_api.report import Tally
from engagement_api.servicer import EngagementServicer
from engagement_api.ulids import encode_ulid
from engagement_migration import MAPPING

SOURCE_ONLY = FlagDocument()
ALL_NEW = FlagDocument(share=10_000, target_gen=2)
BACK_TO_SOURCE = FlagDocument(share=0, target_gen=2, source_gen=4)

MessageT = TypeVar("MessageT", bound=Message)


class Aborted(Exception):
    """A call that ended with an error status, as a client would see it."""

    def __init__(self, code: grpc.StatusCode, message: str, metadata: Sequence[tuple[str, bytes]]) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.status = status_pb2.Status.FromString(dict(metadata)[DETAILS_KEY])

    def detail(self, kind: type[MessageT]) -> MessageT:
        return detail_of(self.status, kind)


def detail_of(status: status_pb2.Status, kind: type[MessageT]) -> MessageT:
    """Return the one detail of a kind."""
    (packed,) = [each for each in status.details if each.Is(kind.DESCRIPTOR)]
    found = kind()
    packed.Unpack(found)
    return found


class Call:
    """The context of a call, as far as a servicer uses it."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = tuple(metadata.items())
        self._code = 0

    def code(self) -> int:
        return self._code

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._code = code.value[0]
        raise Aborted(code, details, trailing_metadata)


def context(**metadata: str) -> grpc.aio.ServicerContext[Any, Any]:
    return cast("grpc.aio.ServicerContext[Any, Any]", Call(**metadata))


class Clock(MemoryClock):
    """Stands still until a test moves it; waits take their time."""

    def __init__(self) -> None:
        super().__init__(1_790_000_000_000_000)
        self._serials = itertools.count()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def ulid(self, *, age_s: float = 0.0) -> str:
        """A fresh id, made `age_s` ago."""
        made_ms = (self.now_us - int(age_s * 1e6)) // 1000
        return encode_ulid(((made_ms << 80) | next(self._serials)).to_bytes(16, "big"))


class Table(MemoryTable):
    """A table that can be out of reach, or on which something else happens first."""

    down = False
    unreadable = False
    first: Callable[[], Awaitable[None]] | None = None
    last_read_consistent: bool | None = None

    async def read(self, key: Key, *, consistent: bool = True) -> Item | None:
        self.last_read_consistent = consistent
        if self.unreadable:
            raise StoreUnavailable("no answer")
        return await super().read(key, consistent=consistent)

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, Item]:
        self.last_read_consistent = consistent
        if self.unreadable:
            raise StoreUnavailable("no answer")
        return await super().read_many(keys, consistent=consistent)

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        if self.down:
            raise StoreUnavailable("no answer")
        if self.first:
            await self.first()
        return await super().perform(write, timeout_s=timeout_s)

    async def perform_many(self, writes: Sequence[Write]) -> list[Answer | Exception]:
        answers: list[Answer | Exception] = []
        for write in writes:
            try:
                answers.append(await self.perform(write))
            except CrossfadeError as error:
                answers.append(error)
        return answers


class Copies:
    """A transfer table that counts its calls and can be made to misbehave by a test."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table
        self.calls: list[list[Transfer]] = []
        self.before: Callable[[], Awaitable[Sent | None]] | None = None

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        self.calls.append(list(transfers))
        if self.before is not None:
            refused = await self.before()
            if refused is not None:
                return [refused] * len(transfers)
        return await self._table.transfer(transfers, timeout_s=timeout_s)


class World:
    """What all pods share."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.tables = {side: Table(MAPPING.shape(side), now_us=self.clock.wall_us) for side in Side}
        self.copies = {side: Copies(table) for side, table in self.tables.items()}
        self.control = ControlStore()
        self.marks = MemoryMarks()
        self._pods = itertools.count(1)

    async def pod(
        self,
        document: FlagDocument = SOURCE_ONLY,
        *,
        dual_write: bool = False,
        operation_s: float = 2.0,
        budget_s: float = 0.02,
        max_waiting: int = 100,
    ) -> Pod:
        pod = Pod(
            self,
            f"pod-{next(self._pods)}",
            document,
            dual_write=dual_write,
            operation_s=operation_s,
            budget_s=budget_s,
            max_waiting=max_waiting,
        )
        assert await pod.pulse.beat()
        return pod


class Pod:
    """One API process."""

    def __init__(
        self,
        world: World,
        name: str,
        document: FlagDocument,
        *,
        dual_write: bool,
        operation_s: float,
        budget_s: float,
        max_waiting: int,
    ) -> None:
        self.world, clock = world, world.clock
        self.flags = MemoryFlags(document, dual_write=dual_write)
        self.epochs = Epochs(self.flags)
        self.heartbeats = MemoryHeartbeats(world.control, monotonic=clock.monotonic)
        self.pulse = Pulse(
            self.heartbeats,
            self.epochs,
            clock=clock,
            pod=name,
            lease_s=10.0,
            longest_operation_s=3.0,
        )
        targets = cast("dict[Side, TransferTable]", world.copies)
        self.mirror = Mirror(
            MAPPING,
            targets,
            world.marks,
            self.epochs,
            budget_s=budget_s,
            call_s=0.2,
            max_waiting=max_waiting,
            clock=clock,
        )
        self.tally = Tally()
        self.figures = Figures(now_s=clock.monotonic)
        ownership = Ownership(
            world.tables[Side.SOURCE], world.tables[Side.TARGET], MAPPING, clock=clock, jitter=lambda: 0.0
        )
        self.points = Points(
            ownership,
            MAPPING,
            self.epochs,
            self.pulse,
            self.mirror,
            operation_s=operation_s,
            tally=self.tally,
            clock=clock,
        )
        self.servicer = EngagementServicer(self.points, self.figures, clock=clock)

    async def flip(self, document: FlagDocument, *, dual_write: bool = False) -> None:
        """Publish other flags to this pod alone."""
        self.flags.show(document, dual_write=dual_write)
        self.epochs.look()

    async def earn(
        self, amount: int = 5, *, user: str = "7", transaction_id: str = "", **metadata: str
    ) -> pb.EarnPointsResponse:
        request = self.earning(amount, user, transaction_id)
        return await self.servicer.EarnPoints(request, context(**metadata))

    async def spend(self, amount: int, *, user: str = "7", transaction_id: str = "") -> pb.SpendPointsResponse:
        request = pb.SpendPointsRequest(
            user=user, channel="chan", amount=amount, transaction_id=transaction_id or self.world.clock.ulid()
        )
        return await self.servicer.SpendPoints(request, context())

    async def delete(self, *, user: str = "7", transaction_id: str = "") -> pb.DeleteWalletResponse:
        request = pb.DeleteWalletRequest(
            user=user, channel="chan", transaction_id=transaction_id or self.world.clock.ulid()
        )
        return await self.servicer.DeleteWallet(request, context())

    async def balance(self, user: str = "7") -> int:
        request = pb.GetBalanceRequest(user=user, channel="chan")
        return (await self.servicer.GetBalance(request, context())).balance

    async def earn_many(self, *operations: pb.EarnPointsRequest) -> list[pb.EarnPointsOutcome]:
        request = pb.BatchEarnPointsRequest(operations=operations)
        return list((await self.servicer.BatchEarnPoints(request, context())).outcomes)

    def earning(self, amount: int = 5, user: str = "7", transaction_id: str = "") -> pb.EarnPointsRequest:
        made = transaction_id or self.world.clock.ulid()
        return pb.EarnPointsRequest(user=user, channel="chan", amount=amount, reason="watched", transaction_id=made)
