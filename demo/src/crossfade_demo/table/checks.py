"""The claims of `make demo-table`, from what the application's own tools and plain AWS calls say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from crossfade_demo.checks import Check, check
from crossfade_demo.pace import MOST
from crossfade_demo.store import Row

OURS: Final = "cf_"

Keys: TypeAlias = Mapping[str, tuple[str, ...]]
"""Key attributes of each index."""


def check_book(flip: str, code: int, told: Mapping[str, Any]) -> Check:
    """The application's book equals the table that owns, row by row.

    Args:
        flip: after which the two were compared.
        code: of `orders.book`.
        told: what it said.
    """
    wrong = [f"{kind}: {each}" for kind in ("lost", "risen", "different") for each in told.get(kind, ["not said"])]
    if code and not wrong:
        wrong = [f"orders.book ended with {code}"]
    claim = f"after the {flip} the application's book equals the table that owns, row by row"
    compared = told.get("compared", {})
    if not compared.get("there"):
        wrong.append("no row was compared")
    name = f"book_after_{flip.replace(' ', '_')}"
    return check(name, claim, wrong, rows=compared.get("there"), loose=told.get("loose"))


def check_errors(told: Mapping[str, Any]) -> Check:
    """The application's only errors are refusals inside the stops that were announced to it."""
    wrong = [f"error: {each}" for each in told["errors"]]
    if told["outside"]:
        wrong.append(f"{told['outside']} writes were refused outside an announced stop")
    if not told["applied"]:
        wrong.append("nothing was written")
    return check(
        "errors_in_stops_only",
        "the application's only errors are refusals for maintenance, inside the announced stops",
        wrong,
        writes=told["applied"],
        refused=told["held"],
    )


def check_stops(stops_s: Sequence[float], flips: int, bound_s: float, *, slowness: float) -> Check:
    """Each flip stopped writes once, and not for long: the bound is one of an idle machine, and grows `MOST` times."""
    wrong = [] if len(stops_s) == flips else [f"{len(stops_s)} stops for {flips} flips"]
    late = [f"writes were stopped for {each:.1f} s" for each in stops_s if each > bound_s * slowness]
    return check(
        "write_stops",
        f"each flip stopped writes once, for at most {bound_s:g} s on an idle machine",
        wrong + late,
        too_busy=slowness >= MOST and not wrong,
        longest_s=max(stops_s, default=None),
        stops_s=list(stops_s),
    )


def check_clean(rows: Sequence[Row]) -> Check:
    """Nothing of Crossfade is left in the table that owns."""
    left = Counter(name for row in rows for name in row if name.startswith(OURS))
    wrong = [f"{name} in {count} rows" for name, count in left.items()] or ([] if rows else ["no rows"])
    return check("clean", "after `crossfade clean` no row has anything of Crossfade's in it", wrong, rows=len(rows))


def check_indexes(rows: Sequence[Row], indexed: Mapping[str, Sequence[Row]], keys: Keys) -> Check:
    """Each index of the new table has the rows that have its keys, and no others.

    Args:
        rows: of the table.
        indexed: rows of each index.
        keys: key attributes of each index.
    """
    wrong = []
    for name, names in keys.items():
        wanted = {key_of(row) for row in rows if all(each in row for each in names)}
        found = {key_of(row) for row in indexed.get(name, [])}
        if wanted != found or not wanted:
            wrong.append(f"{name}: {len(found)} rows, {len(wanted)} wanted")
    claim = "the new table's indexes, one of them sparse, have their rows and no others"
    return check("indexes", claim, wrong, found={name: len(each) for name, each in indexed.items()})


def key_of(row: Row) -> tuple[str, str]:
    """Return the key of an order's row."""
    return row["customer"]["S"], row["entry"]["S"]
