"""ADR 0023: an event says all that its operation changes, whatever the domain; what points write stays as it was."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from crossfade.core.protocol.events import PublishedEvent, decode_events
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.protocol.keyed.operation import Operation, Verb, build_operation
from crossfade.core.protocol.keyed.perform import Reason, perform, why_refused
from crossfade.core.protocol.keyed.writes import Operate
from crossfade.core.protocol.writing import Applied
from crossfade.core.replication.feed import decode_published, encode_published
from crossfade.core.values import image as wire
from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.image import of_list
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind, points_operation
from operation_cases import MAPPING, operations, verbs
from ownership_cases import KEY, SEED, number, stamped, ulid

SHAPE = MAPPING.shape(Side.SOURCE)
ROOM = 10**24
ROW = stamped(Side.SOURCE, Role.ACTIVE, 2, content=tuple((name, number(ROOM)) for name in ("lent", "on_hand")))


def unbound(op: Operation) -> Operation:
    """The same operation without limits: what it does, and not whether it may."""
    return replace(op, verb=op.verb._replace(at_least=(), at_most=()), least=(), most=())


def does(op: Operation) -> tuple[object, ...]:
    """What an operation does, told from the operation itself."""
    return (op.verb, tuple(map(Decimal, op.amounts)), tuple(canonical_value(raw) for raw in op.values))


def respelled(events: bytes) -> bytes:
    """The same value as another engine gives it back: spaced, its map in another order."""
    spelled = json.loads(events)
    for event in spelled["L"]:
        event["M"] = dict(reversed(event["M"].items()))
    return json.dumps(spelled, indent=1).encode()


@given(st.data(), verbs())
def test_a_retry_is_a_mismatch_exactly_where_it_would_do_something_else(data: st.DataObject, verb: Verb) -> None:
    same_verb = operations(verb=verb)
    done, asked = (unbound(data.draw(each)) for each in (same_verb, st.one_of(same_verb, operations())))
    asked = build_operation(
        KEY, asked.verb, done.transaction_id, SEED, amounts=asked.amounts, values=asked.values, reason="other words"
    )
    answer = perform(Operate(KEY, done, 32), ROW, SHAPE)
    assert isinstance(answer, Applied)
    for after in (answer.item, answer.item._replace(events=respelled(answer.item.events))):
        assert why_refused(done, after, SHAPE, soft=32) is Reason.REPLAY
        expected = Reason.REPLAY if does(done) == does(asked) else Reason.MISMATCH
        assert why_refused(asked, after, SHAPE, soft=32) is expected


@given(operations())
def test_a_published_event_says_what_each_attribute_was_changed_by(op: Operation) -> None:
    (event,) = decode_events(of_list(map(Raw, op.events)))
    published = PublishedEvent(KEY, SEED + 1, 0, 0, event)
    came = decode_published(encode_published(published)).event
    assert came == event
    assert came.kind == op.verb.name
    assert abs(came.delta) < 2**63, "more than a consumer's whole number holds"
    if not came.changes:
        assert [Decimal(came.delta)] == [Decimal(amount) for amount in op.amounts or (0,)]
        return
    assert came.delta == 0
    told = dict(came.changes)
    assert list(told) == [*op.verb.adds, *op.verb.sets]
    assert [wire.decimal(Raw(told[name])) for name in op.verb.adds] == [Decimal(amount) for amount in op.amounts]
    assert [told[name] for name in op.verb.sets] == list(op.values)


def test_the_events_of_points_are_byte_for_byte_what_they_were() -> None:
    """A row, and a reader of the feed, know nothing of this release."""
    tail = b'"reason":{"S":"cheer"},"txn":{"B":"AZrEU4gAAAAAAAAAAAAAAQ=="},"trace":{"S":"00-aa-bb-01"}}}'
    heads = {Kind.EARN: b'"earn"},"delta":{"N":"3"},', Kind.SPEND: b'"spend"},"delta":{"N":"-3"},'}
    heads[Kind.DELETE] = b'"delete"},"delta":{"N":"0"},'
    for kind, head in heads.items():
        op = points_operation(kind, KEY, ulid(1), 3, SEED, reason="cheer", traceparent="00-aa-bb-01")
        assert op.events == (b'{"M":{"kind":{"S":' + head + tail,)
        (event,) = decode_events(of_list(map(Raw, op.events)))
        body = json.loads(encode_published(PublishedEvent(KEY, SEED + 1, 0, SEED, event)))
        assert body == {
            "key": json.loads(KEY),
            "version": str(SEED + 1),
            "index": 0,
            "previous": str(SEED),
            "kind": kind.value,
            "delta": event.delta,
            "reason": "cheer",
            "transaction_id": ulid(1).hex(),
            "traceparent": "00-aa-bb-01",
        }
