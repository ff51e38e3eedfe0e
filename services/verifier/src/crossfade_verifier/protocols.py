"""Which reading a mapping's rows want: told by what its protocol writes into rows (ADR 0046)."""

from __future__ import annotations

from typing import cast

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side
from crossfade_verifier.reading import plain, rows
from crossfade_verifier.reading.alone import Alone
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import Reading
from crossfade_verifier.reading.plain import PlainReading, PlainRows, Ways
from crossfade_verifier.reading.plain_alone import PlainAlone
from crossfade_verifier.reading.sums import Layout


def is_plain(mapping: Mapping) -> bool:
    """Say whether one table owns all rows, and a map says which.

    Raises:
        ConfigError: the protocol writes other attributes into rows than any reading knows.
    """
    spelling = mapping.protocol.spelling
    own = frozenset((*spelling.own, *spelling.carried))
    if own == plain.ATTRIBUTES:
        return True
    if strange := sorted(rows.ATTRIBUTES.symmetric_difference(own)):
        raise ConfigError(
            f"the verifier can't read rows of the mapping {mapping.name!r}: its protocol and the verifier's "
            f"reading differ in {', '.join(strange)}; write a reading for that protocol (ADR 0035)"
        )
    return False


def reading_of(mapping: Mapping) -> Reading:
    """Return the reading of a mapping's rows. Errors as of `is_plain`."""
    return PlainReading(mapping.declared, ways_of(mapping)) if is_plain(mapping) else Reading(mapping.declared)


def ways_of(mapping: Mapping) -> Ways | None:
    """Return the ways between the keys of a mapping; None where keys keep their values."""
    to_source = mapping.declared.source_key
    if to_source is None:
        return None
    return Ways(
        to_source,
        lambda key: mapping.other_key(Direction.FORWARD, Key(key), None),
        lambda key: mapping.belongs_at(Side.TARGET, Key(key)),
        mapping.shape(Side.TARGET).kept,
    )


def rows_at_rest(reading: Reading, *, complete: bool) -> OwnRows:
    """Return what reads rows of one past moment; `complete`: the target table owns what doesn't tell otherwise."""
    if isinstance(reading, PlainReading):
        return cast("OwnRows", PlainRows(lambda: Side.TARGET if complete else Side.SOURCE))  # it answers alike
    return OwnRows(complete)


def alone_of(reading: Reading, side: Side, layout: Layout, *, buckets: int, complete: bool) -> Alone | PlainAlone:
    """Return what sums up one side's rows; arguments as of `Alone`."""
    if isinstance(reading, PlainReading):
        return PlainAlone(reading, side, buckets=buckets)
    return Alone(reading, side, layout, buckets=buckets, complete=complete)
