"""Pages of what was found: buckets, and the keys of a class or of a bucket. Each answer does a bounded amount of work.

From a bucket that differs to its keys, and from a key to its attributes: /parity/buckets, /parity/differences?bucket=,
/keys/{key}.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from crossfade.contracts.key import CalledReport
from crossfade.contracts.parity import Bucket, BucketPage, BucketSum, DifferencePage, KeyDifference
from crossfade.core.parity.classes import Difference
from crossfade.core.parity.meaning import CURE, MEANS
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.runtime.http import invalid
from crossfade_verifier.called import Called, CalledKeys
from crossfade_verifier.findings import Findings, When
from crossfade_verifier.keytext import short_of
from crossfade_verifier.passes import Passes
from crossfade_verifier.reading.digests import bucket_of

LOOKED_AT: Final = 5_000
"""Keys that one answer looks at, to find those of a bucket: a page may be short although more follow."""

_ORDER: Final[list[Difference]] = [each for each in Difference if each is not Difference.EQUAL]


class Listing:
    """Lists what the passes found."""

    def __init__(self, passes: Passes, buckets: int) -> None:
        """Take the passes, and the number of buckets."""
        self._passes, self._buckets = passes, buckets
        self._sorted: dict[Difference, list[Key]] = {}

    def buckets(self, *, after: int | None, limit: int, differing: bool) -> BucketPage:
        """Return a page of buckets, as the last pass counted them.

        Args:
            after: number of the last one seen; None for the first page.
            limit: of the page.
            differing: only those in which the tables differ.
        """
        last = self._passes.last
        found = last.findings if last else None
        if last is None or found is None:
            return BucketPage(count=self._buckets, differing=0, pass_id="", rebased_us=None, buckets=[], next=None)
        differ = set(found.differing)
        numbers = sorted(differ) if differing else range(found.limits.buckets)
        start = 0 if after is None else bisect_right(numbers, after)
        page = numbers[start : start + limit]
        sums = {side: dict(zip(page, _some(found, side, page), strict=True)) for side in Side}
        return BucketPage(
            count=found.limits.buckets,
            differing=len(differ),
            pass_id=last.id,
            rebased_us=None,
            buckets=[Bucket(each, sums[Side.SOURCE][each], sums[Side.TARGET][each], each in differ) for each in page],
            next=page[-1] if page and start + limit < len(numbers) else None,
        )

    def differences(self, *, found: str | None, bucket: int | None, after: str | None, limit: int) -> DifferencePage:
        """Return a page of called keys, by class and key.

        Args:
            found: only this class; None for all.
            bucket: only this bucket; None for all.
            after: `next` of the page before; None for the first page.
            limit: of the page.

        Raises:
            HttpRefused: 400, `after` is no such thing.
        """
        wanted = _ORDER if found is None else [Difference(found)]
        begin, key = _place(after, wanted) if after is not None else (wanted[0], None)
        page: list[KeyDifference] = []
        left, next_one = LOOKED_AT, None
        for each in wanted[wanted.index(begin) :]:
            keys = self._keys(each)
            start = 0 if key is None else bisect_right(keys, key)
            key = None
            for one in islice(keys, start, None):
                if len(page) == limit or not left:
                    break
                left -= 1
                next_one = f"{each.value}:{one.decode()}"
                if bucket is None or bucket_of(one, self._buckets) == bucket:
                    page.append(self._described(each, one))
            else:
                continue
            break
        else:
            next_one = None
        classes = dict.fromkeys(each.found for each in page)
        return DifferencePage(
            counts=self._counts(),
            means={each: MEANS[Difference(each)] for each in classes},
            cures={each: CURE[Difference(each)] for each in classes},
            differences=page,
            next=next_one,
        )

    def called(self, key: Key) -> Sequence[CalledReport]:
        """Return what was called of a key."""
        heard = self._heard(key)
        found = [] if heard is None else [_by_streams(heard)]
        return found + [
            CalledReport(each.value, str(when.first_us), str(when.last_us), "sweep", pass_id)
            for each in _ORDER
            for pass_id, when in self._when(each, key)
        ]

    def _heard(self, key: Key) -> Called | None:
        """Return what the streams brought to light of a key."""
        return None if self._passes.heard is None else self._passes.heard.of(key)

    def _findings(self) -> list[tuple[str, Findings | CalledKeys]]:
        last, running = self._passes.last, self._passes.running
        ended: list[tuple[str, Findings | CalledKeys]]
        ended = [(last.id, last.findings)] if last is not None and last.findings is not None else []
        called = self._passes.called
        return [(running.id if running and isinstance(each, Findings) else "", each) for each in called] + ended

    def _keys(self, each: Difference) -> list[Key]:
        """Return the keys of a class, sorted; keys that have come are few, so that sorting again costs little."""
        known, kept = self._passes.keys_of(each), self._sorted.get(each, [])
        if len(kept) != len(known) or set(kept) != set(known):
            self._sorted[each] = sorted(known)
        return self._sorted.get(each, [])

    def _counts(self) -> dict[str, int]:
        found = [each for _, each in self._findings()]
        counts = {each: max((one.book.by_class.get(each, 0) for one in found), default=0) for each in _ORDER}
        return {each.value: count for each, count in counts.items() if count}

    def _described(self, each: Difference, key: Key) -> KeyDifference:
        sample, heard = self._sample(each, key), self._heard(key)
        by = _by_streams(heard) if heard is not None and heard.found is each else None
        pass_id, when = next(iter(self._when(each, key)), ("", None))
        return KeyDifference(
            key=key.decode(),
            short=short_of(key),
            found=each.value,
            cause=str((sample or {}).get("cause", "")),
            bucket=bucket_of(key, self._buckets),
            first_seen_us=by.first_seen_us if by else str(when.first_us) if when else None,
            last_seen_us=by.last_seen_us if by else str(when.last_us) if when else None,
            called_by="continuous" if by else "sweep",
            pass_id=pass_id,
            sample=sample,
        )

    def _when(self, each: Difference, key: Key) -> list[tuple[str, When]]:
        """Return the passes that called a key, the latest first, and when."""
        found = [(pass_id, one) for pass_id, one in self._findings() if isinstance(one, Findings)]
        passes = ((pass_id, one.called_keys.get(each, {}).get(key)) for pass_id, one in found)
        return [(pass_id, when) for pass_id, when in passes if when is not None]

    def _sample(self, each: Difference, key: Key) -> dict[str, Any] | None:
        text = key.decode()
        samples = (sample for _, one in self._findings() for sample in one.samples.get(each, ()))
        return next((sample for sample in samples if sample["key"] == text), None)


def _by_streams(called: Called) -> CalledReport:
    return CalledReport(called.found.value, str(called.first_us), str(called.last_us), "continuous", "")


def _some(found: Findings, side: Side, numbers: Sequence[int]) -> list[BucketSum]:
    sums = list(found.digests[side].buckets())
    return [BucketSum(sums[each][1], f"{sums[each][0]:032x}") for each in numbers]


def _place(after: str, wanted: Sequence[Difference]) -> tuple[Difference, Key]:
    name, _, key = after.partition(":")
    place = next((each for each in wanted if each.value == name), None)
    if place is None or not key.startswith("["):
        raise invalid(f"after: must be `next` of the page before, with the same class, not {after[:80]!r}")
    return place, Key(key.encode())
