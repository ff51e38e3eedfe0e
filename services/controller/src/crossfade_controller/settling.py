"""Letters: which need a decision, which are discarded, and which nothing is left to do about (ADR 0017)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import structlog

from crossfade.contracts.letter import DIVERGED, STRAY, DeadLetter
from crossfade.core.mapping.copies import why_not
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.control import COUNT_AT_MOST
from crossfade_controller.context import Context
from crossfade_controller.diverged import CONSUMERS, name_of

log = structlog.get_logger()

PART_BYTES: Final = 200_000
"""Of a payload in one journal entry; a larger one takes several."""


async def waiting_letters(ctx: Context) -> list[DeadLetter]:
    """Return the letters of strays and diverged keys that need a decision, oldest first."""
    await ctx.diverged.drop_agreed()
    await _drop_discarded(ctx)
    return await _letters(ctx)


async def _letters(ctx: Context) -> list[DeadLetter]:
    found = [await ctx.world.letters.all(limit=COUNT_AT_MOST, code=code) for code in (STRAY, DIVERGED)]
    return sorted((each for letters in found for each in letters), key=lambda each: each.at_us)


async def _drop_discarded(ctx: Context) -> int:
    """Take out the letters that an operator discarded: we died before we could, or a consumer read the record again."""
    gone = [each for each in await _letters(ctx) if name_of(each) in ctx.state.discarded]
    for letter in gone:
        await ctx.world.letters.remove(letter)
    return len(gone)


async def let_go(ctx: Context) -> int:
    """Take out the letters that nothing is left to do about; return how many.

    Of diverged keys, when their rows agree again. Of held-out keys, those about copies that the target table refused:
    the row itself says that it stays, but the record of its seal, or of a write before it was marked, said nothing of
    that. In RAMPING rows that have stopped to go there are marked first.
    """
    gone = await ctx.diverged.drop_agreed() + await _drop_discarded(ctx)
    found = [each for each in await ctx.world.letters.all() if each.code not in {STRAY, DIVERGED} and each.key]
    keys = list({each.key for each in found if each.consumer == CONSUMERS[Side.SOURCE]})
    source = ctx.world.tables[Side.SOURCE]
    rows = await source.read_many(keys) if keys else {}
    if await _marked(ctx, rows):
        rows = await source.read_many(keys)
    reader = ctx.world.mapping.protocol.rows()
    for letter in found:
        if letter.consumer == CONSUMERS[Side.SOURCE] and reader.is_held_out(rows.get(letter.key)):
            await ctx.world.letters.remove(letter)
            gone += 1
    return gone


async def _marked(ctx: Context, rows: Mapping[Key, Row]) -> bool:
    """Mark rows that have stopped to go to the target table while keys move; say whether there were any.

    A client's handover is refused before the seal, so nothing in the row says that it stays: its letter and its drift
    would hold up each raise, and the cutover, whose sweep is what marks such rows. What only the table can refuse is
    marked by its give-back. A pause holds this, as it holds all handovers of ours.
    """
    if ctx.state.phase is not Phase.RAMPING or ctx.state.paused:
        return False
    reader = ctx.world.mapping.protocol.rows()
    causes = {
        key: because
        for key, item in rows.items()
        if reader.may_leave(item, Side.SOURCE)
        if (because := why_not(ctx.world.mapping, key, Side.TARGET, item))
    }
    if causes:
        aim = Aim(Side.TARGET, await ctx.allocate("rows that can't move"))
        for key, done in zip(causes, await ctx.world.ownership.hold_out_many(causes, aim), strict=True):
            because = str(done) if isinstance(done, Exception) else causes[key]
            log.warning("row can't move", key=key.decode(), because=because)
    return bool(causes)


async def discard_letters(ctx: Context, names: Collection[str], intent: int, who: str) -> None:
    """Discard these letters, and no other that came since: each goes into the journal with its payload first."""
    for letter in await _letters(ctx):
        if name_of(letter) in names:
            await _discard(ctx, letter, intent, who)


async def _discard(ctx: Context, letter: DeadLetter, intent: int, who: str) -> None:
    text = letter.payload.decode(errors="replace")
    parts = [text[at : at + PART_BYTES] for at in range(0, len(text), PART_BYTES)] or [""]
    told = {"letter": name_of(letter), "key": letter.key.decode(), "code": letter.code, "reason": letter.reason}
    for number, part in enumerate(parts, 1):
        place = {"intent": intent, "who": who, "part": number, "parts": len(parts), "payload": part}
        await ctx.append("note", {"discarded": {**told, **place}})
    await ctx.world.letters.remove(letter)
