"""Reading the bodies of successful answers."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from crossfade.core.values.errors import StoreUnavailable

T = TypeVar("T")


def read_answer(decoder: msgspec.json.Decoder[T], operation: str, body: bytes) -> T:
    """Decode a success.

    Raises:
        StoreUnavailable: the body isn't what the service promises. A write may have happened.
    """
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise StoreUnavailable(f"{operation}: unreadable answer: {error}") from error
