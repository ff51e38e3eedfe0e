"""Pages of what was found: buckets, and the keys of a class or of a bucket. Each answer does a bounded amount of work.

From a bucket that differs to its keys, and from a key to its attributes: /parity/buckets, /parity/differences?bucket=,
/keys/{key}.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, NamedTuple

from crossfade.contracts.key import CalledReport
from crossfade.contracts.parity import Bucket, BucketPage, BucketSum, CalledBy, DifferencePage, KeyDifference
from crossfade.core.parity.classes import Difference
from crossfade.core.parity.meaning import CURE, MEANS
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.http import invalid
from crossfade_verifier.called import CalledKeys
from crossfade_verifier.continuous import Continuous
from crossfade_verifier.findings import Findings, When
from crossfade_verifier.keytext import short_of
from crossfade_verifier.passes import Passes
from crossfade_verifier.reading.digests import bucket_of

LOOKED_AT: Final = 2_000
"""Keys that one answer looks at, to find those of a bucket: a page may be short although more follow."""

AT_ONCE: Final = 10_000
"""Keys that are sorted in one go, about 5 ms; others run before the next ones are."""

IN_ONE_GO: Final = 200
"""Keys of a page that are described in one go."""

_ORDER: Final[list[Difference]] = [each for each in Difference if each is not Difference.EQUAL]


class _Source(NamedTuple):
    """Something that called keys: a pass that has ended, a unit of the one that is running, or the continuous mode.

    Attributes:
        pass_id: of the pass; empty for the continuous mode.
        found: the keys.
    """

    pass_id: str
    found: Findings | CalledKeys

    @property
    def by(self) -> CalledBy:
        """Which mode it is."""
        return "continuous" if isinstance(self.found, CalledKeys) else "sweep"

    def when(self, key: Key, each: Difference) -> When | None:
        """Return when it called a key in a class; None where it didn't."""
        if not isinstance(self.found, CalledKeys):
            return self.found.called_keys.get(each, {}).get(key)
        known = self.found.of(key)
        return When(known.first_us, known.last_us) if known is not None and known.found is each else None

    def counts(self) -> Mapping[Difference, int]:
        """Return the number of its keys by class."""
        return self.found.drift if isinstance(self.found, CalledKeys) else self.found.book.by_class

    def samples(self, each: Difference) -> dict[Key, dict[str, Any]]:
        """Return what is shown of some keys of a class; the continuous mode knows it of each key."""
        if isinstance(self.found, CalledKeys):
            return {}
        return {Key(sample["key"].encode()): sample for sample in self.found.samples.get(each, ())}


class _Sorted(NamedTuple):
    """The keys that one part of a pass called in one class, in order.

    Attributes:
        part: of the pass; kept, so that its `id` names nothing else.
        keys: its keys of the class.
    """

    part: Findings
    keys: list[Key]


class _Called(NamedTuple):
    """One called key, and where it was found.

    Attributes:
        key: encoded.
        place: number of the source; of several that called the key, the first counts.
    """

    key: Key
    place: int


class Listing:
    """Lists what the passes found."""

    def __init__(self, passes: Passes, continuous: Continuous, buckets: int, clock: Clock) -> None:
        """Take both modes, the number of buckets, and the clock of the process."""
        self._passes, self._continuous, self._buckets, self._clock = passes, continuous, buckets, clock
        self._sorted: dict[tuple[int, Difference], _Sorted] = {}

    def buckets(self, *, after: int | None, limit: int, differing: bool) -> BucketPage:
        """Return a page of buckets, as the last pass counted them and the continuous mode knows them now.

        Args:
            after: number of the last one seen; None for the first page.
            limit: of the page.
            differing: only those in which the tables differed then, or differ now.
        """
        last = self._passes.last
        found = last.findings if last else None
        if last is None or found is None:
            return BucketPage(self._buckets, 0, "", None, None, [], None)
        differ, off = set(found.differing), set(self._continuous.off)
        called = Counter(bucket_of(key, self._buckets) for key in self._continuous.differing)
        numbers = sorted(differ | off | called.keys()) if differing else range(found.limits.buckets)
        start = 0 if after is None else bisect_right(numbers, after)
        page = numbers[start : start + limit]
        sums = {side: list(found.digests[side].buckets()) for side in Side}
        clean = self._passes.last_clean
        return BucketPage(
            count=found.limits.buckets,
            differing=len(differ),
            pass_id=last.id,
            counted_us=str(last.record.ended_us),
            rebased_us=str(clean.record.ended_us) if clean is not None and self._continuous.sums.based else None,
            buckets=[
                Bucket(
                    each,
                    _sum(sums[Side.SOURCE][each]),
                    _sum(sums[Side.TARGET][each]),
                    each in differ,
                    called[each],
                    each in off,
                )
                for each in page
            ],
            next=page[-1] if page and start + limit < len(numbers) else None,
        )

    async def differences(
        self, *, found: str | None, bucket: int | None, after: str | None, limit: int
    ) -> DifferencePage:
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
        begin, behind = _place(after, wanted) if after is not None else (wanted[0], None)
        sources = self._sources()
        page: list[KeyDifference] = []
        left, last = LOOKED_AT, ""
        for each in wanted[wanted.index(begin) :]:
            samples = ChainMap(*(source.samples(each) for source in sources))
            for key, place in _once(await self._in_order(sources, each, behind)):
                if len(page) == limit or not left:
                    return _page(sources, page, last)
                left, last = left - 1, f"{each.value}:{key.decode()}"
                number = bucket_of(key, self._buckets)
                callers = [source for source in sources[place:] if source.when(key, each)]
                if bucket in (None, number) and callers:  # the continuous mode may have found it equal meanwhile
                    page.append(_described(key, each, number, callers, samples.get(key)))
                if not left % IN_ONE_GO:
                    await self._clock.sleep(0)
            behind = None
        return _page(sources, page, None)

    def called(self, key: Key) -> Sequence[CalledReport]:
        """Return what was called of a key: of each class and mode, where it was called last."""
        found: dict[tuple[Difference, CalledBy], CalledReport] = {}
        for source in self._sources():
            for each in _ORDER:
                when = source.when(key, each)
                if when is not None and (each, source.by) not in found:
                    found[each, source.by] = CalledReport(each.value, *_times([when]), source.by, source.pass_id)
        return list(found.values())

    def _sources(self) -> list[_Source]:
        """Return who called keys, whoever knows most lately first."""
        swept = (_Source(pass_id, part) for pass_id, part in self._passes.parts())
        return [_Source("", self._continuous.differing), *swept]

    async def _in_order(self, sources: Sequence[_Source], each: Difference, behind: Key | None) -> Iterator[_Called]:
        """Return the keys of a class in order; those of several sources come once for each."""
        lists = [await self._sorted_keys(source.found, each) for source in sources]
        here = {id(source.found) for source in sources}
        self._sorted = {place: known for place, known in self._sorted.items() if place[0] in here}
        return merge(*(_behind(keys, behind, place) for place, keys in enumerate(lists)))

    async def _sorted_keys(self, part: Findings | CalledKeys, each: Difference) -> list[Key]:
        """Return keys of a class in order; those of a pass only come, so the same number of them are the same."""
        if isinstance(part, CalledKeys):
            return [key for key, _ in part.in_order(each)]
        keys = part.called_keys.get(each, {})
        known = self._sorted.get((id(part), each))
        if known is None or len(known.keys) != len(keys):
            known = self._sorted[id(part), each] = _Sorted(part, await self._sort(list(keys)))
        return known.keys

    async def _sort(self, keys: list[Key]) -> list[Key]:
        if len(keys) <= AT_ONCE:
            return sorted(keys)
        runs, found = [], list[Key]()
        for start in range(0, len(keys), AT_ONCE):
            runs.append(sorted(keys[start : start + AT_ONCE]))
            await self._clock.sleep(0)
        in_order = merge(*runs)
        while some := list(islice(in_order, AT_ONCE)):
            found += some
            await self._clock.sleep(0)
        return found


def _behind(keys: list[Key], key: Key | None, place: int) -> Iterator[_Called]:
    start = 0 if key is None else bisect_right(keys, key)
    return (_Called(each, place) for each in islice(keys, start, None))


def _once(keys: Iterator[_Called]) -> Iterator[_Called]:
    last: Key | None = None
    for each in keys:
        if each.key != last:
            last = each.key
            yield each


def _page(sources: Sequence[_Source], page: list[KeyDifference], last: str | None) -> DifferencePage:
    classes = dict.fromkeys(each.found for each in page)
    return DifferencePage(
        counts=_counts(sources),
        means={each: MEANS[Difference(each)] for each in classes},
        cures={each: CURE[Difference(each)] for each in classes},
        differences=page,
        next=last,
    )


def _counts(sources: Sequence[_Source]) -> dict[str, int]:
    """Return keys by class: a pass has each key in one of its parts, but several passes may have called the same."""
    by_pass: dict[str, Counter[Difference]] = {}
    for source in sources:
        by_pass.setdefault(source.pass_id, Counter()).update(source.counts())
    most = {each: max((counts[each] for counts in by_pass.values()), default=0) for each in _ORDER}
    return {each.value: count for each, count in most.items() if count}


def _described(
    key: Key, each: Difference, bucket: int, callers: Sequence[_Source], sample: dict[str, Any] | None
) -> KeyDifference:
    """Describe a key that somebody called; the first of them knows most lately."""
    first = callers[0]
    known = first.found.of(key) if isinstance(first.found, CalledKeys) else None
    shown = sample if known is None else known.shown
    first_us, last_us = _times([when for source in callers if (when := source.when(key, each)) is not None])
    return KeyDifference(
        key=key.decode(),
        short=short_of(key),
        found=each.value,
        cause=str((shown or {}).get("cause", "")),
        bucket=bucket,
        first_seen_us=first_us,
        last_seen_us=last_us,
        called_by=first.by,
        pass_id=first.pass_id,
        sample=shown,
    )


def _times(whens: Sequence[When]) -> tuple[str | None, str | None]:
    first_us, last_us = min(each.first_us for each in whens), max(each.last_us for each in whens)
    return str(first_us) if first_us else None, str(last_us) if last_us else None


def _sum(bucket: tuple[int, int]) -> BucketSum:
    digest, count = bucket
    return BucketSum(count, f"{digest:032x}")


def _place(after: str, wanted: Sequence[Difference]) -> tuple[Difference, Key]:
    name, _, key = after.partition(":")
    place = next((each for each in wanted if each.value == name), None)
    if place is None or not key.startswith("["):
        raise invalid(f"after: must be `next` of the page before, with the same class, not {after[:80]!r}")
    return place, Key(key.encode())
