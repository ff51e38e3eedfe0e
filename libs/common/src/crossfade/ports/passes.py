"""Where passes of the verifier are kept: their records, the units' leases and checkpoints, and spilled rows.

All of a migration's verifiers share one store: whoever has time takes a unit, and a unit whose holder was killed goes
on from its last checkpoint. Every write that two of them could make at once is conditional; the loser learns it from
the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from crossfade.contracts.passes import HISTORY, PassRecord, UnitRecord

HEAD_BYTES: Final = 64_000
"""Most bytes of a unit's head, as JSON."""


class PassStore(Protocol):
    """The passes of one migration."""

    async def begin(self, record: PassRecord) -> PassRecord:
        """Keep the record of a new pass, unless one has not ended yet.

        Returns:
            The pass that has not ended: the new one, or the one that was there before.
        """
        ...

    async def running(self) -> PassRecord | None:
        """Return the pass that has not ended; None when there is none."""
        ...

    async def change(self, record: PassRecord, result: bytes | None = None) -> PassRecord | None:
        """Replace a pass's record. Once its state is one in which it has ended, its units can't be taken any more.

        Args:
            record: as it was read, with other values; its revision is that of the one it replaces.
            result: what the pass found, of any size; None to keep what was there.

        Returns:
            The record with its new revision; None when another writer came between: nothing was written.
        """
        ...

    async def get(self, pass_id: str) -> PassRecord | None:
        """Return a pass; None when it isn't kept."""
        ...

    async def result(self, pass_id: str) -> bytes | None:
        """Return what a pass found, as `change` was given it last; None when there is nothing."""
        ...

    async def history(self, limit: int = HISTORY) -> list[PassRecord]:
        """Return the last passes, newest first."""
        ...

    async def units(self, record: PassRecord) -> list[UnitRecord]:
        """Return all units of a pass, scan units first, in order; those that nobody has taken yet have counter 0."""
        ...

    async def claim(self, unit: UnitRecord, holder: str) -> UnitRecord | None:
        """Take an open unit. The caller judges, on its own clock, that it is free or that its beat stood still.

        Args:
            unit: as it was watched: the claim holds only while counter and beat are those.
            holder: who takes it; unique per start of a process.

        Returns:
            The unit as it is held now; None when another was faster, its holder is alive, or the pass has ended.
        """
        ...

    async def beat(self, unit: UnitRecord) -> UnitRecord:
        """Show that a held unit is worked at.

        Raises:
            LeaseLost: another holds it, or the pass was ended and forgotten.
        """
        ...

    async def release(self, unit: UnitRecord) -> None:
        """Give up a held unit at a clean stop, so that the next holder needn't wait; nothing if another holds it."""
        ...

    async def save(
        self, unit: UnitRecord, head: Mapping[str, Any], body: bytes, *, saved_us: int, done: bool = False
    ) -> UnitRecord:
        """Save the checkpoint of a held unit: readers see the old one or the new one, never a mixture. Also a beat.

        Args:
            unit: as it is held.
            head: progress, small (at most `HEAD_BYTES` as JSON).
            body: what the next holder goes on from, of any size.
            saved_us: wall clock, µs.
            done: this is its end.

        Raises:
            LeaseLost: another holds it, or the pass was ended and forgotten; nothing was changed.
        """
        ...

    async def body(self, unit: UnitRecord) -> bytes | None:
        """Return the body of the unit's last checkpoint, which may be newer than `unit`; None before the first."""
        ...

    async def put_blob(self, pass_id: str, name: str, content: bytes) -> None:
        """Keep rows that are spilled; one of the same name is replaced at once and whole.

        There is no lease here: a holder that lost its unit may still write. Put unit and counter into the name, and the
        names that count into the checkpoint.
        """
        ...

    async def blobs(self, pass_id: str, prefix: str = "") -> list[str]:
        """Return the names of a pass's blobs that begin with a prefix, in order."""
        ...

    async def blob(self, pass_id: str, name: str) -> bytes | None:
        """Return a blob; None when there is none."""
        ...

    async def forget(self, pass_id: str) -> None:
        """Remove units, checkpoints and blobs of a pass that has ended, and records beyond `HISTORY`.

        Its record and its result stay. Safe to call again, also after an earlier call was cut short; a record that it
        has finished with is `forgotten`.
        """
        ...
