"""Which records yield events, and what an event looks like in the feed stream (design.md, section 3, Events)."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from apply_cases import EVENT, KEY, TXN, V, change, protocol, source, target
from crossfade.core.protocol.events import Event, PublishedEvent
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.replication.feed import decode_published, encode_published, partition_key
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Side


def found(new_image: Image | None, old_image: Image | None, side: Side = Side.SOURCE) -> list[PublishedEvent]:
    return events_of(change(new_image, old_image, side=side), side)


def test_an_owner_write_yields_its_events_and_names_the_one_before() -> None:
    events = found(source(**protocol(V, "A", 1, V)), source(**protocol(V - 1, "A", 1, V - 4)))
    assert events == [PublishedEvent(KEY, V, 0, V - 4, Event("earn", 5, "watch", TXN, "00-aa-bb-01"))]


def test_a_first_write_has_no_event_before_it() -> None:
    assert found(source(**protocol(V, "A", 0, V)), None)[0].previous == 0
    assert found(source(**protocol(V, "A", 0, V)), source())[0].previous == 0


def test_a_folded_write_yields_each_of_its_events_in_order() -> None:
    image = source(**protocol(V, "A", 1, V)) | {"cf_events": wire.of_list([EVENT, EVENT, EVENT])}
    events = found(image, source(**protocol(V - 1, "A", 1, V - 1)))
    assert [each.index for each in events] == [0, 1, 2]
    assert {each.previous for each in events} == {V - 1}


def test_a_delete_yields_its_event() -> None:
    assert found(source(**protocol(V, "A", 1, V, deleted=True)), source(**protocol(V - 1, "A", 1, V - 1)))


def test_an_event_is_not_repeated_at_the_handover() -> None:
    """Seal, activation, lift and re-seal raise the version, but not the version of the event."""
    before = protocol(V, "A", 1, V)
    assert found(source(**protocol(V + 1, "S", 2, V)), source(**before)) == []
    assert found(target(**protocol(V + 2, "A", 2, V)), target(**protocol(V, "S", 0, V)), Side.TARGET) == []
    assert found(source(**protocol(V + 9, "A", 1, V)), source(**before)) == []


def test_a_copy_on_the_standby_yields_nothing() -> None:
    assert found(target(**protocol(V, "S", 0, V)), target(**protocol(V - 1, "S", 0, V - 1)), Side.TARGET) == []
    assert found(target(**protocol(V, "S", 0, V)), None, Side.TARGET) == []


def test_a_stray_at_the_version_of_an_event_does_not_repeat_it() -> None:
    assert found(source(KEY, 9, **protocol(V, "A", 1, V)), source(KEY, 5, **protocol(V, "A", 1, V))) == []


def test_a_removal_yields_nothing() -> None:
    assert found(None, source(**protocol(V, "A", 1, V))) == []


def test_an_unstamped_row_yields_nothing() -> None:
    assert found(source(), None) == []


def test_a_row_without_a_role_is_active_only_in_the_source_table() -> None:
    image = protocol(V, "", 0, V)
    assert len(found(source(**image), None)) == 1
    assert found(target(**image), None, Side.TARGET) == []


def test_events_that_can_not_be_read_are_poison() -> None:
    image = source(**protocol(V, "A", 1, V))
    with pytest.raises(PoisonRecord):
        found(image | {"cf_events": Raw(b'{"L":[{"M":{"kind":{"S":"earn"}}}]}')}, None)
    with pytest.raises(PoisonRecord, match="no cf_events"):
        found({name: raw for name, raw in image.items() if name != "cf_events"}, None)


EVENT_7 = PublishedEvent(KEY, V, 2, V - 1, Event("spend", -3, 'a "gift"', TXN, ""))


def test_a_published_event_comes_back_as_it_was() -> None:
    assert decode_published(encode_published(EVENT_7)) == EVENT_7


def test_versions_are_text_in_json_so_that_no_reader_rounds_them() -> None:
    body = json.loads(encode_published(EVENT_7))
    assert (body["version"], body["previous"]) == (str(V), str(V - 1))
    assert int(float(V)) != V, "the version of this test must be one that a float can't hold"


@pytest.mark.parametrize("raw", [b"", b"{}", encode_published(EVENT_7).replace(str(V).encode(), b"twelve")])
def test_what_is_no_published_event_is_refused(raw: bytes) -> None:
    with pytest.raises(PoisonRecord):
        decode_published(raw)


def test_the_partition_key_is_the_encoded_key_and_a_hash_where_that_is_too_long() -> None:
    assert partition_key(KEY) == KEY.decode()
    long, longer = key_of_strings("USER#" + "x" * 300, "P"), key_of_strings("USER#" + "x" * 301, "P")
    assert len(partition_key(long)) <= 256
    assert partition_key(long) == partition_key(long) != partition_key(longer)
