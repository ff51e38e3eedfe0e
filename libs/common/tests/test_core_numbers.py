"""One spelling for every number, exactly, at 38 digits."""

import pytest

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import decode_image
from crossfade.core.values.keys import encode_key
from crossfade.core.values.numbers import normal_number


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("007.50", "7.5"),
        ("75e-1", "7.5"),
        ("-0", "0"),
        ("0.000", "0"),
        ("1E+3", "1000"),
        ("-12.0", "-12"),
        ("100", "100"),
        ("0.05", "0.05"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ("12345678901234567890123456789012345678.0", "12345678901234567890123456789012345678"),
        ("1.2345678901234567890123456789012345678e2", "123.45678901234567890123456789012345678"),
    ],
)
def test_numbers_have_one_spelling(text: str, normal: str) -> None:
    assert normal_number(text) == normal


@pytest.mark.parametrize("text", ["", "seven", "NaN", "Infinity", "1" * 39, "0x1f"])
def test_what_dynamodb_would_not_store_is_refused_instead_of_rounded(text: str) -> None:
    with pytest.raises(PoisonRecord):
        normal_number(text)


def test_a_key_of_38_digits_is_not_rounded() -> None:
    image = decode_image(b'{"id":{"N":"12345678901234567890123456789012345678.0"}}')
    assert encode_key(image, ("id",)) == b'[{"N":"12345678901234567890123456789012345678"}]'
