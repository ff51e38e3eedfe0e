"""When two items have the same content, and where keys fall."""

import pytest

from crossfade.core.ownership.ramp import ramp_point
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.row import same_content
from crossfade.core.values.canonical import canonical_value, same_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.hashes import is_sampled
from crossfade.core.values.keys import key_of_strings


def item(points: bytes = b'{"N":"12"}', **more: object) -> Item:
    return Item(content=(("points", points),))._replace(**more)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"N":"27"}', b'{"N": "27.0"}'),
        (b'{"S":"caf\\u00e9"}', '{"S":"café"}'.encode()),
        (b'{"SS":["b","a"]}', b'{"SS":["a","b"]}'),
        (b'{"NS":["10","2"]}', b'{"NS":["2.0","1e1"]}'),
        (b'{"BS":["AA==","AQ=="]}', b'{"BS":["AQ==","AA=="]}'),
        (
            b'{"M":{"a":{"N":"1"},"b":{"L":[{"SS":["x","y"]}]}}}',
            b'{"M":{"b":{"L":[{"SS":["y","x"]}]},"a":{"N":"1.0"}}}',
        ),
        (b'{"L":[{"BOOL":true},{"NULL":true}]}', b'{"L": [{"BOOL": true}, {"NULL": true}]}'),
    ],
)
def test_one_value_in_two_spellings_is_the_same(one: bytes, other: bytes) -> None:
    assert one != other
    assert same_value(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"N":"1"}', b'{"S":"1"}'),
        (b'{"N":"12345678901234567890123456789012345678"}', b'{"N":"12345678901234567890123456789012345679"}'),
        (b'{"L":[{"N":"1"},{"N":"2"}]}', b'{"L":[{"N":"2"},{"N":"1"}]}'),
        (b'{"SS":["1"]}', b'{"NS":["1"]}'),
        (b'{"S":""}', b'{"NULL":true}'),
        (b'{"BOOL":true}', b'{"BOOL":false}'),
        (b'{"B":"AA=="}', b'{"B":"AQ=="}'),
        (b'{"M":{}}', b'{"M":{"a":{"NULL":true}}}'),
    ],
)
def test_different_values_are_different(one: bytes, other: bytes) -> None:
    assert not same_value(one, other)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"N":"x"}',
        b'{"N":7}',
        b'{"S":7}',
        b'{"BOOL":"true"}',
        b'{"Q":"1"}',
        b'{"B":"%%"}',
        b'{"S":"a","N":"1"}',
        b'{"M":[]}',
        b'{"SS":[1]}',
    ],
)
def test_what_is_no_attribute_value_is_a_poison_record(raw: bytes) -> None:
    with pytest.raises(PoisonRecord):
        canonical_value(raw)


def test_content_is_attributes_and_ttl_and_nothing_of_the_protocol() -> None:
    plain = item()
    assert same_content(plain, item(version=9, generation=3, recent=frozenset({b"x" * 16}), events=b'{"L":[]}'))
    assert not same_content(plain, item(ttl=b'{"N":"4102444800"}'))
    assert not same_content(plain, item(b'{"N":"13"}'))


def test_a_tombstone_equals_a_tombstone_and_never_a_live_item() -> None:
    assert same_content(item(deleted=True), Item(deleted=True))
    assert not same_content(Item(deleted=True), Item())
    assert not same_content(Item(), Item(deleted=True))


def test_sample_and_ramp_of_a_key_are_independent() -> None:
    keys = [key_of_strings(f"USER#{number}", "POINTS#c") for number in range(2000)]
    in_ramp = [key for key in keys if ramp_point(key) < 5000]
    sampled = sum(is_sampled(key, 500_000) for key in in_ramp)
    assert 0.4 < sampled / len(in_ramp) < 0.6


def test_a_sampled_key_stays_sampled_when_the_rate_rises() -> None:
    keys = [key_of_strings(f"USER#{number}", "POINTS#c") for number in range(500)]
    few = {key for key in keys if is_sampled(key, 100_000)}
    assert few
    assert few <= {key for key in keys if is_sampled(key, 200_000)}
