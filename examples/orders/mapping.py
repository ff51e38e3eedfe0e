"""What is moved: each row as it is, to a table of another name. The only file here that knows of Crossfade.

orders and orders-next
customer      CUSTOMER#<name>-<number>
entry         PROFILE, BASKET, ORDER#<number>, EVENT#<number>
expires_at    N, seconds: when a basket expires
…             whatever the application writes
"""

from __future__ import annotations

from typing import Final

from crossfade.core.mapping.rules import RuleMapping, Table, key_prefixes
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.shape import IndexKey

_KEY: Final = ("customer", "entry")
_INDEX_KEYS: Final = (
    IndexKey("status", "S"),
    IndexKey("placed_at", "N", sorts=True),
    IndexKey("courier", "S"),
    IndexKey("due_at", "N", sorts=True),
)

MAPPING: Final = RuleMapping(
    "orders",
    source=Table("orders", key=_KEY, ttl="expires_at", index_keys=_INDEX_KEYS),
    target=Table("orders-next", key=_KEY, index_keys=_INDEX_KEYS),
    belongs=key_prefixes("CUSTOMER#", ""),
    rules=(),
    is_open=True,
    protocol=PLAIN,
)
