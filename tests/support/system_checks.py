"""What must hold of the whole system in small when it has come to rest, and the repair after an accident."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from crossfade.adapters.clock import SYSTEM
from crossfade.contracts.letter import STRAY
from crossfade.core.ownership.ramp import aim
from crossfade.core.protocol.keyed.item import generation_of, is_active, is_held_out
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.replication.change import decode_change
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, direction_to
from crossfade_replicator.letters import drop_answered
from crossfade_replicator.replay import Redrive
from crossfade_verifier.both import BothTables
from crossfade_verifier.repair import Repairer, described
from engagement_migration import MAPPING
from system_parts import DIRECTIONS, KEYS, now
from system_world import World


class _Unheard:
    """Nobody passes over the tables meanwhile."""

    def repairing(self, keys: int) -> AbstractContextManager[None]:
        """See `crossfade_verifier.repair.Repairs`."""
        return nullcontext()

    async def put_records(self, stream: str, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        """See `crossfade_replicator.publisher.Publisher`."""
        raise AssertionError("no letter of the feed's")


def check_owners(world: World) -> None:
    """No key is standby on both sides, none is left behind by the last move."""
    for key in KEYS:
        side, item, owned = world.owner(key)
        wish = aim(world.document, key)
        assert owned, f"{key.decode()} is standby on both sides"
        other = world.tables[side.other].item(key)
        if wish.generation and (item is not None or other is not None):
            never_was = item is None and not is_active(other, side.other)
            held_out = is_held_out(item) and generation_of(item) > wish.generation
            assert side is wish.side or never_was or held_out, f"{key.decode()} was left behind in {side.value}"


def check_converged(world: World) -> None:
    """The standby holds what its owner holds, at its version."""
    for key in KEYS:
        side, owner, _ = world.owner(key)
        standby = world.tables[side.other].item(key)
        if owner is None or owner.deleted:
            assert standby is None or standby.deleted, f"{key.decode()}: a delete did not arrive: {standby}"
            continue
        assert standby is not None, f"{key.decode()} is missing in {side.other.value}"
        mapped = MAPPING.map_item(direction_to(side.other), owner)
        assert KEYED.rows().is_same_state(mapped, standby), f"{key.decode()}: {standby} is not {mapped}"
        if owner.version is not None:
            assert standby.version == owner.version, f"{key.decode()}: {standby} is not at {owner.version}"


def repair(world: World, seed: int) -> int:
    """Let the verifier repair what it finds unequal, then redrive what is parked; return how many keys it wrote."""
    both = BothTables(MAPPING, world.source, world.target)
    repairer = Repairer(both, {**world.tables}, _Unheard(), clock=SYSTEM)
    written, now_us = 0, SYSTEM.wall_us()
    for again in range(4):
        steps = [step for step in now(repairer.plan(KEYS, now_us=now_us)) if step.write is not None]
        if not steps:
            break
        written += len(steps)
        now(repairer.carry_out([described(step, 1) for step in steps], now_us=now_us))
        world.check()
        world.replicate(seed + again)
    now(
        Redrive(
            MAPPING, lambda side: (world.tables[side],) * 2, world.letters, _Unheard(), "", clock=SYSTEM, execute=True
        ).run()
    )
    return written


def check_feed(world: World) -> None:
    """Each applied operation was told exactly once, in an unbroken chain."""
    for side in Side:
        world.feed(side, range(len(world.tables[side].changes)))
    told = {(each.key, each.version, each.index): each for each in world.published}
    ids = Counter(each.event.transaction_id for each in told.values())
    missing, extra = world.applied - ids, ids - world.applied
    assert not missing, f"not told: {[each.hex() for each in missing]}"
    assert not extra, f"told, and never applied, or twice: {[each.hex() for each in extra]}"
    for key in KEYS:
        chain = sorted((each for each in told.values() if each.key == key), key=lambda each: each.version)
        if key not in world.forgotten:
            links = [each.previous for each in chain]
            assert links == [0, *(each.version for each in chain)][: len(chain)], f"a broken chain: {chain}"


def check_quiet(world: World) -> None:
    """A person was called for accidents and for nothing else; nothing else is parked, nothing was taken for a stray."""
    assert world.pages - {""} <= world.tally.counts.keys(), f"nobody was called: {world.pages}"
    noisy = {"unversioned"}
    noisy |= set() if world.pages else {"stray_standby", "standby_removed"}
    noisy |= set() if world.pages or world.strays_wrote else {"stray", "lifted", "parked", "conflict"}
    assert not noisy & world.tally.counts.keys(), dict(world.tally.counts)
    for side, direction in DIRECTIONS.items():
        now(drop_answered(world.letters, MAPPING, direction, world.tables[side.other]))
    left = [each for each in now(world.letters.all()) if each.code != STRAY]
    assert not left, left


def check_strays(world: World) -> None:
    """Each stray is in a letter, or was carried over and is named; nothing else is taken for one."""
    waiting, settled = now(world.letters.all(code=STRAY)), {each.key: each for each in now(world.letters.settled())}
    listed = {each.payload for each in waiting}
    written = {record for _, record in world.standby_strays}
    assert listed <= written | {record for _, record in world.owner_strays}, "taken for a stray, and none"
    assert written <= listed, "written to a standby, and in no letter"
    for side, record in world.owner_strays:
        change = decode_change(record, MAPPING.shape(side).key)
        named = settled.get(change.key)
        carried = named is not None and named.committed_us >= change.committed_us
        assert carried or record in listed, "written to an owner, and never named"
    last_us = {key: max(_times(world, key), default=0) for key in settled}
    assert {key: each.committed_us for key, each in settled.items()} == last_us, "named at another time"


def _times(world: World, key: Key) -> list[int]:
    changes = [decode_change(record, MAPPING.shape(side).key) for side, record in world.owner_strays]
    return [each.committed_us for each in changes if each.key == key]
