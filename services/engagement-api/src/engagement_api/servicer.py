"""The wire surface: requests in, responses or typed statuses out; `engagement_api.points` is what lies between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message
from typing_extensions import override

from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.values.hashes import is_sampled
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import EngagementServiceServicer
from crossfade.ports.clock import Clock
from crossfade.runtime.figures import Figures
from crossfade.runtime.grpc import answers_errors, new_traceparent, traceparent_of
from crossfade.runtime.statuses import InvalidArgument, Refusal, status_of
from engagement_api.balances import shown
from engagement_api.operations import Kind
from engagement_api.points import Points, Wallet
from engagement_api.refusals import DOMAIN, timestamp
from engagement_api.requests import OperationFields, check_batch, read_amount, read_operation, read_wallet, read_wallets

SERVICE: Final = "crossfade.engagement.v1.EngagementService"

Answered = TypeVar("Answered", pb.EarnPointsResponse, pb.SpendPointsResponse, pb.DeleteWalletResponse)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class EngagementServicer(EngagementServiceServicer):
    """`crossfade.engagement.v1.EngagementService`."""

    domain = DOMAIN
    service = SERVICE

    def __init__(
        self,
        points: Points,
        figures: Figures | None = None,
        *,
        clock: Clock,
        trace_per_million: int = 0,
    ) -> None:
        """Serve `points`.

        Args:
            points: what is behind the API.
            figures: counts every operation.
            clock: dates answers, seeds versions and judges ids.
            trace_per_million: wallets whose calls get a trace context if they bring none.
        """
        self._points = points
        self._figures = figures or Figures()
        self._trace_per_million = trace_per_million
        self._clock = clock

    def note_refusal(self, method: str, request: Message | None, error: Refusal) -> None:
        """Count the operations of a call that never reached its method."""
        with suppress(Refusal), self._figures.counting(method, _operations(request)):
            raise error

    @override
    @answers_errors
    async def EarnPoints(self, request: pb.EarnPointsRequest, context: Context) -> pb.EarnPointsResponse:
        """Add points to a wallet."""
        with self._figures.counting("EarnPoints"):
            amount = read_amount(request.amount)
            return await self._operate(pb.EarnPointsResponse, request, Kind.EARN, amount, context)

    @override
    @answers_errors
    async def SpendPoints(self, request: pb.SpendPointsRequest, context: Context) -> pb.SpendPointsResponse:
        """Take points from a wallet."""
        with self._figures.counting("SpendPoints"):
            amount = read_amount(request.amount)
            return await self._operate(pb.SpendPointsResponse, request, Kind.SPEND, amount, context)

    @override
    @answers_errors
    async def DeleteWallet(self, request: pb.DeleteWalletRequest, context: Context) -> pb.DeleteWalletResponse:
        """Delete a wallet."""
        with self._figures.counting("DeleteWallet"):
            return await self._operate(pb.DeleteWalletResponse, request, Kind.DELETE, 0, context)

    @override
    @answers_errors
    async def GetBalance(self, request: pb.GetBalanceRequest, context: Context) -> pb.GetBalanceResponse:
        """Read one balance."""
        with self._figures.counting("GetBalance"):
            wallet = await self._points.read(read_wallet(request), consistent=_consistent(request.consistency))
        integer, inexact, exact = shown(wallet.balance)
        return pb.GetBalanceResponse(
            balance=integer,
            version=wallet.version,
            server_time=timestamp(self._clock.wall_us() // 1000),
            balance_inexact=inexact,
            balance_decimal=exact,
        )

    @override
    @answers_errors
    async def BatchGetBalances(
        self, request: pb.BatchGetBalancesRequest, context: Context
    ) -> pb.BatchGetBalancesResponse:
        """Read many balances."""
        with self._figures.counting("BatchGetBalances", len(request.wallets)) as call:
            check_batch(len(request.wallets), "wallets")
            keys = read_wallets(request.wallets)
            wallets = await self._points.read_many(keys, consistent=_consistent(request.consistency))
            for key in keys:
                if isinstance(refused := wallets[key], Refusal):
                    call.refuse(refused)
        return pb.BatchGetBalancesResponse(
            balances=[_balance(wallets[key]) for key in keys],
            server_time=timestamp(self._clock.wall_us() // 1000),
        )

    @override
    @answers_errors
    async def BatchEarnPoints(self, request: pb.BatchEarnPointsRequest, context: Context) -> pb.BatchEarnPointsResponse:
        """Add points to many wallets; each operation has its own outcome."""
        with self._figures.counting("BatchEarnPoints", len(request.operations)) as call:
            check_batch(len(request.operations), "operations")
            now_us = self._clock.wall_us()
            outcomes = await self._operate_many(request.operations, now_us, traceparent_of(context))
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    call.refuse(outcome)
        response = pb.BatchEarnPointsResponse(server_time=timestamp(now_us // 1000))
        for outcome in outcomes:
            added = response.outcomes.add()
            if isinstance(outcome, Exception):
                added.error.CopyFrom(status_of(outcome, DOMAIN))
            else:
                _fill(added.response, outcome)
        return response

    async def _operate_many(
        self, requests: Sequence[pb.EarnPointsRequest], now_us: int, traceparent: str
    ) -> list[Wallet | Exception]:
        results: list[Wallet | Exception | None] = []
        operations: list[Operation] = []
        for number, each in enumerate(requests):
            try:
                amount = read_amount(each.amount)
                operations.append(self._operation(each, Kind.EARN, amount, now_us, traceparent))
                results.append(None)
            except Refusal as error:
                results.append(error.within(f"operations[{number}]."))
        done = iter(await self._points.operate_many(operations))
        return [next(done) if result is None else result for result in results]

    async def _operate(
        self, answer: Callable[..., Answered], request: OperationFields, kind: Kind, amount: int, context: Context
    ) -> Answered:
        now_us = self._clock.wall_us()
        wallet = await self._points.operate(self._operation(request, kind, amount, now_us, traceparent_of(context)))
        answered = answer(server_time=timestamp(now_us // 1000))
        _fill(answered, wallet)
        return answered

    def _operation(self, request: OperationFields, kind: Kind, amount: int, now_us: int, traceparent: str) -> Operation:
        if self._trace_per_million and not traceparent and is_sampled(read_wallet(request), self._trace_per_million):
            traceparent = new_traceparent()
        return read_operation(request, kind, amount, now_us=now_us, traceparent=traceparent)


def _fill(answered: pb.EarnPointsResponse | pb.SpendPointsResponse | pb.DeleteWalletResponse, wallet: Wallet) -> None:
    answered.balance, inexact, exact = shown(wallet.balance)
    answered.version = wallet.version
    if wallet.replayed:
        answered.replayed = True
    if inexact:
        answered.balance_inexact, answered.balance_decimal = True, exact


def _balance(wallet: Wallet | Refusal) -> pb.Balance:
    if isinstance(wallet, Refusal):
        return pb.Balance(error=status_of(wallet, DOMAIN))
    integer, inexact, exact = shown(wallet.balance)
    return pb.Balance(points=integer, version=wallet.version, points_inexact=inexact, points_decimal=exact)


def _operations(request: Message | None) -> int:
    if isinstance(request, pb.BatchEarnPointsRequest):
        return len(request.operations)
    return len(request.wallets) if isinstance(request, pb.BatchGetBalancesRequest) else 1


def _consistent(consistency: pb.ReadConsistency.ValueType) -> bool:
    if consistency not in pb.ReadConsistency.values():
        raise InvalidArgument("consistency", f"must be a ReadConsistency, not {consistency}: is the client newer?")
    return consistency != pb.READ_CONSISTENCY_EVENTUAL
