"""Stock of shops, which leaves the table `warehouse` for `stock`: a second keyed domain, which knows nothing of points.

warehouse                                   stock
sku          ART#<number>                   article       the same
place        SHOP#<name>                    site          the same
on_hand      N, may have a fraction         available     the same value
reserved     N, may have a fraction         held          the same value
label        S, optional                    label         kept
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from crossfade.core.mapping.rules import Keep, Rename, RuleMapping, Table, key_prefixes
from crossfade.core.protocol.keyed.operation import Operation, Verb, build_operation, check_verb
from crossfade.core.values.image import of_number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side

MAPPING: Final = RuleMapping(
    "stock",
    source=Table("warehouse", key=("sku", "place")),
    target=Table("stock", key=("article", "site")),
    belongs=key_prefixes("ART#", "SHOP#"),
    zero={"on_hand": of_number(0), "reserved": of_number(0)},
    rules=(Rename(source="on_hand", target="available"), Rename(source="reserved", target="held"), Keep("label")),
)

RECEIVE: Final = Verb("receive", adds=("on_hand",), creates=True)
RESERVE: Final = Verb("reserve", adds=("on_hand", "reserved"), at_least=("on_hand",))
SHIP: Final = Verb("ship", adds=("reserved",), at_least=("reserved",))
DISCARD: Final = Verb("discard", deletes=True)
VERBS: Final = {verb.name: verb for verb in (RECEIVE, RESERVE, SHIP, DISCARD)}

for _verb in VERBS.values():
    for _side in Side:
        check_verb(_verb, MAPPING.shape(_side))


def stock_operation(verb: str, key: Key, transaction_id: bytes, amount: Decimal, seed: int) -> Operation:
    """Return what a shop asks for.

    Args:
        verb: "receive", "reserve" (from on hand to reserved), "ship" (what is reserved) or "discard".
        key: the encoded key of the row.
        transaction_id: 16 bytes, a ULID; the same in every retry.
        amount: positive; not looked at when a row is discarded.
        seed: of the version, wall clock in µs << 10.
    """
    amounts, least = {
        "receive": ((amount,), ()),
        "reserve": ((-amount, amount), (amount,)),
        "ship": ((-amount,), (amount,)),
        "discard": ((), ()),
    }[verb]
    return build_operation(key, VERBS[verb], transaction_id, seed, amounts=amounts, least=least)
