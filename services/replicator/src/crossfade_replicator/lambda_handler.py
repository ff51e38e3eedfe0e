"""The entry of the AWS Lambda function: `crossfade_replicator.lambda_handler.lambda_handler`.

Everything is made once for a container, at its first event, and lives on one event loop; between two events the
container is frozen, and with it the connections, which the clients reopen when they find them closed.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

import structlog
import uvloop

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.no_marks import NoMarks
from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.adapters.table_ids import table_id
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Wire
from crossfade.core.mapping.interface import Mapping as Migration
from crossfade.core.migration.control import control_tables
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.control import DeadLetters
from crossfade.ports.dedup import Marks
from crossfade.runtime import lifecycle
from crossfade.runtime.aws import wire_config
from crossfade.runtime.clients import Clients
from crossfade.runtime.logging import configure
from crossfade.runtime.settings import read_settings
from crossfade.runtime.telemetry.emf import emf_lines
from crossfade_replicator.function import Function, Source, TimeLeft
from crossfade_replicator.function_metrics import Ran, measured
from crossfade_replicator.function_reports import FunctionReports
from crossfade_replicator.function_settings import FunctionSettings
from crossfade_replicator.interventions import AT_ONCE, Interventions
from crossfade_replicator.journal import PhaseWatch, work_of
from crossfade_replicator.letters import drop_answered
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.publisher import FeedPipeline
from crossfade_replicator.sender import Sender
from crossfade_replicator.settings import ConsumerKind
from crossfade_replicator.tuning import tune_garbage_collection

CONTROL_CONNECTIONS: Final = AT_ONCE + 4


class Context(Protocol):
    """What Lambda says of an invocation, as far as it matters here."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until the function is ended."""


class Container:
    """What lives as long as the function's container."""

    def __init__(self, settings: FunctionSettings) -> None:
        """Prepare; clients are made at the first event.

        Args:
            settings: of the function.
        """
        self._settings = settings
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._function: Function | None = None

    def work(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Work on one event."""
        return self._runner.run(self._work(event, context))

    async def _work(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        structlog.contextvars.bind_contextvars(request_id=context.aws_request_id)
        if self._function is None:
            self._function = await opened(self._settings)
        return await self._function.run(event, context.get_remaining_time_in_millis() / 1000)


async def opened(settings: FunctionSettings) -> Function:
    """Make the clients and put the function together.

    Raises:
        ConfigError: the mapping can't be loaded, or is one that no function may apply.
        CrossfadeError: the target table can't be described.
    """
    mapping = settings.mapping()
    if mapping.protocol is PLAIN and settings.consumer is not ConsumerKind.FEED:
        raise ConfigError(
            f"the mapping {mapping.name!r} is under the plain protocol, and a function that is frozen between two "
            "events can't acknowledge that a flip has sealed the standby: run the replicator as a worker "
            "(docs/how-to/lambda-or-worker.md)"
        )
    clients = Clients(settings, max_connections=settings.in_flight * 2)
    control = control_db(Wire("dynamodb", wire_config(settings, max_connections=CONTROL_CONNECTIONS)))
    kinesis = Kinesis(Wire("kinesis", wire_config(settings, max_connections=CONTROL_CONNECTIONS)))
    tables = control_tables(mapping.name)
    letters = DynamoDeadLetters(control, tables.dead_letters)
    time_left = TimeLeft(SYSTEM)
    journal = DynamoJournal(control, tables.journal, who=settings.pod, code=lifecycle.code_version())
    phases = PhaseWatch(journal)
    if settings.consumer is ConsumerKind.FEED:
        sources = {_stream(settings, side): _feed(settings, mapping, side, kinesis, letters) for side in Side}
    else:
        direction = Direction(settings.consumer.value)
        marks = await _marks(settings, mapping, direction, clients.wire("dynamodb", direction.destination))
        source = _applying(settings, mapping, direction, clients.databases(), letters, marks, time_left, phases)
        sources = {_stream(settings, direction.origin): source}
    service = f"replicator-{settings.consumer.value}"

    def emit(ran: Ran) -> None:
        sys.stdout.write("".join(line + "\n" for line in emf_lines(service, mapping.name, measured(ran))))

    return Function(
        sources,
        phases,
        FunctionReports(DynamoReports(control, tables.reports), clients.streams(mapping), clock=SYSTEM),
        time_left,
        clock=SYSTEM,
        partial=settings.partial_responses,
        reserve_s=settings.reserve_s,
        emit=emit,
        look_s=settings.watch_s,
    )


def _applying(
    settings: FunctionSettings,
    mapping: Migration,
    direction: Direction,
    dynamodb: Mapping[Side, DynamoDB],
    letters: DeadLetters,
    marks: Marks,
    time_left: TimeLeft,
    phases: PhaseWatch,
) -> Source:
    source, target = (DynamoTable(dynamodb[side], mapping, side) for side in (direction.origin, direction.destination))
    destination = direction.destination
    transfers = DynamoTransfers(dynamodb[destination], mapping.shape(destination), mapping.protocol)
    sender = Sender(transfers, in_flight=settings.in_flight, clock=SYSTEM, time_left_s=time_left.left_s)
    pipeline = ApplyPipeline(
        mapping,
        direction,
        sender=sender,
        interventions=Interventions(mapping, direction, source, target, letters, clock=SYSTEM),
        marks=marks,
        letters=letters,
        clock=SYSTEM,
        strays_since_us=lambda: phases.strays_since_us(direction.origin),
    )

    def tidy() -> Awaitable[int]:
        return drop_answered(letters, mapping, direction, target)

    return Source(direction.value, pipeline, sender, tidy, work_of(mapping, direction))


def _feed(settings: FunctionSettings, mapping: Migration, side: Side, kinesis: Kinesis, letters: DeadLetters) -> Source:
    pipeline = FeedPipeline(
        mapping, side, publisher=kinesis, stream=settings.feed_stream, letters=letters, clock=SYSTEM
    )
    return Source(f"feed-{side.value}", pipeline)


async def _marks(settings: FunctionSettings, mapping: Migration, direction: Direction, wire: Wire) -> Marks:
    if settings.redis_url is None:
        return NoMarks()
    marks = RedisMarks(settings.redis_url, mapping.name, ttl_s=settings.mark_ttl_s)
    found = await table_id(wire, mapping.shape(direction.destination).table)
    if found:
        marks.name_destination(direction, found)
    return marks


def _stream(settings: FunctionSettings, side: Side) -> str:
    return settings.source_stream if side is Side.SOURCE else settings.target_stream


@functools.cache
def _container() -> Container:
    settings = read_settings(FunctionSettings)
    if found := settings.problems():
        raise ConfigError("\n".join(found))
    configure(f"replicator-{settings.consumer.value}", settings.log_level)
    tune_garbage_collection()
    return Container(settings)


def lambda_handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Work on one event: a batch of a Kinesis event source mapping, or `{"crossfade": "report"}`.

    Args:
        event: as Lambda hands it in.
        context: of the invocation.

    Returns:
        The partial batch response.

    Raises:
        CrossfadeError: the whole batch must be delivered again.
    """
    return _container().work(event, context)


handler = lambda_handler
"""The same under the name that some templates expect."""
