"""The store of repairs in memory; two objects on one set of rows behave like two processes on one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from crossfade.contracts.repairs import RepairRecord, RepairStep


@dataclass
class RepairRows:
    """What the table holds: records as text, as a store would keep them; steps and outcomes by id and chunk."""

    records: dict[str, str] = field(default_factory=dict)
    steps: dict[tuple[str, int], tuple[RepairStep, ...]] = field(default_factory=dict)
    outcomes: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)


class MemoryRepairs:
    """`crossfade.ports.repairs.RepairStore` in memory."""

    def __init__(self, rows: RepairRows | None = None) -> None:
        """Start empty, or on shared rows."""
        self._rows = rows or RepairRows()

    async def create(self, record: RepairRecord) -> None:
        """Keep a new record."""
        self._rows.records.setdefault(record.id, record.to_text())

    async def get(self, repair: str) -> RepairRecord | None:
        """Return a record by its id."""
        text = self._rows.records.get(repair)
        return None if text is None else RepairRecord.of_text(text)

    async def replace(self, record: RepairRecord) -> RepairRecord | None:
        """Replace a record, unless another writer came between."""
        standing = await self.get(record.id)
        if standing is None or standing.revision != record.revision:
            return None
        replaced = record.replace(revision=record.revision + 1)
        self._rows.records[record.id] = replaced.to_text()
        return replaced

    async def all(self) -> list[RepairRecord]:
        """Return all records."""
        return [RepairRecord.of_text(text) for text in self._rows.records.values()]

    async def put_steps(self, repair: str, chunk: int, steps: Sequence[RepairStep]) -> None:
        """Keep a chunk of a plan."""
        self._rows.steps.setdefault((repair, chunk), tuple(steps))

    async def steps(self, repair: str, chunk: int) -> list[RepairStep]:
        """Return a chunk of a plan."""
        return list(self._rows.steps.get((repair, chunk), ()))

    async def put_outcomes(self, repair: str, chunk: int, outcomes: Sequence[str]) -> list[str]:
        """Keep the outcomes of a chunk's first steps; return those that are kept."""
        if len(outcomes) > len(self._rows.outcomes.get((repair, chunk), ())):
            self._rows.outcomes[repair, chunk] = tuple(outcomes)
        return list(self._rows.outcomes.get((repair, chunk), ()))

    async def outcomes(self, repair: str, chunk: int) -> list[str]:
        """Return the outcomes of a chunk's first steps."""
        return list(self._rows.outcomes.get((repair, chunk), ()))

    async def remove(self, record: RepairRecord) -> None:
        """Remove a record with all that lies beside it."""
        for kept in (self._rows.steps, self._rows.outcomes):
            for repair, chunk in [each for each in kept if each[0] == record.id]:
                del kept[repair, chunk]
        self._rows.records.pop(record.id, None)
