"""Sample rows of the shared source table, as they stand there: what `plan` proves the round trip on, and tests read."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from crossfade.core.values.image import Image, decode_image, of_number, of_string

WALLETS: Final[tuple[Image, ...]] = tuple(
    map(
        decode_image,
        (
            b'{"pk":{"S":"USER#7"},"sk":{"S":"POINTS#chan-3"},"balance":{"N":"1250"},"wallet_type":{"S":"ENGAGEMENT"},'
            b'"tier":{"S":"gold"},"badges":{"SS":["first-cheer","moderator"]},'
            b'"preferences":{"M":{"notify":{"BOOL":true},"colours":{"L":[{"S":"#9146FF"},{"S":"#00B5AD"}]},'
            b'"multiplier":{"N":"1.5"}}},"created_at":{"S":"2021-03-04T05:06:07.089Z"}}',
            b'{"pk": {"S": "USER#8"}, "sk": {"S": "POINTS#chan-3"}, "balance": {"N": "0"}, '
            b'"wallet_type": {"S": "ENGAGEMENT"}, "created_at": {"S": "1999-12-31T23:59:59.999Z"}}',
            b'{"pk":{"S":"USER#8"},"sk":{"S":"POINTS#chan-41"},"balance":{"N":"99999999999999999999"},'
            b'"wallet_type":{"S":"ENGAGEMENT"},"badges":{"SS":["moderator"]},"expires_at":{"N":"4102444800"}}',
            '{"pk":{"S":"USER#zoë"},"sk":{"S":"POINTS#日本"},"balance":{"N":"5"},"wallet_type":{"S":"ENGAGEMENT"},'
            '"tier":{"S":"neu\\u00e9 \\"1\\""}}'.encode(),
        ),
    )
)
"""Rows that belong to the migration: full, sparse, with a TTL, and with text beyond ASCII."""

NOT_OURS: Final[tuple[Image, ...]] = tuple(
    map(
        decode_image,
        (
            b'{"pk":{"S":"USER#7"},"sk":{"S":"WALLET#EUR"},"cents":{"N":"1999"},"currency":{"S":"EUR"}}',
            b'{"pk":{"S":"USER#7"},"sk":{"S":"LEDGER#01HQZX3Z9C"},"cents":{"N":"-499"},"order":{"S":"o-1881"}}',
            b'{"pk":{"S":"SHOP#7"},"sk":{"S":"POINTS#chan-3"},"balance":{"N":"1"}}',
        ),
    )
)
"""Rows of the payments system in the same table; none of them may leave it."""


def legacy_wallet(user: str, channel: str, balance: int, *, created_at: str | None = None, **more: Raw) -> Image:
    """Return a source wallet row, for seeding.

    Args:
        user: what follows `USER#`.
        channel: what follows `POINTS#`.
        balance: points.
        created_at: spelled `2021-03-04T05:06:07.089Z`.
        more: further attributes, encoded: tier, badges, preferences, expires_at.
    """
    row = {
        "pk": of_string(f"USER#{user}"),
        "sk": of_string(f"POINTS#{channel}"),
        "balance": of_number(balance),
        "wallet_type": of_string("ENGAGEMENT"),
    }
    if created_at is not None:
        row["created_at"] = of_string(created_at)
    return row | more
