"""The answer about a repair, with a page of its steps."""

from __future__ import annotations

import msgspec

from crossfade.contracts.repairs import OPEN, RepairRecord, RepairReport, RowSeen, StepReport
from crossfade.ports.repairs import CHUNK, RepairStore


async def repair_report(store: RepairStore, record: RepairRecord, *, after: int = 0, limit: int = 0) -> RepairReport:
    """Return the answer about a repair.

    Args:
        store: has its steps, and what became of them.
        record: of the repair.
        after: number of the step before the page.
        limit: most steps of the page; 0 for none.
    """
    steps = await _page(store, record, after, limit)
    last = steps[-1].number if steps else record.keys
    rate = record.done / (record.worked_us / 1e6) if record.done and record.worked_us else None
    left = record.keys - record.done
    return RepairReport(
        id=record.id,
        state=record.state,
        because=record.because,
        asked=record.asked,
        planned_by=record.planned_by,
        planned_at_us=str(record.planned_us),
        expires_at_us=str(record.expires_us),
        keys=record.keys,
        writes=record.writes,
        by_class=record.by_class,
        by_action=record.by_action,
        left=record.left,
        go_on=record.go_on,
        executed_by=record.executed_by,
        cancelled_by=record.cancelled_by,
        begun_at_us=str(record.begun_us) if record.begun_us else None,
        ended_at_us=str(record.ended_us) if record.ended_us else None,
        pace=record.pace_per_s,
        done=record.done,
        outcomes=record.outcomes,
        rate_per_s=None if rate is None else round(rate, 2),
        eta_s=round(left / rate, 1) if rate and left and record.state in OPEN else None,
        verifier=record.pod,
        steps=steps,
        next=last if last < record.keys else None,
    )


def _shown(row: RowSeen | None) -> RowSeen | None:
    """Leave out the digest: whoever knows most of a row could find the rest by trying."""
    return None if row is None else msgspec.structs.replace(row, state="")


async def _page(store: RepairStore, record: RepairRecord, after: int, limit: int) -> list[StepReport]:
    steps: list[StepReport] = []
    chunk = after // CHUNK
    while len(steps) < limit and chunk * CHUNK < record.keys:
        planned = await store.steps(record.id, chunk)
        if not planned:
            break  # it is still being planned
        outcomes = await store.outcomes(record.id, chunk) if chunk * CHUNK < record.done else []
        for place, step in enumerate(planned):
            if step.number > after and len(steps) < limit:
                fields = {name: getattr(step, name) for name in step.__struct_fields__}
                fields |= {"source": _shown(step.source), "target": _shown(step.target)}
                steps.append(StepReport(**fields, outcome=outcomes[place] if place < len(outcomes) else None))
        chunk += 1
    return steps
