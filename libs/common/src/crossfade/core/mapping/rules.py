"""The rules a mapping is made of (design.md, section 3, rule 9).

A mapping says for each attribute whether it is kept, renamed, a constant of one side, or computed, in both directions,
and which rows belong. Each direction is compiled once, into one table of names: the replicator maps every record, so
kept and renamed values are moved as the raw bytes they came in, and only computed ones and constants are decoded.

Nothing is ever dropped in silence. In a closed mapping an attribute without a rule makes a PoisonRecord that names it,
and so does a constant that is missing or has another value: dropping it would lose what it said, and the way back would
write something that never was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from msgspec import Raw

from crossfade.core.mapping.keying import KeyPrefixes, KeyRule, Keys
from crossfade.core.mapping.keying import key_prefixes as key_prefixes
from crossfade.core.mapping.proving import differing
from crossfade.core.mapping.proving import prove_round_trip as prove_round_trip
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.protocol.row import RowT
from crossfade.core.protocol.seam import Spelling, WriterProtocol
from crossfade.core.values.canonical import same_value
from crossfade.core.values.declared import Computed, Declared
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import PROTOCOL_PREFIX, Image
from crossfade.core.values.keys import Key
from crossfade.core.values.masking import described
from crossfade.core.values.shape import Direction, Index, IndexKey, Side, TableShape


class Keep(NamedTuple):
    """An attribute of the same name and value on both sides; it may be missing."""

    name: str


class Rename(NamedTuple):
    """An attribute of the same value under two names; it may be missing."""

    source: str
    target: str


class Constant(NamedTuple):
    """An attribute that one side always has, with one value, and the other side doesn't have."""

    side: Side
    name: str
    value: Raw


class Compute(NamedTuple):
    """Attributes whose values are computed; both ways, or the way back would lose them.

    Each function gets those of its source attributes that are present, and is called only if there is one. It returns
    attributes of the other side, or raises (anything) when it can't. What a PoisonRecord says is shown to people, so it
    must not quote a value; of other errors, only the type is shown.

    Attributes:
        source: names in the source table.
        target: names in the target table.
        forward: from source to target.
        reverse: from target to source; the inverse of `forward`.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    forward: Callable[[Image], Image]
    reverse: Callable[[Image], Image]


Rule: TypeAlias = Keep | Rename | Constant | Compute


class Table(NamedTuple):
    """One table of the migration.

    Attributes:
        name: of the table.
        key: names of its key attributes, in the order of the key schema. The values of a key are the same on both
            sides, unless a `KeyRule` changes them; the names may differ.
        ttl: the attribute that the table's TTL reads. Only the source table may have one. Under the keyed protocol its
            value travels as `cf_ttl`, so no rule names it; under the plain one it is an attribute as any other.
        index_keys: attributes that are keys of its secondary indexes; none by default. `plan` compares them with the
            table that is there.
        indexes: global indexes that the import makes the target table with; None for those of the source, under the
            target's names.
    """

    name: str
    key: tuple[str, ...]
    ttl: str | None = None
    index_keys: tuple[IndexKey, ...] = ()
    indexes: tuple[Index, ...] | None = None


_ASIDE: Final = ""
"""Target of an attribute that isn't just moved; no attribute is called so."""

_MOST_KNOWN: Final = 10_000
"""Names of attributes that a direction of an open mapping remembers to have met."""


class _Course:
    """One direction, compiled."""

    def __init__(
        self,
        origin: Table,
        destination: Table,
        side: Side,
        rules: Sequence[Rule],
        spelling: Spelling,
        *,
        is_open: bool,
        aside: Sequence[str] = (),
    ) -> None:
        names = {name: name for name in spelling.carried if name not in spelling.ignored}
        self._spelling = spelling
        self._checked: list[tuple[str, Raw]] = []
        self._added: list[tuple[str, Raw]] = []
        self._computed: list[tuple[tuple[str, ...], frozenset[str], Callable[[Image], Image]]] = []
        for rule in rules:
            match rule:
                case Keep(name):
                    names[name] = name
                case Rename(source, target):
                    names |= {source: target} if side is Side.SOURCE else {target: source}
                case Constant(where, name, value):
                    (self._checked if where is side else self._added).append((name, value))
                case Compute(source, target, forward, _) if side is Side.SOURCE:
                    self._computed.append((source, frozenset(target), forward))
                case Compute(source, target, _, reverse):
                    self._computed.append((target, frozenset(source), reverse))
        self._ttl = origin.ttl if spelling.ttl else None
        self._written = frozenset(names.values()) | {name for name, _ in self._added} | frozenset(destination.key)
        self._written |= {name for _, to, _ in self._computed for name in to}
        consumed = {name for name, _ in self._checked} | {name for from_, _, _ in self._computed for name in from_}
        left = {*spelling.own, *spelling.ignored, *consumed, *origin.key, *aside, *((self._ttl,) if self._ttl else ())}
        self._names = dict.fromkeys(left, _ASIDE) | names
        self._known = dict(self._names)  # and those that an open mapping has met
        self._open = is_open

    def check_deleted(self, names: Iterable[str]) -> None:
        """Refuse a deleted item that still has an attribute which this mapping doesn't know: no copy would have it.

        Raises:
            PoisonRecord: it has; the message names it.
        """
        for name in names:
            if name not in self._names and (not self._open or name.startswith(PROTOCOL_PREFIX)):
                raise PoisonRecord(f"a deleted item has an attribute {name!r}, which is unknown to the mapping")

    def tombstone(self, image: Image) -> Image:
        """Carry what the protocol keeps of a deleted item."""
        self.check_deleted(image)
        carried: Image = {name: image[name] for name in self._spelling.carried if name in image}
        if self._ttl in image:
            carried[self._spelling.ttl] = image[self._ttl]
        return carried

    def attributes(self, image: Image) -> Image:
        """Map the attributes of a live item."""
        names = self._known
        try:  # one look-up per attribute, none to skip: this line is most of what mapping a record costs
            mapped = {names[name]: raw for name, raw in image.items()}
        except KeyError:
            mapped = self._with_unknown(image)
        mapped.pop(_ASIDE, None)
        if self._ttl in image:
            mapped[self._spelling.ttl] = image[self._ttl]
        for name, wanted in self._checked:
            found = image.get(name)
            if found != wanted and (found is None or not same_value(found, wanted)):
                shown = "missing" if found is None else described(found)
                raise PoisonRecord(f"attribute {name!r} must be {bytes(wanted).decode()}, it is {shown}")
        if self._added:
            mapped.update(self._added)
        for from_, to, compute in self._computed:
            if any(map(image.__contains__, from_)):
                given = {name: image[name] for name in from_ if name in image}
                mapped |= _computed(compute, given, from_, to)
        return mapped

    def _with_unknown(self, image: Image) -> Image:
        mapped = {}
        for name, raw in image.items():
            target = self._names.get(name)
            if target is None:
                if name.startswith(PROTOCOL_PREFIX):
                    raise PoisonRecord(f"protocol attribute {name!r} is unknown to this version of Crossfade")
                if not self._open:
                    raise PoisonRecord(f"attribute {name!r} is unknown to the closed mapping")
                if name in self._written:
                    raise PoisonRecord(f"attribute {name!r} has no rule, and would overwrite the target's own {name!r}")
                target = name
                if len(self._known) < _MOST_KNOWN:
                    self._known[name] = name
            mapped[target] = raw
        return mapped


def _computed(
    compute: Callable[[Image], Image], given: Image, names: tuple[str, ...], allowed: frozenset[str]
) -> Image:
    try:
        found = compute(given)
    except Exception as error:  # the author's function may raise anything; all of it means: not computable
        # A PoisonRecord says what is wrong without the value; what another error quotes, nobody knows.
        said = str(error) if isinstance(error, PoisonRecord) else type(error).__name__
        raise PoisonRecord(f"can't compute from {', '.join(names)}: {said}") from error
    if not allowed.issuperset(found):
        undeclared = ", ".join(sorted(found.keys() - allowed))
        raise PoisonRecord(f"computing from {', '.join(names)} returned undeclared attributes: {undeclared}")
    return found


class RuleMapping:
    """A mapping made of rules; implements `crossfade.core.mapping.interface.Mapping`.

    Attributes:
        belongs: says whether a row belongs to the migration, by its encoded key.
    """

    def __init__(
        self,
        name: str,
        *,
        source: Table,
        target: Table,
        rules: Sequence[Rule],
        belongs: Callable[[Key], bool],
        zero: Mapping[str, Raw] | None = None,
        wholes: Sequence[str] = (),
        is_open: bool = False,
        protocol: WriterProtocol = KEYED,
        keys: KeyRule | None = None,
    ) -> None:
        """Check and compile the rules.

        Args:
            name: of the migration; part of control table names and marks.
            source: the table moved from.
            target: the table moved to.
            rules: one for each mapped attribute.
            belongs: which rows belong, by their encoded key; `key_prefixes` makes one.
            zero: attributes, in source names, of a row with nothing in it, from which operations create one; the
                constants are added.
            wholes: attributes, in source names, that the domain answers as integers of 64 bits: `plan` and the snapshot
                name rows with another number.
            is_open: attributes without a rule are kept under their names instead of refused.
            protocol: how the writers of both tables keep each key in one place.
            keys: how keys change, under the plain protocol; None where they keep their values.

        Raises:
            ConfigError: the rules contradict each other; the message names the attribute.
        """
        if keys is not None and protocol is not PLAIN:
            raise ConfigError(
                "keys change under the plain protocol only (keys=…): under the keyed one both tables have the same"
            )
        self._name, self.belongs, self._open = name, belongs, is_open
        self.protocol: Final = protocol
        self._deleted: Final = protocol.spelling.deleted
        self._tables, self._rules = {Side.SOURCE: source, Side.TARGET: target}, tuple(rules)
        self._prefixes = belongs.prefixes if isinstance(belongs, KeyPrefixes) else None
        self._zero = dict(zero or {})
        self._keys = None if keys is None else Keys(keys, source.key, target.key)
        kept = keys.kept if keys else ()
        names = _checked_names(source, target, rules, protocol.spelling, kept, keys is not None)
        self.wholes: Final = tuple(wholes)
        if strange := [] if is_open else sorted(set(wholes) - set(names[Side.SOURCE])):
            raise ConfigError(f"no rule has the source attribute {', '.join(strange)}, which is declared whole")
        _check_index_keys(*source.index_keys, *target.index_keys)
        self._forward = _Course(source, target, Side.SOURCE, rules, protocol.spelling, is_open=is_open)
        self._reverse = _Course(target, source, Side.TARGET, rules, protocol.spelling, is_open=is_open, aside=kept)
        self._shapes = self._build_shapes(names)

    def _build_shapes(self, names: dict[Side, tuple[str, ...]]) -> dict[Side, TableShape]:
        renamed = {
            Side.SOURCE: (),
            Side.TARGET: tuple((r.source, r.target) for r in self._rules if isinstance(r, Rename)),
        }
        constants = {r.name: r.value for r in self._rules if isinstance(r, Constant) and r.side is Side.SOURCE}
        zero = constants | self._zero
        try:
            zeros = {Side.SOURCE: zero, Side.TARGET: self._forward.attributes(zero)}
            back = self._reverse.attributes(zeros[Side.TARGET])
        except PoisonRecord as error:
            raise ConfigError(f"the zero item can't be mapped: {error}") from error
        if changed := differing(zero, back):
            raise ConfigError(f"the zero item comes back changed in {', '.join(changed)}")
        return {
            side: TableShape(
                side=side,
                table=self._tables[side].name,
                key=self._tables[side].key,
                attributes=None if self._open else names[side],
                zero=tuple(sorted((name, bytes(raw)) for name, raw in zeros[side].items())),
                ttl=self._tables[side].ttl,
                index_keys=self._tables[side].index_keys,
                names=renamed[side],
                indexes=self._tables[side].indexes,
                kept=self._keys.rule.kept if self._keys and side is Side.TARGET else (),
            )
            for side in Side
        }

    @property
    def name(self) -> str:
        """Name of the migration."""
        return self._name

    @property
    def declared(self) -> Declared:
        """What the rules say, as they were written; see `crossfade.core.values.declared`."""
        rules = self._rules
        kept = [(rule.name, rule.name) for rule in rules if isinstance(rule, Keep)]
        return Declared(
            keys={side: table.key for side, table in self._tables.items()},
            ttl=self._tables[Side.SOURCE].ttl if self.protocol.spelling.ttl else None,
            moved=(*kept, *((rule.source, rule.target) for rule in rules if isinstance(rule, Rename))),
            constants=tuple((each.side, each.name, bytes(each.value)) for each in rules if isinstance(each, Constant)),
            computed=tuple(Computed(*rule) for rule in rules if isinstance(rule, Compute)),
            is_open=self._open,
            prefixes=self._prefixes,
            belongs=lambda key: self.belongs(Key(key)),
            source_key=None if self._keys is None else self._source_key,
        )

    def shape(self, side: Side) -> TableShape:
        """Return what the table of a side looks like."""
        return self._shapes[side]

    def carry(self, direction: Direction, image: Image) -> Image:
        """Map a source row for a transfer; see `crossfade.core.mapping.interface.Mapping.carry`."""
        course = self._forward if direction is Direction.FORWARD else self._reverse
        deleted = self._deleted in image and self.protocol.stands_for_nothing(image, self._shapes[direction.origin])
        mapped = course.tombstone(image) if deleted else course.attributes(image)
        if self._keys is not None and direction is Direction.FORWARD:
            self._keys.keep(image, mapped, deleted=deleted)
        return mapped

    def other_key(self, direction: Direction, key: Key, image: Image | None) -> Key:
        """Return the row's key on the other side; see `crossfade.core.mapping.interface.Mapping.other_key`."""
        return key if self._keys is None else self._keys.other(direction, key, image)

    def belongs_at(self, side: Side, key: Key) -> bool:
        """Say whether a row of a side belongs; see `crossfade.core.mapping.interface.Mapping.belongs_at`."""
        if side is Side.SOURCE or self._keys is None:
            return self.belongs(key)
        return self._keys.rule.owns(key)

    def is_anothers(self, image: Image, mapped: Image) -> bool:
        """Say whose row it is; see `crossfade.core.mapping.interface.Mapping.is_anothers`."""
        if self._keys is None:
            return False
        there, ours = self._keys.carried(image), self._keys.carried(mapped)
        return there is not None and ours is not None and there != ours

    def _source_key(self, key: bytes, image: Image) -> bytes:
        return self.other_key(Direction.REVERSE, Key(key), image)

    def map_item(self, direction: Direction, item: RowT) -> RowT:
        """Map a decoded item; see `crossfade.core.mapping.interface.Mapping.map_item`."""
        course = self._forward if direction is Direction.FORWARD else self._reverse
        if item.deleted:
            course.check_deleted(name for name, _ in item.content)
            return item.holding(())
        mapped = course.attributes({name: Raw(raw) for name, raw in item.content})
        return item.holding(tuple(sorted((name, bytes(raw)) for name, raw in mapped.items())))

    def with_tables(self, *, source: str, target: str, name: str = "") -> RuleMapping:
        """Return the same mapping over tables of other names; a migration of another name, too, if one is given."""
        return RuleMapping(
            name or self._name,
            source=self._tables[Side.SOURCE]._replace(name=source),
            target=self._tables[Side.TARGET]._replace(name=target),
            rules=self._rules,
            belongs=self.belongs,
            zero=self._zero,
            wholes=self.wholes,
            is_open=self._open,
            protocol=self.protocol,
            keys=None if self._keys is None else self._keys.rule,
        )


def _checked_names(
    source: Table,
    target: Table,
    rules: Sequence[Rule],
    spelling: Spelling,
    kept: Sequence[str],
    keys_change: bool,
) -> dict[Side, tuple[str, ...]]:
    """Return the mapped names of each side; refuse what can't be meant."""
    if len(source.key) != len(target.key) and not keys_change:
        raise ConfigError(f"keys of {len(source.key)} and {len(target.key)} attributes: a key keeps its values")
    if target.ttl:
        raise ConfigError(f"the target table has no TTL before COMPLETE, so it can't name {target.ttl!r}")
    names: dict[Side, list[str]] = {Side.SOURCE: [], Side.TARGET: []}
    for rule in rules:
        match rule:
            case Keep(name):
                names[Side.SOURCE].append(name)
                names[Side.TARGET].append(name)
            case Rename(old, fresh):
                names[Side.SOURCE].append(old)
                names[Side.TARGET].append(fresh)
            case Constant(side, name, _):
                names[side].append(name)
            case Compute(old_names, fresh_names, _, _):
                names[Side.SOURCE] += old_names
                names[Side.TARGET] += fresh_names
    for side, table in ((Side.SOURCE, source), (Side.TARGET, target)):
        taken = {*table.key, *((table.ttl,) if spelling.ttl else ()), *(kept if side is Side.TARGET else ())}
        for name in names[side]:
            if name in taken:
                raise ConfigError(f"{side.value} attribute {name!r} has two rules, or is a key or TTL attribute")
            if name.startswith(PROTOCOL_PREFIX):
                raise ConfigError(f"{side.value} attribute {name!r}: {PROTOCOL_PREFIX!r} is the protocol's own")
            taken.add(name)
    return {side: tuple(found) for side, found in names.items()}


def _check_index_keys(*keys: IndexKey) -> None:
    for each in keys:
        if each.kind not in ("S", "N", "B"):
            raise ConfigError(f"index key {each.name!r} has type {each.kind!r}; a key is S, N or B")
