"""The verifier's passes in memory, with the store's own rules; held to them by the contract suite.

Two objects on one `PassRows` behave like two processes on one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossfade.contracts.passes import HISTORY, PassRecord, UnitKind, UnitRecord, fresh_units, surplus
from crossfade.core.values.errors import IllegalTransition, LeaseLost
from crossfade.ports.passes import HEAD_BYTES


@dataclass
class PassRows:
    """What the table holds."""

    records: dict[str, PassRecord] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)
    units: dict[tuple[str, UnitKind, int], UnitRecord] = field(default_factory=dict)
    bodies: dict[tuple[str, UnitKind, int], bytes] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)


def _key(unit: UnitRecord) -> tuple[str, UnitKind, int]:
    return unit.pass_id, unit.kind, unit.number


class MemoryPassStore:
    """`crossfade.ports.passes.PassStore` in memory."""

    def __init__(self, rows: PassRows | None = None) -> None:
        """Start empty, or on shared rows."""
        self._rows = rows if rows is not None else PassRows()

    async def begin(self, record: PassRecord) -> PassRecord:
        """See `PassStore.begin`."""
        there = await self.running()
        if there is not None:
            return there
        if record.id in self._rows.records:
            raise IllegalTransition(f"pass {record.id} has already been: a new pass needs a new id")
        # Through JSON, as a store would: what can't be written there must fail here, too.
        self._rows.records[record.id] = PassRecord.of_text(record.to_text())
        return record

    async def running(self) -> PassRecord | None:
        """See `PassStore.running`."""
        return next((each for each in self._rows.records.values() if not each.ended), None)

    async def change(self, record: PassRecord, result: bytes | None = None) -> PassRecord | None:
        """See `PassStore.change`."""
        was = self._rows.records.get(record.id)
        if was is None or was.revision != record.revision:
            return None
        if was.ended and not record.ended:
            raise IllegalTransition(f"pass {record.id} has ended ({was.state}): it can't be {record.state} again")
        changed = PassRecord.of_text(record.replace(revision=record.revision + 1).to_text())
        self._rows.records[record.id] = changed
        if result is not None:
            self._rows.results[record.id] = result
        return changed

    async def get(self, pass_id: str) -> PassRecord | None:
        """See `PassStore.get`."""
        return self._rows.records.get(pass_id)

    async def result(self, pass_id: str) -> bytes | None:
        """See `PassStore.result`."""
        return self._rows.results.get(pass_id)

    async def history(self, limit: int = HISTORY) -> list[PassRecord]:
        """See `PassStore.history`."""
        return self._newest_first()[:limit]

    def _newest_first(self) -> list[PassRecord]:
        return [self._rows.records[each] for each in sorted(self._rows.records, reverse=True)]

    async def units(self, record: PassRecord) -> list[UnitRecord]:
        """See `PassStore.units`."""
        return [self._rows.units.get(_key(each), each) for each in fresh_units(record)]

    async def claim(self, unit: UnitRecord, holder: str) -> UnitRecord | None:
        """See `PassStore.claim`."""
        record, there = self._rows.records.get(unit.pass_id), self._rows.units.get(_key(unit))
        seen = (there.counter, there.beat) if there is not None else (0, 0)
        if unit.state == "done" or record is None or record.ended or seen != (unit.counter, unit.beat):
            return None
        mine = (there or unit).replace(holder=holder, counter=unit.counter + 1, beat=unit.beat + 1)
        self._rows.units[_key(unit)] = mine
        return mine

    async def beat(self, unit: UnitRecord) -> UnitRecord:
        """See `PassStore.beat`."""
        there = self._held(unit)
        self._rows.units[_key(unit)] = beaten = there.replace(beat=there.beat + 1)
        return beaten

    async def release(self, unit: UnitRecord) -> None:
        """See `PassStore.release`."""
        try:
            there = self._held(unit)
        except LeaseLost:
            return
        self._rows.units[_key(unit)] = there.replace(beat=there.beat + 1, holder="")

    async def save(
        self, unit: UnitRecord, head: Mapping[str, Any], body: bytes, *, saved_us: int, done: bool = False
    ) -> UnitRecord:
        """See `PassStore.save`."""
        there = self._held(unit)
        saved = unit.replace(head=dict(head), saved_us=saved_us, state="done" if done else "open", beat=there.beat + 1)
        kept = UnitRecord.of_text(saved.to_text())
        if len(kept.replace(head={}).to_text()) + HEAD_BYTES < len(kept.to_text()):
            raise ValueError(f"{_name(unit)}: a head of more than {HEAD_BYTES} bytes; what is large goes into the body")
        self._rows.units[_key(unit)], self._rows.bodies[_key(unit)] = kept, body
        return kept

    async def body(self, unit: UnitRecord) -> bytes | None:
        """See `PassStore.body`."""
        return self._rows.bodies.get(_key(unit))

    async def put_blob(self, pass_id: str, name: str, content: bytes) -> None:
        """See `PassStore.put_blob`."""
        self._rows.blobs[pass_id, name] = content

    async def blobs(self, pass_id: str, prefix: str = "") -> list[str]:
        """See `PassStore.blobs`."""
        return sorted(name for each, name in self._rows.blobs if each == pass_id and name.startswith(prefix))

    async def blob(self, pass_id: str, name: str) -> bytes | None:
        """See `PassStore.blob`."""
        return self._rows.blobs.get((pass_id, name))

    async def forget(self, pass_id: str) -> None:
        """See `PassStore.forget`."""
        record = self._rows.records.get(pass_id)
        if record is not None and not record.ended:
            raise IllegalTransition(f"pass {pass_id} is {record.state}: only what has ended is forgotten")
        self._clear(pass_id)
        if record is not None and not record.forgotten:
            await self.change(record.replace(forgotten=True))
        for each in surplus(self._newest_first()):
            self._clear(each.id)
            del self._rows.records[each.id]
            self._rows.results.pop(each.id, None)

    def _clear(self, pass_id: str) -> None:
        for unit in [each for each in self._rows.units if each[0] == pass_id]:
            del self._rows.units[unit]
            self._rows.bodies.pop(unit, None)
        for blob in [each for each in self._rows.blobs if each[0] == pass_id]:
            del self._rows.blobs[blob]

    def _held(self, unit: UnitRecord) -> UnitRecord:
        there = self._rows.units.get(_key(unit))
        if there is None or (there.holder, there.counter) != (unit.holder, unit.counter):
            raise LeaseLost(f"{_name(unit)} is held by another one by now, or its pass was forgotten")
        return there


def _name(unit: UnitRecord) -> str:
    return f"{unit.kind} unit {unit.number} of pass {unit.pass_id}"
