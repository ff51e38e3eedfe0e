"""Scopes in which the plain protocol is exhausted: each has faults of one kind, so that all of them stay small."""

from __future__ import annotations

from typing import Final

from crossfade.core.values.shape import Side
from faults_worlds import BEGIN_US, EXPIRED, Record, Scope, holding

S, T = Side.SOURCE, Side.TARGET
LONG_AGO: Final = Record(S, BEGIN_US - 3_600_000_000, None, holding(9))
"""A put from before the export of a row that was deleted before it, too."""

SMALL: Final = {
    "records shuffled and twice": Scope(start=holding(3), writes=2, flips=0, twice=1),
    "equal commit times": Scope(start=holding(3), ops=("p2", "p4", "d"), writes=2, flips=0, step_us=0, members=(S, S)),
    "equal commit times, and the owner is asked": Scope(
        start=holding(3), ops=("p2", "p4", "p5"), in_order=True, writes=3, flips=0, step_us=0, members=(S, S)
    ),
    "near commit times": Scope(start=holding(3), ops=("p2", "p4", "d"), writes=2, flips=0, step_us=300_000),
    "a flip": Scope(start=holding(3), writes=2),
    "a flip, near": Scope(start=None, writes=2, step_us=300_000),
    "updates keep a fence": Scope(start=holding(3), ops=("u2", "u4", "d"), writes=2),
    "a row is put back with an old fence": Scope(start=holding(3), ops=("p2", "b4"), writes=2),
    "a row is put back as it was": Scope(start=holding(3), ops=("p2", "b3"), in_order=True, writes=2, flips=0),
    "there and back": Scope(start=holding(3), ops=("p2",), writes=2, flips=2, holds=2),
    "there and back, a delete": Scope(start=holding(3), ops=("d",), writes=1, flips=2, holds=2),
    "a late record": Scope(start=holding(3), ops=("p2", "u4"), writes=2, late=1),
    "a late delete": Scope(start=holding(3), ops=("d", "u4"), writes=2, late=1),
    "a late record, twice": Scope(start=holding(3), ops=("p2",), writes=2, late=1, twice=1),
    "a record that never comes": Scope(start=holding(3), ops=("p2", "u4", "d"), writes=2, gone=1),
    "a record that never comes, and a flip back": Scope(
        start=holding(3), ops=("p2",), writes=1, flips=2, holds=2, gone=1
    ),
    "changed and changed back before a late copy": Scope(
        start=holding(3), ops=("p2", "p4", "p3"), in_order=True, writes=3, late=1
    ),
    "a worker dies": Scope(start=holding(3), ops=("p2", "p4"), in_order=True, writes=2, members=(S, S), deaths=1),
    "a worker joins": Scope(
        start=holding(3), ops=("p2", "p4"), in_order=True, writes=2, members=(S,), joins=1, twice=1
    ),
    "an attempt is given up": Scope(start=holding(3), ops=("p2",), writes=2, holds=2, give_ups=1),
    "two coordinators": Scope(start=holding(3), ops=("p2",), writes=1, holds=2, coordinators=2, members=(S,)),
    "two coordinators, and an attempt is given up": Scope(
        start=holding(3), ops=("p2",), writes=0, holds=2, coordinators=2, members=(S,), give_ups=1
    ),
    "a stray": Scope(start=holding(3), ops=("p2",), writes=1, strays=1),
    "the TTL on both sides": Scope(start=holding(EXPIRED), ops=("p2",), writes=1, expiries=1),
    "an old duplicate": Scope(start=None, ops=("p2",), writes=1, flips=0, twice=1, old=(LONG_AGO,)),
}

LARGE: Final = {
    "put back after a flip, and back": Scope(
        start=holding(3), ops=("d", "p2"), in_order=True, writes=2, flips=2, holds=2
    ),
    "two coordinators, and two writes": Scope(
        start=holding(3), ops=("p2", "p4"), in_order=True, writes=2, holds=2, coordinators=2, members=(S,)
    ),
    "three writes": Scope(start=holding(3), ops=("p2", "u4", "d"), writes=3),
    "there and back, late": Scope(start=holding(3), ops=("p2", "d"), writes=2, flips=2, holds=2, late=1),
    "a late record, twice, and a death": Scope(
        start=holding(3), ops=("p2", "u4"), writes=2, members=(S, S, T), late=1, deaths=1
    ),
    "a record that never comes, there and back": Scope(
        start=holding(3), ops=("p2", "u4"), writes=2, flips=2, holds=2, gone=1
    ),
}
"""Left to `make test-slow`."""
