"""The clients' own books: what each was told, kept apart from anything the system says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

Wallet: TypeAlias = tuple[str, str]
"""User and channel."""


class Attempted(NamedTuple):
    """An operation whose outcome the client never learned."""

    transaction_id: str
    wallet: Wallet
    delta: int


class Acknowledged(NamedTuple):
    """An operation that was acknowledged to the client.

    Attributes:
        transaction_id: its ULID.
        wallet: whose.
        delta: change of the balance.
        version: of the write, as the API answered.
        at_s: monotonic clock when the answer came.
    """

    transaction_id: str
    wallet: Wallet
    delta: int
    version: int
    at_s: float


class Call(NamedTuple):
    """One client call, retries included."""

    ended_s: float
    latency_s: float
    ok: bool


@dataclass(slots=True)
class Book:
    """Everything one client knows for sure, and what it does not."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    unknown: list[Attempted] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    refused: int = 0
    retried: int = 0
    replays_asked: int = 0
    first_replays: int = 0  # answered as a replay, though never sent before
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)  # given up on a machine that was too busy

    def deltas(self) -> dict[Wallet, int]:
        """Return the sum of acknowledged changes of each wallet."""
        sums: dict[Wallet, int] = {}
        for each in self.acknowledged:
            sums[each.wallet] = sums.get(each.wallet, 0) + each.delta
        return sums


def total(books: list[Book]) -> dict[Wallet, int]:
    """Return the sum of acknowledged changes of each wallet over all clients."""
    sums: dict[Wallet, int] = {}
    for book in books:
        for wallet, delta in book.deltas().items():
            sums[wallet] = sums.get(wallet, 0) + delta
    return sums


def explains(missing: int, unknown: list[int]) -> bool:
    """Say whether applying some of the unknown changes, each at most once, accounts for `missing`."""
    reachable = {0}
    for delta in unknown:
        reachable |= {each + delta for each in reachable}
    return missing in reachable
