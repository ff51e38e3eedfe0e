"""The PartiQL of state transfers, spliced from raw values (design.md, section 3, rules 2, 9 and 10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from crossfade.adapters.batch_text import LONGEST_STATEMENT
from crossfade.core.protocol.keyed.item import CARRIED, GEN, MV, ROLE
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import TableShape

MAX_TEXTS: Final = 4096
"""Texts kept; a mapping has a handful of combinations of present attributes."""

_encode = msgspec.json.encode


class TransferText:
    """Renders the statements of one table. Texts are kept by the names that the image has."""

    def __init__(self, shape: TableShape) -> None:
        """Check that the longest statement fits.

        Raises:
            ConfigError: it doesn't.
        """
        self._shape = shape
        self._listed = (*(shape.attributes or ()), *CARRIED)
        self._updates: dict[tuple[str, ...], bytes] = {}
        self._repairs: dict[tuple[str, ...], bytes] = {}
        self._inserts: dict[tuple[str, ...], bytes] = {}
        longest = max(len(self._update(())), len(self._update(self._listed)), len(self._insert(self._listed)))
        if longest > LONGEST_STATEMENT:
            raise ConfigError(
                f"the mapping to {shape.table!r} has {len(self._listed)} attributes, which makes a statement of "
                f"{longest} characters; {LONGEST_STATEMENT} are allowed. Declare the mapping open."
            )

    def update(self, transfer: Transfer) -> bytes:
        """Return the request of an UPDATE onto an older standby; a repair also onto one of the same version.

        Raises:
            ValueError: the image holds what only its table may write: version, role, generation or key.
        """
        names = tuple(transfer.image)
        known = self._repairs if transfer.repair else self._updates
        head = known.get(names)
        if head is None:
            self._check(names)
            text = self._update(names, "<=" if transfer.repair else "<")
            head = _head(text, b'"ReturnValuesOnConditionCheckFailure":"ALL_OLD",')
            _keep(known, names, head)
        version = b'{"N":"%d"}' % transfer.version
        # The encoded key is the JSON list of its values: without the brackets it is two parameters.
        return b"%b%b]}" % (head, b",".join((*transfer.image.values(), version, transfer.key[1:-1], version)))

    def insert(self, transfer: Transfer) -> bytes:
        """Return the request of an INSERT of a standby row."""
        names = tuple(transfer.image)
        head = self._inserts.get(names)
        if head is None:
            self._check(names)
            head = _head(self._insert(names), b"")
            _keep(self._inserts, names, head)
        version, generation = b'{"N":"%d"}' % transfer.version, b'{"N":"%d"}' % transfer.first_standing
        values = (transfer.key[1:-1], *transfer.image.values(), version, b'{"S":"S"}', generation)
        return b"%b%b]}" % (head, b",".join(values))

    def _check(self, names: Iterable[str]) -> None:
        if forbidden := {MV, ROLE, GEN, *self._shape.key}.intersection(names):
            raise ValueError(f"a transfer's image never has {', '.join(sorted(forbidden))}")

    def _update(self, names: Iterable[str], fence: str = "<=") -> str:
        present = set(names)
        sets = "".join(f" SET {_quoted(name)}=?" for name in (*names, MV))
        gone = "".join(f" REMOVE {_quoted(name)}" for name in self._listed if name not in present)
        key = " AND ".join(f"{_quoted(name)}=?" for name in self._shape.key)
        return f"UPDATE {_quoted(self._shape.table)}{sets}{gone} WHERE {key} AND {MV}{fence}? AND {ROLE}='S'"

    def _insert(self, names: Iterable[str]) -> str:
        fields = ",".join(f"{_literal(name)}:?" for name in (*self._shape.key, *names, MV, ROLE, GEN))
        return f"INSERT INTO {_quoted(self._shape.table)} VALUE {{{fields}}}"


def _head(text: str, options: bytes) -> bytes:
    return b'{"Statement":%b,%b"Parameters":[' % (_encode(text), options)


def _keep(known: dict[tuple[str, ...], bytes], names: tuple[str, ...], head: bytes) -> None:
    if len(known) >= MAX_TEXTS:
        known.clear()
    known[names] = head


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
