"""The source table as the demo finds it: engagement wallets in use for years, with no protocol attribute on any row."""

from __future__ import annotations

from random import Random
from typing import Final

from crossfade_demo.book import Wallet
from crossfade_demo.store import Row

TTL: Final = "expires_at"
CHANNELS: Final = 40
FAR_FUTURE_S: Final = 4_102_444_800  # 2100-01-01: rows with a TTL, none of which may expire or lose it


def users_of(count: int) -> list[str]:
    """Return the users of so many wallets: about two wallets each."""
    return [f"user-{number:06d}" for number in range(max(1, count // 2))]


def wallet_rows(count: int, random: Random) -> dict[Wallet, Row]:
    """Return engagement wallets, some with optional attributes and some with a TTL."""
    users = users_of(count)
    rows: dict[Wallet, Row] = {}
    while len(rows) < count:
        wallet = (random.choice(users), f"chan-{random.randrange(CHANNELS):03d}")
        row: Row = {
            "pk": {"S": f"USER#{wallet[0]}"},
            "sk": {"S": f"POINTS#{wallet[1]}"},
            "balance": {"N": str(random.randint(0, 5_000))},
            "wallet_type": {"S": "ENGAGEMENT"},
        }
        if random.random() < 0.5:
            row["created_at"] = {"S": f"20{random.randint(10, 25)}-03-04T05:06:07.{random.randint(0, 999):03d}Z"}
        if random.random() < 0.2:
            row["badges"] = {"SS": sorted(random.sample(["first-cheer", "moderator", "founder", "raider"], 2))}
        if random.random() < 0.1:
            row["tier"] = {"S": random.choice(["gold", "silver"])}
        if random.random() < 0.1:
            row[TTL] = {"N": str(FAR_FUTURE_S + random.randint(0, 10**6))}
        rows[wallet] = row
    return rows
