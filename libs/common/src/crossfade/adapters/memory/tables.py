"""A table in memory: the shipped fake of both table ports, with the change records that a real one would send.

Its writes mean what `core.protocol.keyed.perform` and `core.protocol.keyed.fence` say. What it keeps are images of raw
values, so whatever reads it parses the same bytes as from DynamoDB. Strays, who know nothing of the protocol, use `put`
and `delete`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from crossfade.core.ownership.ramp import ramp_point
from crossfade.core.protocol.keyed.fence import judge
from crossfade.core.protocol.keyed.fit import unfit_transfer
from crossfade.core.protocol.keyed.item import Item, build_image, parse_item
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.protocol.writing import Applied, Transfer, Unfit, Verdict
from crossfade.core.replication.change import ChangeKind, decode_change
from crossfade.core.values.image import Image, decode_image, encode_image
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import TableShape
from crossfade.ports.sending import Sent
from crossfade.ports.table import ScanPage


def _now_us() -> int:
    return time.time_ns() // 1000


def _all(_key: Key) -> bool:
    return True


def _takes_all(_write: Write) -> str:
    return ""


class MemoryTable:
    """One table. Implements `OwnedTable` and `TransferTable`.

    Attributes:
        images: what it holds, by encoded key.
        changes: every change record so far, as the bytes that a stream would carry.
        unfit: why it would never take a write; empty for one that it would.
    """

    def __init__(
        self,
        shape: TableShape,
        *,
        belongs: Callable[[Key], bool] = _all,
        unfit: Callable[[Write], str] = _takes_all,
        on_change: Callable[[bytes], None] | None = None,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        """Make an empty table.

        Args:
            shape: what it looks like.
            belongs: which rows are the migration's; the others are never returned by a scan.
            unfit: why the table would never take a write; empty when it would.
            on_change: called with each change record.
            now_us: wall clock of the commit times, µs.
        """
        self._shape = shape
        self._belongs = belongs
        self.unfit = unfit
        self._on_change = on_change
        self._now_us = now_us
        self._numbers = itertools.count(1)
        self.images: dict[Key, Image] = {}
        self.changes: list[bytes] = []

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        return self._shape

    def item(self, key: Key) -> Item | None:
        """Return an item as it stands, without a call."""
        image = self.images.get(key)
        return None if image is None else parse_item(image, self._shape)

    def put(self, image: Image) -> Key:
        """Replace a row as a writer outside the protocol does, whatever stood there; return its key."""
        key = encode_key(image, self._shape.key)
        self._store(key, image)
        return key

    def delete(self, key: Key) -> None:
        """Remove a row as a writer outside the protocol does."""
        self._store(key, None)

    def images_at(self, at_us: int) -> list[Image]:
        """Return the rows as they were at a moment, for an export (point-in-time recovery)."""
        found: dict[Key, Image] = {}
        for change in (decode_change(payload, self._shape.key) for payload in self.changes):
            if change.committed_us > at_us:
                break
            if change.new is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.new
        return list(found.values())

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        """Perform one write."""
        return self._perform(write)

    async def perform_many(self, writes: Sequence[Write]) -> list[Answer | Exception]:
        """Perform writes of different keys."""
        answers: list[Answer | Exception] = []
        for write in writes:
            try:
                answers.append(self._perform(write))
            except Exception as error:
                answers.append(error)
        return answers

    async def read(self, key: Key, *, consistent: bool = True) -> Item | None:
        """Read one item."""
        return self.item(key)

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, Item]:
        """Read items; keys without one are missing in the result."""
        found = ((key, self.item(key)) for key in keys)
        return {key: item for key, item in found if item is not None}

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> ScanPage[Item]:
        """Read one page, in the order of the encoded keys."""
        keys = sorted(
            key for key in self.images if ramp_point(key) % segments == segment and (start is None or key > start)
        )
        page = keys[:limit]
        found = ((key, self.item(key)) for key in page if self._belongs(key))
        items = [(key, item) for key, item in found if item is not None]
        return ScanPage(items, len(page), page[-1] if len(keys) > limit else None)

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        """See `crossfade.ports.table.Answers`; pages as those of `scan_page`."""
        after = None if start is None else encode_key(decode_image(start), self._shape.key)
        keys = sorted(
            key for key in self.images if ramp_point(key) % segments == segment and (after is None or key > after)
        )
        page = keys[:limit]
        answer: dict[str, object] = {"Items": [self.images[key] for key in page], "ScannedCount": len(page)}
        if len(keys) > limit:
            answer["LastEvaluatedKey"] = key_image(page[-1], self._shape.key)
        return msgspec.json.encode(answer)

    async def read_answers(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """See `crossfade.ports.table.Answers`."""
        found = (self.images.get(encode_key(decode_image(key), self._shape.key)) for key in keys)
        rows = [image for image in found if image is not None]
        return [msgspec.json.encode({"Responses": {self._shape.table: rows}, "UnprocessedKeys": {}})]

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        """Write transfers of different keys; one verdict each."""
        verdicts: list[Sent] = []
        for transfer in transfers:
            standing = self.item(transfer.key)
            judgement = judge(transfer, standing, self._shape)
            if judgement.verdict is Verdict.APPLIED and (
                cause := unfit_transfer(transfer, self._shape, standing=standing)
            ):
                verdicts.append(Unfit(cause))
                continue
            if judgement.verdict is Verdict.APPLIED and judgement.item is not None:
                self._write(transfer.key, judgement.item)
            verdicts.append(judgement.verdict)
        return verdicts

    def _perform(self, write: Write) -> Answer:
        because = self.unfit(write)
        if because:
            return Unfit(because)
        answer = perform(write, self.item(write.key), self._shape)
        if isinstance(answer, Applied):
            self._write(write.key, answer.item)
        return answer

    def _write(self, key: Key, item: Item) -> None:
        self._store(key, build_image(item, self._shape, key_image(key, self._shape.key)))

    def _store(self, key: Key, new: Image | None) -> None:
        old = self.images.get(key)
        if new is not None:
            self.images[key] = new
        elif old is not None:
            del self.images[key]
        if old != new:  # a write that changes nothing leaves no record
            self._emit(key, old, new)

    def _emit(self, key: Key, old: Image | None, new: Image | None) -> None:
        kind = ChangeKind.INSERT if old is None else ChangeKind.MODIFY if new is not None else ChangeKind.REMOVE
        size_bytes = sum(len(encode_image(image)) for image in (old, new) if image is not None)
        body = {
            "ApproximateCreationDateTime": self._now_us(),
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": key_image(key, self._shape.key),
            **({} if new is None else {"NewImage": new}),
            **({} if old is None else {"OldImage": old}),
            "SizeBytes": size_bytes,
        }
        record = {
            "awsRegion": "us-east-1",
            "eventID": f"{self._shape.table}-{next(self._numbers)}",
            "eventName": kind.value,
            "userIdentity": None,
            "recordFormat": "application/json",
            "tableName": self._shape.table,
            "dynamodb": body,
            "eventSource": "aws:dynamodb",
        }
        payload = msgspec.json.encode(record)
        self.changes.append(payload)
        if self._on_change is not None:
            self._on_change(payload)
