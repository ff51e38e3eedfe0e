"""Row and record sizes of a sample against the limits: of an item, which a fence makes longer, and of a record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

ITEM_BYTES: Final = 400 * 1024
"""Of one item at most (DynamoDB developer guide, quotas)."""

RECORD_BYTES: Final = 1024 * 1024
RECORD_MOST_BYTES: Final = 10 * RECORD_BYTES
"""Of one record of a Kinesis stream: by default, and after UpdateMaxRecordSize."""

FRAME_BYTES: Final = 600
"""Of a change record, beside its images: names, key, ids, times."""


class Row(NamedTuple):
    """A sampled row.

    Attributes:
        key: the encoded key, as text.
        item_bytes: as DynamoDB counts, key included.
        json_bytes: of its DynamoDB JSON, where binary is base64 and a name is written out: a record has two images.
    """

    key: str
    item_bytes: int
    json_bytes: int

    @property
    def record_bytes(self) -> int:
        """Of a record with this row as both images."""
        return 2 * self.json_bytes + FRAME_BYTES


class Sizes(NamedTuple):
    """What the sample says of sizes. Lists have the first ones only.

    Attributes:
        rows: rows of the sample.
        largest_item_bytes: of the largest row.
        largest_record_bytes: of the largest record.
        fence_bytes: that a standby's row has more than its owner's.
        limit_bytes: of a record, as the stream is, or will be.
        wide: rows that fit, but not with a fence.
        wide_count: how many.
        skipped: rows whose record the stream doesn't take.
        skipped_count: how many.
    """

    rows: int
    largest_item_bytes: int
    largest_record_bytes: int
    fence_bytes: int
    limit_bytes: int
    wide: tuple[str, ...]
    wide_count: int
    skipped: tuple[str, ...]
    skipped_count: int

    def as_json(self) -> dict[str, Any]:
        """Return them as JSON."""
        return {**self._asdict(), "wide": list(self.wide), "skipped": list(self.skipped)}

    @property
    def sentences(self) -> tuple[str, ...]:
        """Say what they mean."""
        said = [
            f"the largest of {self.rows} sampled rows has {self.largest_item_bytes:,} bytes of {ITEM_BYTES:,}; a fence "
            f"adds {self.fence_bytes}",
            f"the largest record has {self.largest_record_bytes:,} bytes; the stream takes {self.limit_bytes:,}",
        ]
        if self.wide_count:
            said.append(
                f"{self.wide_count} rows have no room for a fence: nothing writes them before the hold, which copies "
                f"them one by one: {'; '.join(self.wide)}"
            )
        if self.skipped_count and self.limit_bytes < RECORD_MOST_BYTES:
            said.append(
                f"{self.skipped_count} rows make records that the stream drops in silence: {'; '.join(self.skipped)}. "
                f"Raise its limit: aws kinesis update-max-record-size --max-record-size-in-ki-b 10240"
            )
        elif self.largest_record_bytes > RECORD_BYTES:
            said.append(
                "AWS doesn't say whether DynamoDB's own writer uses the raised limit: the verifier's pass and the "
                "compare of each flip find what no record brought"
            )
        return tuple(said)


SHOWN: Final = 5


def sizes(rows: Iterable[Row], *, fence_bytes: int, limit_bytes: int = RECORD_BYTES) -> Sizes:
    """Hold a sample against the limits.

    Args:
        rows: of the sample.
        fence_bytes: that the protocol adds to a standby's row.
        limit_bytes: of a record in the source's change stream.
    """
    listed = list(rows)
    wide = [each for each in listed if ITEM_BYTES - fence_bytes < each.item_bytes <= ITEM_BYTES]
    skipped = [each for each in listed if each.record_bytes > limit_bytes]
    return Sizes(
        rows=len(listed),
        largest_item_bytes=max((each.item_bytes for each in listed), default=0),
        largest_record_bytes=max((each.record_bytes for each in listed), default=0),
        fence_bytes=fence_bytes,
        limit_bytes=limit_bytes,
        wide=tuple(f"{each.key} ({each.item_bytes:,} bytes)" for each in wide[:SHOWN]),
        wide_count=len(wide),
        skipped=tuple(f"{each.key} ({each.record_bytes:,} bytes)" for each in skipped[:SHOWN]),
        skipped_count=len(skipped),
    )
