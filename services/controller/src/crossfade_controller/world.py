"""What the controller reaches: ports only, so that tests run it on the shipped fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from crossfade.application.ownership import Ownership
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.migration.evidence import Parity
from crossfade.core.plan.described import Answers, nothing_known
from crossfade.core.values.clocks import Skew
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.admin import Metrics, Objects, TableAdmin
from crossfade.ports.clock import Clock
from crossfade.ports.control import DeadLetters, Heartbeats, Journal, Reports, StatusBoard
from crossfade.ports.flags import FlagPublisher
from crossfade.ports.owned_table import OwnedTable
from crossfade.ports.raw_rows import RawRows
from crossfade.ports.streams import StreamReader
from crossfade.ports.table import TransferTable
from crossfade_controller.load_run import OpenLoader
from crossfade_controller.mapping_crew import MapOne, Rules
from crossfade_controller.plain.ports import PlainPorts
from crossfade_controller.sampling import Rows
from crossfade_controller.settings import ControllerSettings


async def _nobody_asked(_side: Side, _only: Collection[str]) -> Answers:
    return nothing_known("nobody asks here")


@dataclass(frozen=True)
class World:
    """The ports.

    Attributes:
        settings: of the process.
        mapping: of the migration.
        journal: written under the controller's lease.
        board: where the status goes.
        heartbeats, reports, letters: what pods and consumers say.
        admin, objects, metrics: the control plane of AWS.
        parity: asks the verifier; never raises.
        ask_for_pass: asks the verifier to begin a pass; never raises.
        flags: publishes.
        tables: both sides.
        copies: state transfers to either side.
        ownership: hands keys over.
        shards: reads streams.
        rows: samples the raw rows of a table, from all over it, that a predicate wants.
        missing_control_tables: names the control tables that don't exist.
        command: runs a hook; returns its exit code and the end of its output.
        excluded: keys that stay where they are; the ownership driver asks it.
        skew: of our wall clock against AWS's; None when it is unknown.
        clock: of the process.
        describe: asks AWS what a plan wants to know of a side's table: some questions by name, or all.
        source_rows: rows of the source as they stand, by key.
        loader: opens what writes rows of the target table, for load=write.
        map_beside: maps export files in so many processes of their own; None: only in this one.
        plain: what a flip reaches; None under another protocol.
    """

    settings: ControllerSettings
    mapping: MigrationMapping
    journal: Journal
    board: StatusBoard
    heartbeats: Heartbeats
    reports: Reports
    letters: DeadLetters
    admin: TableAdmin
    objects: Objects
    metrics: Metrics
    parity: Callable[[], Awaitable[Parity]]
    ask_for_pass: Callable[[], Awaitable[None]]
    flags: FlagPublisher
    tables: Mapping[Side, OwnedTable]
    copies: Mapping[Side, TransferTable]
    ownership: Ownership
    shards: StreamReader
    rows: Callable[[Side, Callable[[Image], bool]], Awaitable[Rows]]
    missing_control_tables: Callable[[], Awaitable[Sequence[str]]]
    command: Callable[[Sequence[str]], Awaitable[tuple[int, str]]]
    excluded: set[Key]
    skew: Callable[[], Skew | None]
    clock: Clock
    describe: Callable[[Side, Collection[str]], Awaitable[Answers]] = _nobody_asked
    source_rows: RawRows | None = None
    loader: OpenLoader | None = None
    map_beside: Callable[[Rules, int], AbstractAsyncContextManager[MapOne]] | None = None
    plain: PlainPorts | None = None

    def stream_of(self, side: Side) -> str:
        """Return the name of a side's change stream."""
        return self.settings.source_stream if side is Side.SOURCE else self.settings.target_stream
