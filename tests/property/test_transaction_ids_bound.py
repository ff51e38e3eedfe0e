"""ADR 0023: a transaction id is bound to what it did, as far as the row can tell; a true retry is never a mismatch.

Histories of one wallet: operations, true retries and false ones, on pods that aim anywhere, with trims, deletes, merges
of a stray's change and lifts between them. The model knows what each id did.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.ownership.decisions import Outcome
from crossfade.core.protocol.keyed.item import Role, is_active
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Lift, Merge, Write
from crossfade.core.protocol.writing import Applied
from crossfade.core.values.shape import Side
from engagement_api.operations import BALANCE, Kind
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, number, operation, ulid
from ownership_tables import IMPORTED, ROW, L, Tables
from property_examples import examples

IDS = [ulid(n, age_ms=n * 20_000) for n in range(5)]
"""The older ones are old enough to be trimmed."""

PAYLOADS = [(Kind.EARN, 3), (Kind.EARN, 4), (Kind.SPEND, 3), (Kind.DELETE, 0)]


class Step(NamedTuple):
    """An operation by a pod that aims somewhere; or, with no id, what others do to the owner's row meanwhile."""

    transaction: int | None
    payload: int
    side: Side
    generation: int
    soft: int


STEPS = st.lists(
    st.builds(
        Step,
        st.one_of(st.none(), st.integers(0, len(IDS) - 1), st.integers(0, len(IDS) - 1)),
        st.integers(0, len(PAYLOADS) - 1),
        st.sampled_from(list(Side)),
        st.sampled_from([0, 2, 4, 6]),
        st.sampled_from([2, 32]),
    ),
    max_size=14,
)


def _even_by_side(side: Side, generation: int) -> int:
    """A generation has one target forever: 4 is the source table's, 2 and 6 are the target's."""
    return generation if generation == 0 or (generation == 4) == (side is L) else 0


def _operation(id_: bytes, payload: int) -> Operation:
    kind, amount = PAYLOADS[payload]
    return operation(kind, amount, transaction_id=id_)


def _meanwhile(tables: Tables, step: int) -> None:
    for side in Side:
        item = tables.items[side]
        if item is None or item.role is not Role.ACTIVE or not is_active(item, side):
            continue
        shape = MAPPING.shape(side)
        merge = Merge(KEY, item.version, SEED, b"\xff" * 15 + bytes([step]), ((shape.own(BALANCE), number(50)),), ())
        writes: list[Write] = [merge, Lift(KEY, item.version, (item.version or SEED) + 7)]
        for write in writes[step % 2 :]:
            answer = perform(write, tables.items[side], shape)
            if isinstance(answer, Applied):
                tables.items[side] = answer.item


@settings(max_examples=examples(300), deadline=None)
@given(STEPS, st.booleans())
def test_a_true_retry_is_never_a_mismatch_and_no_other_payload_is_ever_applied(steps: list[Step], copied: bool) -> None:
    tables = Tables(ROW, IMPORTED if copied else None)
    did: dict[bytes, int] = {}
    last: bytes | None = None
    for number_, step in enumerate(steps):
        tables.asked.clear()
        if step.transaction is None:
            _meanwhile(tables, number_)
            continue
        id_ = IDS[step.transaction]
        done = tables.run(
            step.side, _even_by_side(step.side, step.generation), _operation(id_, step.payload), soft=step.soft
        )
        if done.outcome is Outcome.APPLIED:
            assert id_ not in did
            did[id_], last = step.payload, id_
        elif id_ not in did:
            assert done.outcome not in (Outcome.REPLAYED, Outcome.MISMATCH)
        elif did[id_] == step.payload:
            assert done.outcome is not Outcome.MISMATCH
        elif id_ == last:
            assert done.outcome is Outcome.MISMATCH
        else:
            assert done.outcome in (Outcome.MISMATCH, Outcome.REPLAYED, Outcome.EXPIRED, Outcome.FULL)
