"""Kill the controller at every entry of its journal, before and after: it goes on, and the migration is the same."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from controller_world import Killed, Town, settled
from crossfade.core.values.shape import Side
from engagement_api.keys import wallet_key


async def migrate(town: Town) -> None:
    """A migration with every kind of entry: forward, back, forward again, and to the end."""
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=5_000)
    await settled(town, "rollback")
    await settled(town, "ramp", share=10_000)
    await settled(town, "cutover")
    await settled(town, "complete", confirm="engagement", revoked=True)


async def migrate_in_trouble(town: Town) -> None:
    """A migration with what ADR 0017 adds: an excluded key, a stray, letters discarded by number, a cutover again, a
    key that is left behind.
    """
    await settled(town, "start", exclude=[wallet_key("w1", "chan").decode()])
    await settled(town, "ramp", share=5_000)
    await settled(town, "cutover")
    town.plain_add(Side.SOURCE, "w0", 100)
    await settled(town, "rollback", discard_diverged=2)
    await settled(town, "ramp", share=10_000)
    await settled(town, "cutover")
    await settled(town, "cutover")
    await settled(town, "complete", confirm="engagement", revoked=True, leave_behind=1)


WAYS = (migrate, migrate_in_trouble)


def evidence_of(town: Town) -> dict[str, object]:
    """What must come out the same however often the controller dies."""
    return {
        "phases": [each.body["to"] for each in town.entries("phase")],
        "balances": town.balances(Side.TARGET),
        "owners": town.owners(),
        "document": town.flags.current().document.complete,
        "exports": town.aws.calls.count("export"),
        "imports": town.aws.calls.count("import"),
        "even": all(int(each.body["counter"]) % 2 == 0 for each in town.entries("generation")),
        "letters": len(town.store.letters),
        "discarded": sorted(
            {each.body["discarded"]["code"] for each in town.entries("note") if "discarded" in each.body}
        ),
        "held_out": [each.body.get("held_out") for each in town.entries("phase")],
        "left_behind": [each.body["left_behind"] for each in town.entries("step") if each.body["step"] == "at-final"],
        "numbers": [each.number for each in town.store.journal] == list(range(1, len(town.store.journal) + 1)),
    }


Way = Callable[[Town], Awaitable[None]]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.__name__)
def undisturbed(request: pytest.FixtureRequest) -> tuple[Way, dict[str, object], int]:
    town, way = Town(wallets=2), request.param

    async def run() -> None:
        await way(town)

    asyncio.run(run())
    return way, evidence_of(town), len(town.store.journal)


async def test_killed_before_and_after_each_entry_the_migration_ends_the_same(
    undisturbed: tuple[Way, dict[str, object], int],
) -> None:
    way, expected, _ = undisturbed
    town = Town(wallets=2)
    died: set[tuple[str, int]] = set()

    def kill(when: str, number: int, _kind: str) -> None:
        if (when, number) not in died:
            died.add((when, number))
            raise Killed

    town.kill = kill
    await way(town)
    assert evidence_of(town) == expected
    assert {number for when, number in died if when == "before"} >= {
        each.number for each in town.store.journal if each.who == "controller"
    }


@pytest.mark.deep
@pytest.mark.parametrize("part", range(4))
async def test_killed_once_at_any_entry_the_migration_ends_the_same(
    part: int, undisturbed: tuple[Way, dict[str, object], int]
) -> None:
    way, expected, entries = undisturbed
    for number in range(1 + part, entries + 1, 4):
        town = Town(wallets=2)
        deaths = ["before" if number % 2 else "after"]

        def kill(when: str, at: int, _kind: str, *, deaths: list[str] = deaths, number: int = number) -> None:
            if deaths and (when, at) == (deaths[0], number):
                deaths.pop()
                raise Killed

        town.kill = kill
        await way(town)
        assert evidence_of(town) == expected, f"killed at entry {number}"
