"""The engagement migration: points wallets leave the payments system's shared `wallet` table for `engagement`.

A source wallet row, and what becomes of it:

    wallet                                      engagement
    pk            USER#<user>                   pk            the same
    sk            POINTS#<channel>              sk            the same
    balance       N, changed by operations      points        the same value
    tier          S, optional                   tier          kept
    badges        SS, optional                  badges        kept
    preferences   M, optional                   preferences   kept
    wallet_type   S, always "ENGAGEMENT"        -
    created_at    S, optional, ISO 8601         created_ms    N, ms since the epoch
    expires_at    N, optional: the table's TTL  (travels as cf_ttl)

Paid-currency wallets (`sk=WALLET#…`) and ledger rows (`sk=LEDGER#…`) of the same users stay where they are.
"""

from __future__ import annotations

from typing import Final

from crossfade.core.mapping.rules import Compute, Constant, Keep, Rename, RuleMapping, Table, key_prefixes
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.shape import Side
from engagement_migration.creation import created_at_from_ms, created_ms_from_at

MAPPING: Final = RuleMapping(
    "engagement",
    source=Table("wallet", key=("pk", "sk"), ttl="expires_at"),
    target=Table("engagement", key=("pk", "sk")),
    belongs=key_prefixes("USER#", "POINTS#"),
    zero={"balance": of_number(0)},
    wholes=("balance",),
    rules=(
        Rename(source="balance", target="points"),
        Keep("tier"),
        Keep("badges"),
        Keep("preferences"),
        Constant(Side.SOURCE, "wallet_type", of_string("ENGAGEMENT")),
        Compute(
            source=("created_at",),
            target=("created_ms",),
            forward=created_ms_from_at,
            reverse=created_at_from_ms,
        ),
    ),
)

__all__ = ["MAPPING"]
