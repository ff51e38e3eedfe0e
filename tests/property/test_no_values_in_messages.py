"""No message has a customer's value in it (ADR 0039): whatever fails on a value says its type and size.

Messages go into logs, spans, dead letters, the journal, `/parity` and the list of rows that can't be mapped; cleaning
them there would be cleaning them in six places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from crossfade.core.mapping.facts import why_inexact
from crossfade.core.mapping.rules import _computed
from crossfade.core.protocol.limits import value_size
from crossfade.core.values import image as wire
from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.masking import described
from crossfade.core.values.numbers import normal_number
from crossfade.core.values.shape import Direction
from crossfade_verifier.reading.rows import _made
from crossfade_verifier.reading.states import respelled, spelled
from crossfade_verifier.reading.values import form_of, number_of, value_of
from engagement_migration import MAPPING
from engagement_migration.creation import created_ms_from_at
from engagement_migration.samples import legacy_wallet
from repository import ROOT

SECRET = "Hushhush7"
"""What stands for a customer's value; each value below has it, or digits that nobody would write by chance."""

DIGITS = "31415926535"
QUOTED = re.compile(rf"{SECRET}|{DIGITS}|SHVzaGh1c2g3", re.IGNORECASE)

VALUES = st.sampled_from(
    [
        {"S": SECRET},
        {"N": DIGITS},
        {"N": f"{DIGITS}.5"},
        {"N": f"{DIGITS}E99"},
        {"N": SECRET},
        {"N": DIGITS * 5},
        {"B": "SHVzaGh1c2g3"},
        {"B": SECRET + "?"},
        {"SS": [SECRET]},
        {"SS": SECRET},
        {"NS": [DIGITS, SECRET]},
        {"BS": ["SHVzaGh1c2g3", "SHVzaGh1c2g3?"]},
        {"L": [{"S": SECRET}, SECRET]},
        {"L": {"S": SECRET}},
        {"M": {SECRET: {"X": SECRET}}},
        {"M": {"a": SECRET}},
        {"BOOL": SECRET},
        {"NULL": SECRET},
        {SECRET: SECRET},
        {"S": SECRET, "N": DIGITS},
        SECRET,
        [SECRET],
        int(DIGITS),
    ]
)
RAW = VALUES.map(msgspec.json.encode) | st.just(f'{{"S":"{SECRET}'.encode()) | st.just(SECRET.encode() + b"\xff")

READERS: dict[str, Callable[[Any], object]] = {
    "number": lambda raw: wire.number(Raw(raw)),
    "amount": lambda raw: wire.amount(Raw(raw)),
    "decimal": lambda raw: wire.decimal(Raw(raw)),
    "string": lambda raw: wire.string(Raw(raw)),
    "binary": lambda raw: wire.binary(Raw(raw)),
    "binary_set": lambda raw: wire.binary_set(Raw(raw)),
    "boolean": lambda raw: wire.boolean(Raw(raw)),
    "list_of": lambda raw: wire.list_of(Raw(raw)),
    "map_of": lambda raw: wire.map_of(Raw(raw)),
    "decode_image": wire.decode_image,
    "canonical_value": canonical_value,
    "value_size": value_size,
    "value_of": value_of,
    "form_of": form_of,
    "spelled": spelled,
    "respelled": respelled,
    "normal_number": lambda raw: normal_number(raw.decode(errors="replace")),
    "number_of": lambda raw: number_of(raw.decode(errors="replace")),
    "created_ms_from_at": lambda raw: created_ms_from_at({"created_at": Raw(raw)}),
}


def said_by(call: Callable[[], object]) -> str:
    """Return what a failing call says; "" where it succeeds."""
    try:
        call()
    except PoisonRecord as error:
        return str(error)
    return ""


@pytest.mark.parametrize("reader", READERS)
@given(raw=RAW)
def test_what_can_not_read_a_value_does_not_quote_it(reader: str, raw: bytes) -> None:
    said = said_by(lambda: READERS[reader](raw))
    assert not QUOTED.search(said), said


@given(raw=RAW)
def test_a_description_has_nothing_of_the_value(raw: bytes) -> None:
    assert not QUOTED.search(described(raw))
    assert not QUOTED.search(why_inexact(["points"], {"points": Raw(raw)}))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"S": "Grüße"}, "S of 5 characters"),
        ({"N": "-1.50"}, "N of 5 characters"),
        ({"B": "AAEC"}, "B of 3 bytes"),
        ({"B": "AA=="}, "B of 1 bytes"),
        ({"BOOL": True}, "BOOL"),
        ({"NULL": True}, "NULL"),
        ({"M": {"a": {"S": "x"}}}, "M of 1 entries"),
        ({"L": []}, "L of 0 members"),
        ({"SS": ["a", "b"]}, "SS of 2 members"),
        ({"S": 7}, "no S"),
        ({"X": "7"}, "no attribute value"),
        ("7", "no attribute value"),
    ],
)
def test_a_value_is_described_by_type_and_size(value: object, said: str) -> None:
    assert described(msgspec.json.encode(value)) == described(value) == said
    assert described(b"{") == "1 bytes that aren't JSON"


def _fails(_given: Image) -> Image:
    raise ValueError(f"{SECRET} is not what it should be")


WALLET = legacy_wallet("7", "1", 10)
GIVEN = {"a": Raw(b'{"N":"1"}')}


@given(raw=RAW, name=st.sampled_from(sorted(WALLET.keys() - {"pk", "sk"})))
def test_a_row_that_does_not_map_is_described_by_the_attributes_name(raw: bytes, name: str) -> None:
    said = said_by(lambda: MAPPING.carry(Direction.FORWARD, WALLET | {name: Raw(raw)}))
    assert not QUOTED.search(said), said


def test_a_constant_that_is_another_one_is_described() -> None:
    with pytest.raises(PoisonRecord, match=r'must be {"S":"ENGAGEMENT"}, it is S of 9 characters$'):
        MAPPING.carry(Direction.FORWARD, WALLET | {"wallet_type": wire.of_string(SECRET)})


def test_what_an_authors_function_says_is_not_repeated() -> None:
    with pytest.raises(PoisonRecord, match=r"^can't compute from a: ValueError$"):
        _computed(_fails, GIVEN, ("a",), frozenset("b"))
    with pytest.raises(PoisonRecord, match=r"^can't compute from a: ValueError$"):
        _made(_fails, GIVEN, ("a",))


# ---- and the code: whoever writes a new message ----------------------------------------------------

MESSAGE = re.compile(r"PoisonRecord\((?:[^()]|\([^()]*\))*\{(?:bytes\()?(?:value|raw|inner|found|given)\b[^}]*\}")


def quoting(sources: Mapping[str, str]) -> set[str]:
    return {name for name, text in sources.items() if MESSAGE.search(text)}


def test_no_poison_record_quotes_a_value() -> None:
    folders = [
        "libs/common/src",
        *(f"services/{each.name}/src" for each in (ROOT / "services").iterdir()),
        "migrations",
    ]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    found = quoting({path.name: path.read_text() for path in files})
    assert found == {"item.py"}, "the role, which is ours"


def test_the_check_for_quotes_can_fail() -> None:
    assert quoting({"x.py": 'raise PoisonRecord(f"expected {kind}, got {bytes(value)[:80]!r}")'}) == {"x.py"}
    assert quoting({"x.py": 'raise PoisonRecord(f"expected {kind}, got {described(value)}")'}) == set()
