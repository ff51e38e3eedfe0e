"""Keys: which rows belong, and how a row's key on one side follows from its key on the other.

Most migrations keep their keys. Under the plain protocol a mapping may change them, one to one, by a `KeyRule`:

    it says how to come back      `reverse`: `prefixed`, `split`, `joined` and `swapped` make such rules
    it can't come back            `kept`: each row of the target keeps the source's key values in attributes of its own

A rule sees key attributes alone, so that a row keeps its place whatever else of it changes, and a REMOVE can be told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import PROTOCOL_PREFIX, Image
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Direction

CARRIED_KEY: Final = "cf_key"
"""On a tombstone of a target whose rows keep their source's key: that key, encoded, as text."""


class KeyRule(NamedTuple):
    """How keys change. Each function gets and returns all key attributes of a side, or raises where it can't.

    What a PoisonRecord says is shown to people, so it must not quote a value; of other errors, only the type is shown.

    Attributes:
        forward: key attributes of the target from those of the source.
        reverse: its inverse; None where there is none.
        kept: attributes of the target that take the source's key values, in the order of its key schema; for rules
            without a reverse.
        owns: whether a key of the target is this migration's; all are by default. Several sources that move into one
            target tell their rows apart by it.
    """

    forward: Callable[[Image], Image]
    reverse: Callable[[Image], Image] | None = None
    kept: tuple[str, ...] = ()
    owns: Callable[[Key], bool] = lambda _key: True


class Keys:
    """A key rule between two key schemas, checked."""

    def __init__(self, rule: KeyRule, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Take the rule and the names of the key attributes.

        Raises:
            ConfigError: it says no way back, or two.
        """
        if bool(rule.kept) == (rule.reverse is not None):
            raise ConfigError(
                "a key rule says how to come back (reverse), or which attributes of the target keep the source's key "
                "(kept); this one says both or neither"
            )
        if rule.kept and len(rule.kept) != len(source):
            raise ConfigError(
                f"the source's key has {len(source)} attributes, and {len(rule.kept)} are to keep it: "
                f"{', '.join(rule.kept)}"
            )
        for name in rule.kept:
            if name in target or name.startswith(PROTOCOL_PREFIX):
                raise ConfigError(f"attribute {name!r} can't keep the source's key: it is a key or the protocol's own")
        self.rule: Final = rule
        self._back = rule.reverse or rule.forward  # the latter where nobody asks for it
        self._source, self._target = source, target

    def other(self, direction: Direction, key: Key, image: Image | None) -> Key:
        """See `crossfade.core.mapping.interface.Mapping.other_key`."""
        if direction is Direction.FORWARD:
            there = self._forward(key)
            if self.rule.reverse is not None and self._reverse(there) != key:
                raise PoisonRecord("the key doesn't come back as it was: the mapping's key rule is not one to one")
            return there
        source = self.carried(image) if self.rule.reverse is None else self._reverse(key)
        if source is None:
            raise PoisonRecord(
                f"the row has no way back: it lacks {', '.join(self.rule.kept)}, which keep the source's key"
            )
        if self._forward(source) != key:
            raise PoisonRecord("the row has no way back: the key that it comes from belongs to another row")
        return source

    def carried(self, image: Image | None) -> Key | None:
        """Return the source's key that a row of the target keeps; None when it keeps none."""
        if image is None or not self.rule.kept:
            return None
        if CARRIED_KEY in image:
            return Key(wire.string(image[CARRIED_KEY]).encode())
        if any(name not in image for name in self.rule.kept):
            return None
        return encode_key(image, self.rule.kept)

    def keep(self, image: Image, mapped: Image, *, deleted: bool) -> None:
        """Write into a mapped row what keeps its source's key.

        Args:
            image: the row of the source, with its key.
            mapped: the row of the target, to be completed.
            deleted: whether it is a tombstone, which has no content.
        """
        if not self.rule.kept:
            return
        if deleted:
            mapped[CARRIED_KEY] = wire.of_string(encode_key(image, self._source).decode())
            return
        for name, origin in zip(self.rule.kept, self._source, strict=True):
            mapped[name] = image[origin]

    def _forward(self, key: Key) -> Key:
        return _applied(self.rule.forward, key, self._source, self._target)

    def _reverse(self, key: Key) -> Key:
        return _applied(self._back, key, self._target, self._source)


def _applied(compute: Callable[[Image], Image], key: Key, names: tuple[str, ...], others: tuple[str, ...]) -> Key:
    try:
        found = compute(key_image(key, names))
    except Exception as error:  # the author's function may raise anything; all of it means: not computable
        said = str(error) if isinstance(error, PoisonRecord) else type(error).__name__
        raise PoisonRecord(f"can't compute the key ({', '.join(others)}) from {', '.join(names)}: {said}") from error
    if set(found) != set(others):
        raise PoisonRecord(f"the key rule gives {', '.join(sorted(found))}; the key has {', '.join(others)}")
    return encode_key(found, others)


def prefixed(source: Sequence[str], target: Sequence[str], prefix: str) -> KeyRule:
    """Return a rule: the first key attribute, a string, gets a prefix in the target; the others stay.

    Rows of the target without the prefix are none of the migration's.
    """

    def forward(image: Image) -> Image:
        first, *others = (image[name] for name in source)
        return dict(zip(target, (wire.of_string(prefix + wire.string(first)), *others), strict=True))

    def reverse(image: Image) -> Image:
        first, *others = (image[name] for name in target)
        text = wire.string(first)
        if not text.startswith(prefix):
            raise PoisonRecord(f"the key has no {prefix!r}")
        return dict(zip(source, (wire.of_string(text[len(prefix) :]), *others), strict=True))

    return KeyRule(forward, reverse, owns=_begins(target, prefix))


def _begins(names: Sequence[str], prefix: str) -> Callable[[Key], bool]:
    def owns(key: Key) -> bool:
        try:
            return wire.string(key_image(key, names)[names[0]]).startswith(prefix)
        except PoisonRecord:
            return False

    return owns


def split(source: str, target: tuple[str, str], at: str) -> KeyRule:
    """Return a rule: a partition key, a string, is split at the first `at` into partition and sort key."""

    def forward(image: Image) -> Image:
        first, mark, second = wire.string(image[source]).partition(at)
        if not (first and mark and second):
            raise PoisonRecord(f"the key has no {at!r} with something on each side of it")
        return {target[0]: wire.of_string(first), target[1]: wire.of_string(second)}

    def reverse(image: Image) -> Image:
        first, second = (wire.string(image[name]) for name in target)
        if at in first:
            raise PoisonRecord(f"the partition key has a {at!r}")
        return {source: wire.of_string(first + at + second)}

    return KeyRule(forward, reverse)


def joined(source: tuple[str, str], target: str, at: str) -> KeyRule:
    """Return a rule: partition and sort key, both strings, become one partition key, with `at` between them."""
    apart = split(target, source, at)
    return KeyRule(apart.reverse or apart.forward, apart.forward)


def swapped(source: tuple[str, str], target: tuple[str, str]) -> KeyRule:
    """Return a rule: the source's partition key is the target's sort key, and the other way round."""

    def turn(one: tuple[str, str], other: tuple[str, str]) -> Callable[[Image], Image]:
        return lambda image: {other[0]: image[one[1]], other[1]: image[one[0]]}

    return KeyRule(turn(source, target), turn(target, source))


class KeyPrefixes:
    """Says whether each key attribute is a string with its prefix, in the order of the key schema.

    Attributes:
        prefixes: one for each key attribute.
    """

    def __init__(self, *prefixes: str) -> None:
        self.prefixes: Final = prefixes
        texts = [re.escape(msgspec.json.encode(prefix)[1:-1]) for prefix in prefixes]
        self._pattern = re.compile(
            rb"\[" + b",".join(rb'\{"S":"' + text + rb'[^"\\]*(?:\\.[^"\\]*)*"\}' for text in texts) + rb"\]"
        )

    def __call__(self, key: Key) -> bool:
        """Say whether a row belongs, by its encoded key."""
        return self._pattern.fullmatch(key) is not None


def key_prefixes(*prefixes: str) -> Callable[[Key], bool]:
    """Return a predicate: each key attribute is a string with its prefix, in the order of the key schema."""
    return KeyPrefixes(*prefixes)
