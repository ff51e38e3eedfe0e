"""An event source mapping's decisions: which records a function gets next, and what becomes of a batch that failed.

No clock, no thread and no socket: the caller passes the time, invokes the function and says how that ended. One `Lane`
is one sequence of invocations: a shard, or a part of it when the mapping's parallelisation factor is above one.

Source: AWS Lambda developer guide, "How Lambda processes records from stream and queue-based event sources" and
"Configuring partial batch response with Kinesis Data Streams and Lambda". Not said there, and chosen here: a batch that
makes progress, since its checkpoint moved, starts counting retries again; the pause between retries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from localaws.errors import WrongSetting

MAX_BATCH_BYTES: Final = 6 * 1024 * 1024
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
ENDLESS: Final = -1

RETRIES_EXHAUSTED: Final = "RetryAttemptsExhausted"
TOO_OLD: Final = "MaxRecordAgeExceeded"

LIMITS: Final = {
    "BatchSize": (1, 10_000),
    "MaximumBatchingWindowInSeconds": (0, 300),
    "MaximumRetryAttempts": (-1, 10_000),
    "MaximumRecordAgeInSeconds": (-1, 604_800),
    "ParallelizationFactor": (1, 10),
}
PARTIAL: Final = "ReportBatchItemFailures"


class Settings(NamedTuple):
    """What a mapping for a stream is told; the defaults are Lambda's.

    Attributes:
        batch_size: most records of one invocation.
        window_s: longest wait for a batch to fill.
        partial: whether the function's answer names the records that failed.
        max_retries: after which a batch is given up; -1 for never.
        max_age_s: age at which a record is given up; -1 for never.
        bisect: whether a batch that failed is cut in two.
        lanes: invocations of one shard at the same time.
    """

    batch_size: int = 100
    window_s: float = 0.0
    partial: bool = False
    max_retries: int = ENDLESS
    max_age_s: float = ENDLESS
    bisect: bool = False
    lanes: int = 1

    @classmethod
    def read(cls, mapping: Mapping[str, Any]) -> Settings:
        """Read the request that makes or changes a mapping.

        Raises:
            WrongSetting: a value is out of its range.
        """
        for name, (least, most) in LIMITS.items():
            value = mapping.get(name)
            if value is not None and not (isinstance(value, int) and least <= value <= most):
                raise WrongSetting(f"{name} is {value!r}, and must be an integer from {least} to {most}")
        unknown = set(mapping.get("FunctionResponseTypes") or ()) - {PARTIAL}
        if unknown:
            raise WrongSetting(f"FunctionResponseTypes has {sorted(unknown)}; there is only {PARTIAL}")
        return cls(
            batch_size=mapping.get("BatchSize") or cls().batch_size,
            window_s=mapping.get("MaximumBatchingWindowInSeconds") or 0,
            partial=PARTIAL in (mapping.get("FunctionResponseTypes") or ()),
            max_retries=_or_endless(mapping.get("MaximumRetryAttempts")),
            max_age_s=_or_endless(mapping.get("MaximumRecordAgeInSeconds")),
            bisect=bool(mapping.get("BisectBatchOnFunctionError")),
            lanes=mapping.get("ParallelizationFactor") or 1,
        )


def _or_endless(value: int | None) -> int:
    return ENDLESS if value is None else value


class Arrived(NamedTuple):
    """A record of the stream.

    Attributes:
        sequence: its sequence number.
        arrived_s: when the stream took it, seconds since the epoch.
        size_bytes: what it adds to the event.
        event: as the function gets it.
    """

    sequence: int
    arrived_s: float
    size_bytes: int
    event: Mapping[str, Any]


class Failure(NamedTuple):
    """How an invocation failed.

    Attributes:
        checkpoint: lowest sequence number that the function named; None when all of the batch failed.
        throttled: the function was not run at all, for want of concurrency.
    """

    checkpoint: int | None = None
    throttled: bool = False


class GivenUp(NamedTuple):
    """Records that will not be tried again.

    Attributes:
        records: in order; at least one.
        condition: why, as the failure destination is told.
        invocations: how often the batch was tried.
    """

    records: list[Arrived]
    condition: str
    invocations: int


@dataclass
class _Batch:
    records: list[Arrived]
    failures: int = 0


def answered(settings: Settings, answer: Any, batch: Sequence[Arrived]) -> Failure | None:
    """Read what the function returned.

    Args:
        settings: of the mapping.
        answer: decoded.
        batch: the records it was given.

    Returns:
        None when all of the batch is done.
    """
    if not settings.partial or not answer:
        return None
    if not isinstance(answer, dict):
        return Failure()
    named = answer.get("batchItemFailures")
    if not named:
        return None
    known = {str(each.sequence): each.sequence for each in batch}
    try:
        return Failure(checkpoint=min(known[each["itemIdentifier"]] for each in named))
    except (KeyError, TypeError):
        return Failure()  # a name that is none: the service takes the whole batch for failed


@dataclass
class Lane:
    """See the module."""

    waiting: deque[Arrived] = field(default_factory=deque)
    batches: deque[_Batch] = field(default_factory=deque)  # cut already, to be tried (again) in this order
    given_up: list[GivenUp] = field(default_factory=list)
    busy: bool = False
    pause_until_s: float = 0.0
    waiting_since_s: float | None = None
    failures_in_a_row: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing of the lane is left to do."""
        return not (self.waiting or self.batches)

    def add(self, record: Arrived, now_s: float) -> None:
        """Take the next record of the shard."""
        if self.waiting_since_s is None:
            self.waiting_since_s = now_s
        self.waiting.append(record)

    def due(self, settings: Settings, now_s: float) -> list[Arrived] | None:
        """Return the records to invoke the function with now; None when there is nothing to do yet."""
        if self.busy or now_s < self.pause_until_s:
            return None
        while self.batches or self._cut(settings, now_s):
            self._drop_aged(settings, now_s)
            if self.batches:
                self.busy = True
                return self.batches[0].records
        return None

    def settle(self, settings: Settings, failure: Failure | None, now_s: float) -> None:
        """Note how the invocation of the records that were due ended."""
        self.busy = False
        batch = self.batches[0]
        if failure is None:
            self.batches.popleft()
            self.failures_in_a_row = 0
            return
        self.failures_in_a_row += 1
        self.pause_until_s = now_s + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self.failures_in_a_row - 1))
        if failure.throttled:
            return
        left = [
            each for each in batch.records if failure.checkpoint is not None and each.sequence >= failure.checkpoint
        ]
        if left and len(left) < len(batch.records):
            self.failures_in_a_row = 1
            self.batches[0] = _Batch(left)
        elif settings.bisect and len(batch.records) > 1:
            middle = len(batch.records) // 2
            self.batches.popleft()  # cutting does not count as a retry
            self.batches.extendleft(
                _Batch(part, batch.failures) for part in (batch.records[middle:], batch.records[:middle])
            )
        else:
            batch.failures += 1
            if settings.max_retries != ENDLESS and batch.failures > settings.max_retries:
                self.batches.popleft()
                self.given_up.append(GivenUp(batch.records, RETRIES_EXHAUSTED, batch.failures))

    def _cut(self, settings: Settings, now_s: float) -> bool:
        """Make a batch of what waits, if it is time to."""
        if not self.waiting or self.waiting_since_s is None:
            return False
        size_bytes, records = 0, 0
        for each in self.waiting:
            if records == settings.batch_size or size_bytes + each.size_bytes > MAX_BATCH_BYTES:
                break
            size_bytes += each.size_bytes
            records += 1
        records = max(records, 1)
        full = records == settings.batch_size or records < len(self.waiting)
        if not full and now_s < self.waiting_since_s + settings.window_s:
            return False
        self.batches.append(_Batch([self.waiting.popleft() for _ in range(records)]))
        self.waiting_since_s = now_s if self.waiting else None
        return True

    def _drop_aged(self, settings: Settings, now_s: float) -> None:
        if settings.max_age_s == ENDLESS:
            return
        batch = self.batches[0]
        aged = [each for each in batch.records if now_s - each.arrived_s > settings.max_age_s]
        if not aged:
            return
        self.given_up.append(GivenUp(aged, TOO_OLD, batch.failures))
        batch.records = [each for each in batch.records if now_s - each.arrived_s <= settings.max_age_s]
        if not batch.records:
            self.batches.popleft()
