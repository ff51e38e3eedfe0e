"""The PartiQL of state transfers, spliced from raw values (design.md, section 3, rules 2, 9 and 10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from crossfade.adapters.batch_text import LONGEST_STATEMENT
from crossfade.core.protocol.seam import Spelling
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import TableShape

MAX_TEXTS: Final = 4096
"""Texts kept; a mapping has a handful of combinations of present attributes."""

_encode = msgspec.json.encode


class TransferText:
    """Renders the statements of one table. Texts are kept by the names that the image has."""

    def __init__(self, shape: TableShape, spelling: Spelling) -> None:
        """Check that the longest statement fits.

        Args:
            shape: of the table.
            spelling: of the writer protocol.

        Raises:
            ConfigError: it doesn't.
        """
        self._shape, self._spelling = shape, spelling
        self._standby = b"".join(b",%b" % wire.of_string(value) for _, value in spelling.standby)
        self._listed = (*(shape.attributes or ()), *spelling.carried)
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
        values = (transfer.key[1:-1], *transfer.image.values(), b'{"N":"%d"}' % transfer.version)
        standing = b',{"N":"%d"}' % transfer.first_standing if self._spelling.standing else b""
        return b"%b%b%b%b]}" % (head, b",".join(values), self._standby, standing)

    def _check(self, names: Iterable[str]) -> None:
        if forbidden := {*self._spelling.own, *self._shape.key}.intersection(names):
            raise ValueError(f"a transfer's image never has {', '.join(sorted(forbidden))}")

    def _update(self, names: Iterable[str], fence: str = "<=") -> str:
        present = set(names)
        sets = "".join(f" SET {_quoted(name)}=?" for name in (*names, self._spelling.version))
        gone = "".join(f" REMOVE {_quoted(name)}" for name in self._listed if name not in present)
        key = " AND ".join(f"{_quoted(name)}=?" for name in self._shape.key)
        says = "".join(f" AND {name}={_literal(value)}" for name, value in self._spelling.standby)
        return f"UPDATE {_quoted(self._shape.table)}{sets}{gone} WHERE {key} AND {self._spelling.version}{fence}?{says}"

    def _insert(self, names: Iterable[str]) -> str:
        fields = ",".join(f"{_literal(name)}:?" for name in (*self._shape.key, *names, *self._spelling.own))
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
