"""One conditional UpdateItem in the making (design.md, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.protocol.keyed.fit import needs_put, too_long
from crossfade.core.protocol.keyed.item import GEN, MV, ROLE, Role
from crossfade.core.protocol.keyed.replacing import Replacement
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.keys import Key, decode_key
from crossfade.core.values.shape import TableShape, absent_is_active

_encode = msgspec.json.encode
_KEY: Final = (b"hash key", b"sort key")
_ONE: Final = wire.of_number(1)
_ACTIVE: Final = wire.of_string(Role.ACTIVE.value)
_STANDBY: Final = wire.of_string(Role.STANDBY.value)


class Standing(NamedTuple):
    """What a read showed of an item of an open shape, whose attributes can't be listed beforehand.

    Attributes:
        version: its version; the write holds only while it is the same. None when it has none.
        names: of its attributes outside the protocol.
    """

    version: int | None
    names: tuple[str, ...]


class Rendered(NamedTuple):
    """One request.

    Attributes:
        is_put: PutItem, whose answer brings no item; otherwise UpdateItem.
        body: the request's JSON.
        too_wide: why DynamoDB refuses it as an update, whatever stands there; empty when it doesn't.
    """

    is_put: bool
    body: bytes
    too_wide: str = ""


class Form(NamedTuple):
    """Requests of one kind: their JSON but for the key and the values that each has of its own.

    Attributes:
        body: with holes, as `%` fills them.
        too_wide: as in `Rendered`.
    """

    body: bytes
    too_wide: str

    def filled(self, key: Key, values: dict[bytes, bytes]) -> Rendered:
        """Return one request.

        Args:
            key: the encoded key.
            values: by the names that `Expression.hole` was given.
        """
        values.update(zip(_KEY, map(bytes, decode_key(key)), strict=False))
        return Rendered(False, self.body % values, self.too_wide)


class Expression:
    """An UpdateItem in the making. Mapped names go by placeholders, whatever words DynamoDB reserves."""

    def __init__(self, shape: TableShape, standing: Standing | None) -> None:
        self.shape = shape
        self._standing = standing
        self._names: dict[str, str] = {}
        self._values: dict[bytes, str] = {}
        self._holes: list[str] = []
        self._sets: list[str] = []
        self._removes: list[str] = []
        self._adds: list[str] = []
        self._where: list[str] = []
        self._replaces: Replacement | None = None

    def name(self, name: str) -> str:
        """Return the placeholder of an attribute."""
        return self._names.setdefault(name, f"#n{len(self._names)}")

    def value(self, raw: Raw | bytes) -> str:
        """Return the placeholder of a raw value; equal ones share it."""
        return self._values.setdefault(bytes(raw), f":v{len(self._values)}")

    def number(self, number: int) -> str:
        """Return the placeholder of a number."""
        return self.value(wire.of_number(number))

    def set(self, target: str, term: str) -> None:
        """Set an attribute to a term."""
        self._sets.append(f"{target} = {term}")

    def remove(self, names: Iterable[str]) -> None:
        """Remove attributes."""
        self._removes += names

    def add(self, target: str, value: str) -> None:
        """Add to a set."""
        self._adds.append(f"{target} {value}")

    def where(self, *terms: str) -> None:
        """Ask for all of these."""
        self._where += terms

    def hole(self, name: str) -> str:
        """Return the placeholder of a value that each request of the form has of its own."""
        self._holes.append(name)
        return f":{name}"

    def where_active(self, complete: bool) -> None:
        """Ask for the owner."""
        active = f"{ROLE} = {self.value(_ACTIVE)}"
        missing = absent_is_active(self.shape.side, complete=complete)
        self.where(f"(attribute_not_exists({ROLE}) OR {active})" if missing else active)

    def where_standby(self, complete: bool) -> None:
        """Ask for a standby."""
        standby = f"{ROLE} = {self.value(_STANDBY)}"
        missing = not absent_is_active(self.shape.side, complete=complete)
        self.where(f"(attribute_not_exists({ROLE}) OR {standby})" if missing else standby)

    def where_older_generation(self, generation: int) -> None:
        """Ask for a generation below this one."""
        self.where(f"(attribute_not_exists({GEN}) OR {GEN} < {self.number(generation)})")

    def where_version(self, seen: int | None) -> None:
        """Ask for just this version; None for none."""
        self.where(f"attribute_not_exists({MV})" if seen is None else f"{MV} = {self.number(seen)}")

    def where_exists(self) -> None:
        """Ask for a row that is there."""
        self.where(f"attribute_exists({self.name(self.shape.key[0])})")

    def next_version(self, seed: str) -> str:
        """Return the term of the version after the one that stands there; `seed` is the placeholder of the seed."""
        return f"if_not_exists({MV}, {seed}) + {self.value(_ONE)}"

    def replace(self, replacement: Replacement) -> None:
        """Set and remove just this; its placeholders are other ones than those of `name` and `value`."""
        self._replaces = replacement

    def mapped_names(self) -> tuple[str, ...]:
        """Return the mapped attributes that may stand there.

        Raises:
            ConfigError: the shape is open, and nobody read what stands there.
        """
        if self.shape.attributes is not None:
            return self.shape.attributes
        if self._standing is None:
            raise ConfigError(f"the shape of {self.shape.table!r} is open: what stands there has to be read first")
        self.where_version(self._standing.version)
        return self._standing.names

    def form(self) -> Form:
        """Return what was made."""
        clauses = (
            ("SET ", self._sets),
            ("REMOVE ", self._removes),
            ("ADD ", self._adds),
        )
        update = " ".join(word + ", ".join(terms) for word, terms in clauses if terms)
        names = {placeholder: name for name, placeholder in self._names.items()}
        values = [b'"%b":%b' % (at.encode(), raw) for raw, at in self._values.items()]
        if self._replaces is not None:
            update = self._replaces.expression()
            names |= self._replaces.names()
            values += [b'"%b":%b' % (at.encode(), raw) for at, raw in self._replaces.values().items()]
        fixed = (
            b'{"TableName":%b,"UpdateExpression":%b,"ConditionExpression":%b,%b"ReturnValues":"ALL_NEW",'
            b'"ReturnValuesOnConditionCheckFailure":"ALL_OLD","ExpressionAttributeValues":{%b'
            % (
                _encode(self.shape.table),
                _encode(update),
                _encode(" AND ".join(self._where)),
                b'"ExpressionAttributeNames":%b,' % _encode(names) if names else b"",
                b",".join(values),
            )
        )
        holes = b"".join(b',":%b":%%(%b)b' % (name, name) for name in map(str.encode, self._holes))
        key = b",".join(
            b"%b:%%(%b)b" % (_literal(_encode(name)), at) for name, at in zip(self.shape.key, _KEY, strict=False)
        )
        body = _literal(fixed) + holes + b'},"Key":{' + key + b"}}"
        return Form(body, too_long(update) if self._replaces is None else needs_put(self._replaces))


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")
