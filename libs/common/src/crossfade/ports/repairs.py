"""Where plans of repair and their progress are kept, for all verifiers of a migration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from crossfade.contracts.repairs import RepairRecord, RepairStep

CHUNK: Final = 50
"""Steps that are stored together. A key takes 4 KB at most, an item of DynamoDB 400 KB."""

KEPT: Final = 100
"""Repairs that are kept; the oldest that nobody carries out go first."""


class RepairStore(Protocol):
    """Records by compare-and-swap; steps in chunks, which never change; outcomes, which only become more."""

    async def create(self, record: RepairRecord) -> None:
        """Keep a new record; its id is unique."""
        ...

    async def get(self, repair: str) -> RepairRecord | None:
        """Return a record by its id; None when there is none."""
        ...

    async def replace(self, record: RepairRecord) -> RepairRecord | None:
        """Replace a record, unless another writer came between.

        Args:
            record: as it was read, with other values; its revision is the one that was read.

        Returns:
            The record with its new revision; None when another writer came between: nothing was written.
        """
        ...

    async def all(self) -> list[RepairRecord]:
        """Return all records, in no order."""
        ...

    async def put_steps(self, repair: str, chunk: int, steps: Sequence[RepairStep]) -> None:
        """Keep a chunk of a plan; one that is there already stays as it is."""
        ...

    async def steps(self, repair: str, chunk: int) -> list[RepairStep]:
        """Return a chunk of a plan; empty when there is none."""
        ...

    async def put_outcomes(self, repair: str, chunk: int, outcomes: Sequence[str]) -> list[str]:
        """Keep the outcomes of a chunk's first steps; if as many or more are there already, those stay.

        Returns:
            Those that are kept.
        """
        ...

    async def outcomes(self, repair: str, chunk: int) -> list[str]:
        """Return the outcomes of a chunk's first steps."""
        ...

    async def remove(self, record: RepairRecord) -> None:
        """Remove a record with all its steps and outcomes."""
        ...
