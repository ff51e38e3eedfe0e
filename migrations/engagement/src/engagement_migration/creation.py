"""When a wallet was created: ISO 8601 text in the source table, milliseconds since the epoch in the target."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# The only spelling that the way back produces; any other would come back changed.
_SPELLING: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def created_ms_from_at(source: Image) -> Image:
    """Compute `created_ms` from `created_at`.

    Raises:
        PoisonRecord: it is not spelled `2024-02-29T12:00:00.000Z`.
        ValueError: there is no such moment.
    """
    text = wire.string(source["created_at"])
    if not _SPELLING.fullmatch(text):
        raise PoisonRecord("created_at is not spelled like 2024-02-29T12:00:00.000Z")
    return {"created_ms": wire.of_number((datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND)}


def created_at_from_ms(new: Image) -> Image:
    """Compute `created_at` from `created_ms`.

    Raises:
        OverflowError: it lies outside the years 1 to 9999.
    """
    moment = _EPOCH + wire.number(new["created_ms"]) * _MILLISECOND
    return {"created_at": wire.of_string(moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"))}
