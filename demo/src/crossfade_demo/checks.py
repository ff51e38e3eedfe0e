"""The checks at the end: every claim of the report, from the books and the demo's own reading of the tables."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

from crossfade_demo.book import Book, Wallet, explains, total
from crossfade_demo.latency import Gap
from crossfade_demo.pace import MOST
from crossfade_demo.payments import Payments
from crossfade_demo.store import SOURCE, TARGET, Row, Store
from crossfade_demo.ulid import ulid_hex

SHOWN = 5

FIRST_REPLAYS = 0.01
"""Share of writes that may be called replays without having been sent before: an answer of the store that is lost makes
the API ask it again, and find its own write. That each was applied once is what the balances show."""


class Check(NamedTuple):
    """One claim and whether it held.

    Attributes:
        name: stable, for machines.
        claim: the sentence of the report.
        passed: whether it held.
        evidence: numbers that were compared.
        wrong: some of what contradicts it.
        too_busy: it didn't hold, but only in time, and beyond what the machine's slowness explains up to the bound.
    """

    name: str
    claim: str
    passed: bool
    evidence: dict[str, Any]
    wrong: list[str]
    too_busy: bool = False


def check(name: str, claim: str, wrong: list[str], *, too_busy: bool = False, **evidence: Any) -> Check:
    """Return a check that passes when nothing is wrong.

    Args:
        name: for machines.
        claim: for people.
        wrong: what contradicts it.
        too_busy: what is wrong is a matter of time only, and the machine may be to blame. Never of a check of data.
        evidence: numbers that were compared.
    """
    return Check(name, claim, not wrong, evidence | {"wrong": len(wrong)}, wrong[:SHOWN], too_busy and bool(wrong))


def key_of(wallet: Wallet) -> tuple[str, str]:
    """Return the key of a wallet in either table."""
    return f"USER#{wallet[0]}", f"POINTS#{wallet[1]}"


class Owned(NamedTuple):
    """What both tables hold, by key.

    Attributes:
        balances: of the owner's row, of every key that has one.
        ambiguous: keys that both tables own.
        not_moved: rows that show that the target table doesn't own every key.
    """

    balances: dict[tuple[str, str], int]
    ambiguous: list[str]
    not_moved: list[str]


async def read_owners(store: Store, *, complete: bool) -> Owned:
    """Read both tables, and find the owner of each key by the rows alone.

    A key between the tables, standby in both, has its balance in the row with the higher generation.

    Args:
        store: to read with.
        complete: whether the flags say `complete`: a row without a role in the target table is then its owner's.
    """
    rows: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
    not_moved: list[str] = []
    for table, bare in ((SOURCE, "A"), (TARGET, "A" if complete else "S")):
        async for row in store.scan(table):
            key = row["pk"]["S"], row["sk"]["S"]
            if table == SOURCE and not key[1].startswith("POINTS#"):
                continue  # the other tenant's
            rows[key][table] = row | {"cf_role": row.get("cf_role", {"S": bare})}
            if table == TARGET and rows[key][table]["cf_role"]["S"] != "A":
                not_moved.append(f"{key} is standby in the target table")
            if table == SOURCE and rows[key][table]["cf_role"]["S"] != "S":
                not_moved.append(f"{key[0]} {key[1]} is active in the source table")
    found, ambiguous = {}, []
    for key, sides in rows.items():
        active = {table: row for table, row in sides.items() if row["cf_role"]["S"] == "A"}
        if len(active) > 1:
            ambiguous.append(f"{key} is active in both tables")
        of = active or sides
        table = max(of, key=lambda name: int(of[name].get("cf_gen", {"N": "0"})["N"]))
        deleted = of[table].get("cf_deleted", {}).get("BOOL", False)
        balance = of[table].get("balance" if table == SOURCE else "points", {"N": "0"})["N"]
        found[key] = 0 if deleted else int(balance)
    return Owned(found, ambiguous, not_moved)


async def check_balances(
    store: Store, books: list[Book], seeded: dict[Wallet, int], *, complete: bool = True
) -> list[Check]:
    """Compare the final balances, each in the table that owns its key, with the books; complete or not."""
    expected = dict(seeded)
    for wallet, delta in total(books).items():
        expected[wallet] = expected.get(wallet, 0) + delta
    unknown: dict[Wallet, list[int]] = defaultdict(list)
    for book in books:
        for each in book.unknown:
            unknown[each.wallet].append(each.delta)
    found, wrong, not_moved = await read_owners(store, complete=complete)
    for wallet, points in expected.items():
        balance = found.get(key_of(wallet), 0)
        if not explains(balance - points, unknown[wallet]):
            wrong.append(f"{wallet}: the books say {points}, the table {balance}, unknown {unknown[wallet]}")
    asked = set(map(key_of, expected))
    wrong += [f"{key} was never asked for" for key, points in found.items() if points and key not in asked]
    acknowledged = sum(len(book.acknowledged) for book in books)
    checks = [
        check(
            "acknowledged_once",
            "every acknowledged operation is in the final balances exactly once, no other one twice",
            wrong,
            acknowledged=acknowledged,
            unknown=sum(len(book.unknown) for book in books),
            wallets=len(expected),
        )
    ]
    if complete:
        moved = "the target table owns every key, the old one none"
        checks.append(check("all_keys_moved", moved, not_moved, keys=len(found)))
    return checks


@dataclass(frozen=True, slots=True)
class Published:
    """One event of the feed."""

    key: str
    version: int
    index: int
    previous: int
    transaction: str
    kind: str


def read_event(data: bytes) -> Published:
    """Decode an event as the feed publishes it."""
    said = json.loads(data)
    return Published(
        key=said["key"] if isinstance(said["key"], str) else json.dumps(said["key"], separators=(",", ":")),
        version=int(said["version"]),
        index=int(said["index"]),
        previous=int(said["previous"]),
        transaction=said["transaction_id"],
        kind=said["kind"],
    )


async def check_feed(store: Store, stream: str, books: list[Book], captured_s: float) -> Check:
    """Compare the feed, deduplicated by version, with the books, and follow each key's chain of previous versions.

    Args:
        store: to read the stream with.
        stream: of the feed.
        books: of the clients.
        captured_s: monotonic clock when the source table's change stream was known to be on. What was acknowledged
            before it left no change record, so the feed may lack it, but only before the first event of its wallet.
    """
    unique: dict[tuple[str, int, int], Published] = {}
    # Before the capture there is no stream, and nothing that it lacks.
    records = await store.stream(stream) if captured_s < float("inf") else []
    for record in records:
        event = read_event(record.data)
        unique.setdefault((event.key, event.version, event.index), event)
    chains = _chains(list(unique.values()))
    acknowledged = {ulid_hex(each.transaction_id): each for book in books for each in book.acknowledged}
    wrong = [sentence for key, chain in chains.items() for sentence in _breaks(key, chain)]
    times = Counter(event.transaction.lower() for event in unique.values())
    wrong += [f"transaction {txn} is in the feed {count} times" for txn, count in times.items() if count > 1]
    known = acknowledged.keys() | {ulid_hex(each.transaction_id) for book in books for each in book.unknown}
    wrong += [f"nobody asked for {txn}" for txn in times if txn not in known]
    before_capture = 0
    for txn, each in acknowledged.items():
        if txn in times:
            continue
        chain = chains.get(encoded_key(each.wallet))
        if each.at_s < captured_s and (not chain or each.version < chain[0].version):
            before_capture += 1
        else:
            wrong.append(f"{each} is not in the feed")
    return check(
        "feed_once_in_order",
        "the event feed, deduplicated by version, has each operation since capture began once and in order",
        wrong,
        records=len(records),
        events=len(unique),
        acknowledged=len(acknowledged),
        before_capture=before_capture,
    )


def encoded_key(wallet: Wallet) -> str:
    """Return the key of a wallet as events carry it."""
    return json.dumps([{"S": part} for part in key_of(wallet)], separators=(",", ":"))


def _chains(events: list[Published]) -> dict[str, list[Published]]:
    """Return each key's events in the order of their versions."""
    chains: dict[str, list[Published]] = defaultdict(list)
    for event in sorted(events, key=lambda each: (each.version, each.index)):
        chains[event.key].append(event)
    return chains


def _breaks(key: str, chain: list[Published]) -> list[str]:
    """Each write's events name the version of the key's events before it: a gap, or a stray event, breaks the chain."""
    return [
        f"{key}: {event.version} follows {event.previous}, the feed has {before.version} before it"
        for before, event in itertools.pairwise(chain)
        if event.version != before.version and event.previous != before.version
    ]


async def check_payments(payments: Payments) -> Check:
    """Compare the payments system's rows with its own book."""
    return check(
        "payments_untouched",
        "no row of the payments system is in the target table, and none in the old one was changed",
        await payments.differences(),
        transactions=payments.written,
        failed=payments.failed,
    )


def check_calls(books: list[Book], gap: Gap, bound_s: float) -> Check:
    """No call failed or was answered wrongly, and successful ones never paused long enough to be called downtime."""
    wrong = [sentence for book in books for sentence in book.wrong]
    late = [sentence for book in books for sentence in book.late]
    acknowledged = sum(len(book.acknowledged) for book in books)
    first_replays = sum(book.first_replays for book in books)
    if first_replays > FIRST_REPLAYS * acknowledged:
        wrong.append(f"{first_replays} of {acknowledged} first calls were called replays")
    if gap.worked_s > bound_s:
        said = f"no call succeeded for {gap.by_clock_s:.1f} s, which is {gap.worked_s:.1f} s on an idle machine"
        (late if gap.slowness > MOST else wrong).append(said)
    calls = [each for book in books for each in book.calls]
    return check(
        "no_downtime",
        f"no client call failed, and some call succeeded at least every {bound_s:.0f} s",
        wrong + late,
        too_busy=not wrong,
        calls=len(calls),
        failed=sum(not each.ok for each in calls),
        retried=sum(book.retried for book in books),
        first_calls_called_replays=first_replays,
        asked_again_after_success=sum(book.replays_asked for book in books),
        refused_for_too_few_points=sum(book.refused for book in books),
        longest_gap_s=round(gap.by_clock_s, 3),
        longest_gap_idle_s=round(gap.worked_s, 3),
    )


def rows_behind(rows: dict[tuple[str, str], Row], wanted: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Return the keys whose row has not reached the wanted version."""
    return {
        key: version
        for key, version in wanted.items()
        if key not in rows or int(rows[key].get("cf_mv", {"N": "0"})["N"]) < version
    }
