"""Letters about strays, for humans: what was written, what the owner has now, and the merge of the two (ADR 0016).

    read both tables → who owns the key → what the stray changed → journal → one conditional write → the letter goes

The merge leaves its identity in the owner's `cf_recent`, made from the letter's name and ahead of all times, so that no
trim ever takes it. Whatever dies between the write and the letter's removal, and whenever the same record is read and
parked again, the next merge finds it there and only lets the letter go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Mapped
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.contracts.letter import ROWS, STRAY, DeadLetter
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.writing import Applied, Unfit
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.replication.merge import Difference, Merged, differences, merge
from crossfade.core.values.errors import ConfigError, PoisonRecord, Throttled
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.clock import Clock
from crossfade.ports.control import DeadLetters, Journal
from crossfade.ports.table import RowTable
from crossfade.runtime.masking import plain, veiled
from crossfade_replicator.letters import TWO_ROWS, chosen, name_of

TRIES: Final = 5
"""How often a merge whose owner moved on meanwhile is worked out again."""

_AHEAD: Final = b"\xff" * 6
"""The time of a merge's identity: later than any transaction id's, so above every floor and never trimmed."""

TAKEN_ALONG: Final = (
    "the owner already has these values: whoever completed the key's handover may have carried the change along. If "
    "so, discard the letter; if not, make the change through the API"
)

Spell = Callable[[bytes], str]


class _Diverged(msgspec.Struct):
    """The payload of a letter about a diverged key; the controller's `diverged` writes it."""

    images: dict[str, dict[str, Raw]]


_decode_images: Final = msgspec.json.Decoder(_Diverged).decode

JOURNALED_BYTES: Final = 100_000
"""Largest record that is journalled whole with its merge: an entry is one item of the store."""


class Shown(NamedTuple):
    """One letter about a stray, and where its key stands.

    Attributes:
        letter: as it is kept.
        change: its record; None when it was too large to be kept with a settled letter.
        owner: side and item of the key's owner; None when it has none, or two.
        merged: whether this stray was merged before.
        found: what the stray changed, in the owner's names.
        plan: what a merge would write; None when it can't be done, and `because` says why.
        because: why it can't be merged; empty when it can.
        items: what stands in each table.
        standings: what the protocol has written into those rows.
    """

    letter: DeadLetter
    change: Change | None
    owner: tuple[Side, Row] | None = None
    merged: bool = False
    found: tuple[Difference, ...] = ()
    plan: Merged | None = None
    because: str = ""
    items: tuple[tuple[Side, Row | None], ...] = ()
    standings: Mapped[Side, Mapped[str, str | None]] = {}


class Outcome(NamedTuple):
    """What became of one letter.

    Attributes:
        shown: as it was decided.
        done: the letter is gone, or would be.
    """

    shown: Shown
    done: bool


def identity_of(letter: DeadLetter) -> bytes:
    """Return what a merge leaves in `cf_recent`: 16 bytes, the same for the same write outside the protocol."""
    return _AHEAD + sha256(f"{letter.table}/{letter.sequence}".encode()).digest()[:10]


class Merging:
    """Shows and merges letters about strays."""

    def __init__(
        self,
        mapping: Mapping,
        table: Callable[[Side], RowTable],
        letters: DeadLetters,
        journal: Journal,
        *,
        complete: bool,
        clock: Clock,
    ) -> None:
        """Take the tables.

        Args:
            mapping: of the migration.
            table: returns a side's table.
            letters: the store.
            journal: takes each merge with its record before it is written.
            complete: whether the migration is COMPLETE, so that a missing role in the target table means active.
            clock: seeds the version of an owner that has none.
        """
        self._mapping = mapping
        self._table = table
        self._letters = letters
        self._journal = journal
        self._complete = complete
        self._clock = clock

    async def show(self, names: Sequence[str]) -> list[Shown]:
        """Look at letters, and at their keys as they are now.

        Raises:
            ConfigError: there is no letter of such a name, or it is about no stray and no diverged key.
        """
        return [await self._look(each) for each in await self._strays(names, STRAY, *ROWS)]

    async def merge(self, names: Sequence[str], *, execute: bool) -> list[Outcome]:
        """Bring each stray's change to its key's owner, once, and let its letter go.

        Args:
            names: of the letters.
            execute: write; otherwise only say what would be written.

        Raises:
            ConfigError: there is no letter of such a name, or it is about no stray, or its protocol merges nothing;
                nothing was written.
            Throttled: an owner changes faster than a merge can be worked out; run it again.
        """
        if self._mapping.protocol is PLAIN:
            raise ConfigError(
                "nothing is merged under the plain protocol, whose rows remember no merge: write what is missing to "
                "the owner as the application does, then discard the letter"
            )
        return [await self._one(each, execute=execute) for each in await self._strays(names, STRAY)]

    async def _strays(self, names: Sequence[str], *codes: str) -> list[DeadLetter]:
        found = await chosen(self._letters, names)
        for each in found:
            if each.code in ROWS and each.code not in codes:
                raise ConfigError(f"{name_of(each)} is not merged: {TWO_ROWS}")
            if each.code not in codes:
                raise ConfigError(
                    f"{name_of(each)} is not about a stray ({each.code}): `replicator dead-letters redrive`"
                )
        return found

    async def _one(self, letter: DeadLetter, *, execute: bool) -> Outcome:
        for _ in range(TRIES):
            shown = await self._look(letter)
            if not execute or (shown.because and not shown.merged):
                return Outcome(shown, shown.merged or not shown.because)
            if shown.plan and shown.owner and not await self._written(shown, *shown.owner, shown.plan):
                continue
            await self._letters.remove(letter)
            return Outcome(shown, True)
        raise Throttled(f"{name_of(letter)}: the owner changed during each of {TRIES} attempts to merge; run it again")

    async def _written(self, shown: Shown, side: Side, item: Row, plan: Merged) -> bool:
        """Write a merge; False when the owner has moved on."""
        sets, removes = plan
        if not sets and not removes:
            return True  # the owner has all of it already
        letter, table = shown.letter, self._table(side)
        payload = letter.payload if len(letter.payload) <= JOURNALED_BYTES else b""
        told = {
            "letter": name_of(letter),
            "key": letter.key.decode(),
            "table": table.shape.table,
            "at_version": None if item.version is None else str(item.version),
            "changes": [_change(each, plain) if payload else each.name for each in shown.found],
            "payload": plain(payload),
        }
        await self._journal.append("note", {"merging": told})
        act = self._mapping.protocol.acts.merge(
            letter.key,
            item,
            sets,
            removes,
            identity_of(letter),
            now_us=self._clock.wall_us(),
            complete=self._complete,
        )
        answer = await table.perform(act.write)
        if isinstance(answer, Unfit):
            raise ConfigError(f"{name_of(letter)}: {table.shape.table} refuses the merge: {answer.because}")
        return isinstance(answer, Applied)

    async def _look(self, letter: DeadLetter) -> Shown:
        items = {side: await self._table(side).read(letter.key) for side in Side}
        rows = self._mapping.protocol.rows(complete=self._complete)
        standings = {side: {} if item is None else rows.described(item) for side, item in items.items()}
        shown = Shown(letter, None, items=tuple(items.items()), standings=standings)
        owners = [side for side in Side if rows.owns(items[side], side)]
        owner = items[owners[0]] if len(owners) == 1 else None
        if owner is not None:
            shown = shown._replace(owner=(owners[0], owner))
        if any(rows.is_merged(item, identity_of(letter)) for item in items.values()):
            shown = shown._replace(merged=True, because="it is already merged: only its letter is left to remove")
        if not letter.payload:
            return shown._replace(
                because="its record was too large to keep, and the change was carried over: discard it"
            )
        if letter.code in ROWS:
            return shown._replace(because=TWO_ROWS)
        direction = Direction(letter.consumer)
        change = decode_change(letter.payload, self._mapping.shape(direction.origin).key)
        shown = shown._replace(change=change)
        if shown.merged:
            return shown
        try:
            return self._planned(shown, change, direction, owners)
        except PoisonRecord as error:
            return shown._replace(because=f"it can't be mapped to its owner: {error}")

    def _planned(self, shown: Shown, change: Change, direction: Direction, owners: list[Side]) -> Shown:
        letter = shown.letter
        if letter.settled:
            return shown._replace(because="it was carried over, so the owner has it: discard the letter")
        if len(owners) != 1:
            which = "two owners" if owners else "no owner at the moment (it is in handover)"
            return shown._replace(because=f"the key has {which}: try again when it has one")
        if shown.owner is None or shown.owner[1].deleted:
            return shown._replace(
                because="the owner is deleted or was never written: make the change through its service, or discard it"
            )
        side, owner = shown.owner
        if change.new is None:
            return shown._replace(
                because="it deleted a row, and deletes are not merged: delete the row through the API, or "
                "discard the letter"
            )
        shape = self._table(side).shape
        old = None if change.old is None else self._item(change.old, direction, side)
        new = self._item(change.new, direction, side)
        found = differences(old, new, owner, shape)
        shown = shown._replace(found=tuple(found))
        if self._taken_along(new, owner, found):
            return shown._replace(because=TAKEN_ALONG)
        planned = merge(found)
        if isinstance(planned, Merged):
            return shown._replace(plan=planned)
        values = "; ".join(
            f"{each.name}: {_said(each.old)} became {_said(each.new)}, the owner has {_said(each.owner)}"
            for each in planned
        )
        return shown._replace(because=f"the owner has other values, so this needs a human decision: {values}")

    def _item(self, image: Image, direction: Direction, side: Side) -> Row:
        """Return a row of the stray's table in the names of a side."""
        item = self._mapping.protocol.reader(self._mapping.shape(direction.origin)).row(image)
        return item if side is direction.origin else self._mapping.map_item(direction, item)

    def _taken_along(self, new: Row, owner: Row, found: Sequence[Difference]) -> bool:
        """Say whether the owner may have come by the change in a handover."""
        alike = all(each.owner is not None and each.owner == each.new for each in found)
        return alike and self._mapping.protocol.rows().is_taken_along(new, owner)


def _said(raw: bytes | None) -> str:
    return "nothing" if raw is None else veiled(raw)


def _change(each: Difference, spell: Spell) -> dict[str, str | None]:
    values = {"old": each.old, "new": each.new, "owner": each.owner}
    return {"name": each.name, **{name: None if raw is None else spell(raw) for name, raw in values.items()}}


def described(shown: Shown, spell: Spell = veiled) -> dict[str, Any]:
    """Return what is shown of a letter, JSON-ready; 64-bit versions are text.

    Args:
        shown: the letter.
        spell: makes text of values: `veiled`, or `plain` where an operator reveals them.
    """
    letter, change = shown.letter, shown.change
    plan = shown.plan
    return {
        "name": name_of(letter),
        "table": letter.table,
        "key": letter.key.decode(),
        "committed_us": str(letter.committed_us),
        "reason": letter.reason,
        "cure": letter.cure,
        "settled": letter.settled,
        "old_image": None if change is None else _image(change.old, spell),
        "new_image": None if change is None else _image(change.new, spell),
        "images": _images_of(letter, spell),
        "changes": [_change(each, spell) for each in shown.found],
        "tables": {side.value: _row(item, shown.standings[side], spell) for side, item in shown.items},
        "owner": None if shown.owner is None else shown.owner[0].value,
        "merged": shown.merged,
        "merge": None
        if plan is None
        else {"sets": {name: spell(raw) for name, raw in plan.sets}, "removes": list(plan.removes)},
        "because": shown.because,
    }


def _images_of(letter: DeadLetter, spell: Spell) -> dict[str, dict[str, str] | None]:
    """Return both rows of a diverged key, by table, as the sweeper found them."""
    if letter.code not in ROWS:
        return {}
    return {table: _image(image, spell) for table, image in _decode_images(letter.payload).images.items()}


def _image(image: Image | None, spell: Spell) -> dict[str, str] | None:
    return None if image is None else {name: spell(bytes(raw)) for name, raw in sorted(image.items())}


def _row(item: Row | None, standing: Mapped[str, str | None], spell: Spell) -> dict[str, Any] | None:
    if item is None:
        return None
    return {
        **standing,
        "version": None if item.version is None else str(item.version),
        "deleted": item.deleted,
        "attributes": {name: spell(raw) for name, raw in item.content},
    }


def lines_of(shown: Shown, spell: Spell = veiled) -> list[str]:
    """Return what is shown of a letter, for humans; see `described`."""
    told = described(shown, spell)
    lines = [told["name"], f"    {told['key']} in {told['table']}: {told['reason']}"]
    if shown.letter.code == STRAY and not shown.found and shown.change is not None:
        old, new = told["old_image"] or {}, told["new_image"] or {}
        changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        lines += [f"    {name}: {old.get(name, 'nothing')} became {new.get(name, 'nothing')}" for name in changed]
    lines += [f"    {table} had: {image}" for table, image in told["images"].items()]
    for each in told["changes"]:
        old, new, owner = (each[name] or "nothing" for name in ("old", "new", "owner"))
        lines.append(f"    {each['name']}: {old} became {new}; the owner has {owner}")
    for side, row in told["tables"].items():
        where = "owner" if side == told["owner"] else "not the owner"
        lines.append(
            f"    {side} ({where}): {'no row' if row is None else row['attributes'] | {'version': row['version']}}"
        )
    if told["because"]:
        lines.append(f"    can't be merged: {told['because']}")
    elif told["merge"]:
        lines += [f"    a merge sets {name} to {raw}" for name, raw in told["merge"]["sets"].items()]
        lines += [f"    a merge removes {name}" for name in told["merge"]["removes"]]
        lines += [] if any(told["merge"].values()) else ["    the owner has all of it: a merge only removes the letter"]
    return lines
