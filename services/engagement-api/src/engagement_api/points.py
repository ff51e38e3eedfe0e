"""What the API does with points: operations on the owner table, copies to the other, reads; within the pod's lease."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from crossfade.application.epochs import Epochs
from crossfade.application.ownership import OwnerImage, Ownership
from crossfade.application.pulse import Pulse
from crossfade.core.mapping.interface import Mapping as ItemMapping
from crossfade.core.ownership.decisions import Done, Outcome
from crossfade.core.ownership.ramp import aim
from crossfade.core.ownership.trim import FULL_SIZE, WINDOW_MS
from crossfade.core.protocol.events import event_of
from crossfade.core.protocol.keyed.item import version_of
from crossfade.core.protocol.keyed.operation import Amount, Operation, check_verb
from crossfade.core.values.errors import CrossfadeError, KeyNotServed, OwnershipAmbiguous, PoisonRecord, Unavailable
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime import telemetry
from crossfade.runtime.statuses import Refusal
from crossfade.runtime.telemetry.contract import OUTCOME
from engagement_api.mirror import Copy, Mirror
from engagement_api.operations import DELETE, EARN, SPEND, balance_of, points_of
from engagement_api.refusals import (
    BalanceLimitExceeded,
    InsufficientPoints,
    Payload,
    TooManyOperations,
    TransactionExpired,
    TransactionMismatch,
    WalletNotFound,
    WalletNotServed,
)
from engagement_api.report import Tally
from engagement_api.ulids import encode_ulid

BUSY_RETRY_S: Final = 0.1
"""Others moved the key again and again; a moment later they are done."""


class Wallet(Struct, frozen=True, gc=False):
    """A wallet after an operation, or as it was read.

    Attributes:
        balance: points in it, exactly; 0 when there is none. Writers outside the API may have left any number.
        version: that the balance was seen at; 0 when the wallet never was.
        replayed: the operation had been applied before.
    """

    balance: Amount
    version: int
    replayed: bool = False


class Points:
    """Points on two tables, one of which owns each wallet."""

    def __init__(
        self,
        ownership: Ownership,
        mapping: ItemMapping,
        epochs: Epochs,
        pulse: Pulse,
        mirror: Mirror,
        *,
        clock: Clock,
        operation_s: float,
        tally: Tally | None = None,
    ) -> None:
        """Put it together.

        Args:
            ownership: finds the owner and hands over.
            mapping: of the migration.
            epochs: says where to aim, and counts what runs.
            pulse: says whether owner writes are allowed.
            mirror: takes the copies, while the flag `dual-write` is on.
            clock: of the process.
            operation_s: longest time of one call; the pulse counts on it.
            tally: counts outcomes.
        """
        self._ownership = ownership
        self._shapes = {side: mapping.shape(side) for side in Side}
        for verb in (EARN, SPEND, DELETE):
            for shape in self._shapes.values():
                check_verb(verb, shape)
        self._epochs = epochs
        self._pulse = pulse
        self._mirror = mirror
        self._operation_s = operation_s
        self._tally = tally or Tally()
        self._clock = clock

    async def operate(self, operation: Operation) -> Wallet:
        """Apply an operation exactly once, whatever was tried before.

        Raises:
            Refusal: what the contract names: too few points, an expired id and so on.
            CrossfadeError: the store did not answer; the operation is safe to send again.
        """
        self._pulse.check()
        epoch = self._epochs.begin()
        done: Done | None = None
        try:
            document = epoch.document
            done = await self._ownership.operate(
                operation, aim(document, operation.key), complete=document.complete, deadline=self._deadline()
            )
            self._tally.count(operation.key, done)
            span = telemetry.current.get()
            if span is not None:
                span.set(OUTCOME, done.outcome.value)
            if epoch.dual_write and done.outcome is Outcome.APPLIED and done.item is not None:
                await self._mirror.copy([Copy(done.side, operation.key, done.item)], epoch)
            return self._wallet(operation, done)
        except CrossfadeError as error:
            if done is None:  # a refusal is counted by its outcome
                self._tally.outcomes[error.code] += 1
            raise _named(operation.key, error)  # noqa: B904 - `_named` keeps the cause
        finally:
            self._epochs.end(epoch)

    async def operate_many(self, operations: Sequence[Operation]) -> list[Wallet | Exception]:
        """Apply operations together; of one wallet in their order.

        Returns:
            For each what `operate` would have returned or raised.
        """
        if not operations:
            return []
        self._pulse.check()
        epoch = self._epochs.begin()
        try:
            document = epoch.document
            calls = [(each, aim(document, each.key)) for each in operations]
            results = await self._ownership.operate_many(calls, complete=document.complete, deadline=self._deadline())
            if epoch.dual_write:
                await self._mirror.copy(_copies(operations, results), epoch)
            return [self._counted(each, result) for each, result in zip(operations, results, strict=True)]
        finally:
            self._epochs.end(epoch)

    async def read(self, key: Key, *, consistent: bool = True) -> Wallet:
        """Read one wallet where it is owned.

        Raises:
            CrossfadeError: the store did not answer, or nobody can tell who owns the wallet.
        """
        document = self._epochs.current.document
        wish, deadline = aim(document, key), self._deadline()
        try:
            image = await self._ownership.owner_read(
                key, wish, consistent=consistent, complete=document.complete, deadline=deadline
            )
            self._tally.reads += 1
            return self._seen(image)
        except CrossfadeError as error:
            raise _named(key, error)  # noqa: B904 - `_named` keeps the cause

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, Wallet | Refusal]:
        """Read wallets where they are owned.

        Args:
            keys: the same one may be given twice.
            consistent: whether to see all that was acknowledged before.

        Returns:
            Each wallet, or why it can't be served, whatever becomes of the others.

        Raises:
            CrossfadeError: the store did not answer for one of them: all of them are safe to ask for again.
        """
        document = self._epochs.current.document
        wishes = [(key, aim(document, key)) for key in dict.fromkeys(keys)]
        images = await self._ownership.owner_read_many(
            wishes, consistent=consistent, complete=document.complete, deadline=self._deadline()
        )
        self._tally.reads += len(wishes)
        return {key: self._seen_or_refused(key, image) for (key, _), image in zip(wishes, images, strict=True)}

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._operation_s

    def _seen(self, image: OwnerImage) -> Wallet:
        return Wallet(balance_of(image.item, self._shapes[image.side]), version_of(image.item))

    def _seen_or_refused(self, key: Key, image: OwnerImage | Exception) -> Wallet | Refusal:
        try:
            if isinstance(image, Exception):
                raise image
            return self._seen(image)
        except CrossfadeError as error:
            named = _named(key, error)
            if not isinstance(named, Refusal):
                raise
            return named

    def _counted(self, operation: Operation, result: Done | Exception) -> Wallet | Exception:
        if isinstance(result, CrossfadeError):
            self._tally.outcomes[result.code] += 1
            return _named(operation.key, result)
        if isinstance(result, Exception):
            raise result
        self._tally.count(operation.key, result)
        try:
            return self._wallet(operation, result)
        except CrossfadeError as error:
            return _named(operation.key, error)

    def _wallet(self, operation: Operation, done: Done) -> Wallet:
        """Return the wallet after an operation that was applied, now or before.

        Raises:
            Refusal: it was not, or that is unknown.
        """
        balance = balance_of(done.item, self._shapes[done.side])
        match done.outcome:
            case Outcome.APPLIED | Outcome.REPLAYED:
                return Wallet(balance, version_of(done.item), done.outcome is Outcome.REPLAYED)
            case Outcome.INSUFFICIENT:
                raise InsufficientPoints(balance, points_of(operation))
            case Outcome.ABOVE_LIMIT:
                raise BalanceLimitExceeded(balance, points_of(operation))
            case Outcome.NOT_FOUND if operation.verb is DELETE:
                raise WalletNotFound(operation.key)
            case Outcome.NOT_FOUND:
                raise InsufficientPoints(0, points_of(operation))
            case Outcome.MISMATCH if done.item and (applied := event_of(done.item.events, operation.transaction_id)):
                asked = Payload(operation.verb.name, points_of(operation))
                did = Payload(applied.kind, abs(applied.delta))
                raise TransactionMismatch(encode_ulid(operation.transaction_id), did, asked)
            case Outcome.EXPIRED:
                raise TransactionExpired(encode_ulid(operation.transaction_id), self._clock.wall_us() // 1000)
            case Outcome.FULL:
                wait_s = BUSY_RETRY_S if done.retry_after_s is None else done.retry_after_s
                raise TooManyOperations(remembered=FULL_SIZE, window_ms=WINDOW_MS, retry_after_s=wait_s)
            case Outcome.BUSY:
                raise Unavailable("the wallet is moving between the tables", retry_after_s=BUSY_RETRY_S)
        raise AssertionError(f"no operation ends {done.outcome.value}")


def _named(key: Key, error: Exception) -> Exception:
    """Name the wallet in an error that is about it alone: it is refused, and the others are served."""
    if isinstance(error, KeyNotServed | OwnershipAmbiguous | PoisonRecord):
        refusal = WalletNotServed(key, str(error))
        refusal.__cause__ = error
        return refusal
    return error


def _copies(operations: Sequence[Operation], results: Sequence[Done | Exception]) -> list[Copy]:
    """What to copy: the last item of each wallet that changed."""
    last: dict[Key, Copy] = {}
    for operation, result in zip(operations, results, strict=True):
        if isinstance(result, Done) and result.outcome is Outcome.APPLIED and result.item is not None:
            last[operation.key] = Copy(result.side, operation.key, result.item)
    return list(last.values())
