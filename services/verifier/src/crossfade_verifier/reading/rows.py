"""Rows of either table, read by the verifier's own rules, in the names of the source table.

A row of the target table is taken **back**: the mapping is checked by its inverse. What is computed is checked both
ways: the source row gets what `forward` makes of it, the target row what `reverse` makes of it, and each keeps its own.
So two rows agree only if both functions say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec import Raw

from crossfade.core.values.declared import Attributes, Computed, Declared
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.masking import described
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.values import form_of, number_of, value_of

VERSION: Final = "cf_mv"
ROLE: Final = "cf_role"
GENERATION: Final = "cf_gen"
IDS: Final = "cf_recent"
FLOOR: Final = "cf_floor"
EVENTS: Final = "cf_events"
EVENT_VERSION: Final = "cf_emv"
DELETED: Final = "cf_deleted"
TTL: Final = "cf_ttl"
PREFIX: Final = "cf_"

ATTRIBUTES: Final = frozenset({VERSION, ROLE, GENERATION, IDS, FLOOR, EVENTS, EVENT_VERSION, DELETED, TTL})
"""What the reading knows of the protocol's."""
_COMPUTED: Final = "\x00"
"""Before the name of a computed attribute of the target table; no attribute is called so."""


class Seen(NamedTuple):
    """One row of one table. Implements `crossfade.core.protocol.row.Row`, without its being imported.

    Attributes:
        side: its table.
        image: all its attributes, raw, as they stand there.
        version: `cf_mv`; None when there is none.
        role: `cf_role`, "A" or "S"; empty when there is none.
        generation: `cf_gen`; 0 when there is none.
        ids: `cf_recent`.
        floor: `cf_floor`.
        events: `cf_events`, raw; empty when there are none.
        event_version: `cf_emv`; 0 when there is none.
        deleted: whether it is a tombstone or a stub.
        ttl: raw TTL value, of whichever attribute; empty when there is none.
        fires: whether the table's own TTL takes effect on it.
        content: (name, raw value) of the attributes of the migration, in the source's names, sorted.
        trouble: why the mapping's facts don't fit it; empty when they do. It equals nothing then.
        unreadable: why an attribute of the protocol can't be read, so that nothing else is known of it; mostly empty.
        dropped: constants of its side, which the mapping drops, and attributes that no rule names.
    """

    side: Side
    image: Attributes
    version: int | None = None
    role: str = ""
    generation: int = 0
    ids: frozenset[bytes] = frozenset()
    floor: bytes = b""
    events: bytes = b""
    event_version: int = 0
    deleted: bool = False
    ttl: bytes = b""
    fires: bool = False
    content: tuple[tuple[str, bytes], ...] = ()
    trouble: str = ""
    dropped: tuple[str, ...] = ()
    unreadable: str = ""

    def kept(self) -> Seen:
        """Return the same row for keeping: its values are views of a whole page otherwise."""
        return self._replace(image={name: Raw(bytes(raw)) for name, raw in self.image.items()})

    def value(self, name: str) -> Raw | None:
        """Return one attribute, in the source's names."""
        return next((Raw(raw) for each, raw in self.content if each == name), None)

    def holding(self, content: tuple[tuple[str, bytes], ...]) -> Seen:
        """Return the same row with other content."""
        return self._replace(content=content)

    def at(self, version: int) -> Seen:
        """Return the same row at another version."""
        return self._replace(version=version)


class RowReading:
    """Reads rows by what is declared of them."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self._own = {Side.SOURCE: {source: source for source, _ in declared.moved}}
        self._own[Side.TARGET] = {target: source for source, target in declared.moved}
        self._constants = {
            side: {name: raw for where, name, raw in declared.constants if where is side} for side in Side
        }
        self._computed = {Side.SOURCE: frozenset(name for each in declared.computed for name in each.source)}
        self._computed[Side.TARGET] = frozenset(name for each in declared.computed for name in each.target)
        self._forms = {side: {name: form_of(raw) for name, raw in self._constants[side].items()} for side in Side}

    def row(self, side: Side, image: Attributes) -> Seen:
        """Read a row.

        Raises:
            PoisonRecord: an attribute of the protocol can't be read.
        """
        get = image.get
        own_ttl = get(self.declared.ttl) if side is Side.SOURCE and self.declared.ttl else None
        carried = get(TTL)
        if carried is not None and not number_of(_of("N", carried, TTL)).digits:
            carried = None  # the zero that a seal leaves where there was none
        deleted = DELETED in image and bool(_of("BOOL", image[DELETED], DELETED))
        content, trouble, dropped = ([], "", []) if deleted else self._content(side, image)
        if deleted:
            own = self._own[side]
            content = [(own[name], bytes(raw)) for name, raw in image.items() if name in own]
        content.sort()
        role = _role(get(ROLE))
        return Seen(
            side,
            image,
            None if VERSION not in image else whole(image[VERSION], VERSION),
            role,
            0 if GENERATION not in image else whole(image[GENERATION], GENERATION),
            frozenset() if IDS not in image else frozenset(_of("BS", image[IDS], IDS)),
            b"" if FLOOR not in image else _of("B", image[FLOOR], FLOOR),
            bytes(get(EVENTS, b"")),
            0 if EVENT_VERSION not in image else whole(image[EVENT_VERSION], EVENT_VERSION),
            deleted,
            bytes(own_ttl or carried or b""),
            own_ttl is not None and role == "S",
            tuple(content),
            trouble,
            tuple(dropped),
        )

    def _content(self, side: Side, image: Attributes) -> tuple[list[tuple[str, bytes]], str, list[str]]:
        own, constants, computed = self._own[side], self._constants[side], self._computed[side]
        aside = {*self.declared.keys[side], self.declared.ttl if side is Side.SOURCE else None}
        found, trouble, dropped = {}, "", []
        for name, raw in image.items():
            if name in own:
                found[own[name]] = bytes(raw)
            elif name in ATTRIBUTES or name in aside or name in computed:
                continue
            elif name in constants:
                dropped.append(name)
            elif name.startswith(PREFIX):
                trouble = self._strange(name) or trouble
            elif self.keeps(side, name):
                found[name] = bytes(raw)
            else:
                dropped.append(name)
                trouble = (
                    f"attribute {name!r} is unknown to the {'open' if self.declared.is_open else 'closed'} mapping"
                )
        trouble = trouble or self._wrong_constant(side, image)
        found |= self._constants[Side.SOURCE]  # a target row has got them back, a source row was found to have them
        for each in self.declared.computed:
            try:
                found |= computed_of(side, each, image)
            except PoisonRecord as error:
                trouble = trouble or str(error)
        return list(found.items()), trouble, dropped

    def _strange(self, name: str) -> str:
        """Return what is wrong with a row that has an attribute of the protocol's that the reading doesn't know."""
        return f"protocol attribute {name!r} is unknown to this version of Crossfade"

    def keeps(self, side: Side, name: str) -> bool:
        """Say whether an attribute that nothing declares keeps its name: not where the other side has its own of it."""
        other = side.other
        return (
            self.declared.is_open
            and not name.startswith(PREFIX)
            and name not in self._own[other]
            and name not in self._constants[other]
            and name not in self._computed[other]
            and name not in self.declared.keys[other]
        )

    def _wrong_constant(self, side: Side, image: Attributes) -> str:
        for name, wanted in self._constants[side].items():
            raw = image.get(name)
            if raw is None:
                return f"attribute {name!r} must be {wanted.decode()}, it is missing"
            if bytes(raw) != wanted and form_of(raw) != self._forms[side][name]:
                return f"attribute {name!r} must be {wanted.decode()}, it is {described(raw)}"
        return ""


def content_form(row: Seen) -> bytes:
    """Return the form of a row's content and TTL value: equal exactly when those are.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    found = [b"%d:%b%b" % (len(name.encode()), name.encode(), form_of(raw)) for name, raw in row.content]
    if row.trouble:
        found.append(f"{row.side.value}: {row.trouble}".encode())
    return b"%d[%b]%b" % (len(found), b"".join(found), form_of(row.ttl) if row.ttl else b"-")


def same_content(one: Seen, other: Seen) -> bool:
    """Say whether two rows have the same content and TTL value: as their forms, made only where bytes differ.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    if one.trouble or other.trouble:
        return content_form(one) == content_form(other)
    if len(one.content) != len(other.content) or bool(one.ttl) != bool(other.ttl):
        return False
    pairs = zip((*one.content, ("", one.ttl)), (*other.content, ("", other.ttl)), strict=True)
    return all(
        name == as_name and (raw == as_raw or form_of(raw) == form_of(as_raw))
        for (name, raw), (as_name, as_raw) in pairs
    )


def computed_of(side: Side, rule: Computed, image: Attributes) -> dict[str, bytes]:
    """Return what a rule computes of a row, under the source's names, and under the target's with a NUL before them.

    Raises:
        PoisonRecord: the author's function can't compute it.
    """
    names = rule.source if side is Side.SOURCE else rule.target
    given = {name: image[name] for name in names if name in image}
    if not given:
        return {}
    made = _made(rule.forward if side is Side.SOURCE else rule.reverse, given, names)
    source, target = (given, made) if side is Side.SOURCE else (made, given)
    return {name: bytes(raw) for name, raw in source.items()} | {
        _COMPUTED + name: bytes(raw) for name, raw in target.items()
    }


def _made(compute: Callable[[Attributes], Attributes], given: Attributes, names: tuple[str, ...]) -> Attributes:
    try:
        return compute(dict(given))
    except Exception as error:  # the author's function may raise anything; all of it means: not computable
        said = str(error) if isinstance(error, PoisonRecord) else type(error).__name__
        raise PoisonRecord(f"can't compute from {', '.join(names)}: {said}") from error


def _of(kind: str, raw: Raw, name: str) -> Any:
    found, inner = value_of(raw)
    if found != kind:
        raise PoisonRecord(f"{name}: expected a value of type {kind}, got {described(raw)}")
    return inner


def whole(raw: Raw, name: str) -> int:
    """Read a whole number.

    Raises:
        PoisonRecord: it is none.
    """
    text = _of("N", raw, name)
    if text.isdecimal() and text.isascii():
        return int(text)
    sign, digits, exponent = number_of(text)
    if exponent < 0:
        raise PoisonRecord(f"{name}: expected a whole number, got {described(raw)}")
    return int(f"{sign}{digits or '0'}{'0' * exponent}")


def _role(raw: Raw | None) -> str:
    role: str = "" if raw is None else _of("S", raw, ROLE)
    if role not in ("A", "S", ""):
        raise PoisonRecord(f"no such {ROLE}: {role[:80]!r}")
    return role
