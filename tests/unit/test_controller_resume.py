"""Kill the controller at every entry of its journal, before and after: it goes on, and the migration is the same."""

import asyncio

import pytest

from controller_world import Killed, Town, settled
from crossfade.core.shape import Side


async def migrate(town: Town) -> None:
    """A migration with every kind of entry: forward, back, forward again, and to the end."""
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=5_000)
    await settled(town, "rollback")
    await settled(town, "ramp", share=10_000)
    await settled(town, "cutover")
    await settled(town, "complete", confirm="engagement", revoked=True)


def evidence_of(town: Town) -> dict[str, object]:
    """What must come out the same however often the controller dies."""
    return {
        "phases": [each.body["to"] for each in town.entries("phase")],
        "balances": town.balances(Side.NEW),
        "owners": town.owners(),
        "document": town.flags.current().document.complete,
        "exports": town.aws.calls.count("export"),
        "imports": town.aws.calls.count("import"),
        "even": all(int(each.body["counter"]) % 2 == 0 for each in town.entries("generation")),
        "numbers": [each.number for each in town.store.journal] == list(range(1, len(town.store.journal) + 1)),
    }


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, object], int]:
    town = Town(wallets=2)
    asyncio.run(migrate(town))
    return evidence_of(town), len(town.store.journal)


async def test_killed_before_and_after_each_entry_the_migration_ends_the_same(
    undisturbed: tuple[dict[str, object], int],
) -> None:
    town = Town(wallets=2)
    died: set[tuple[str, int]] = set()

    def kill(when: str, number: int, _kind: str) -> None:
        if (when, number) not in died:
            died.add((when, number))
            raise Killed

    town.kill = kill
    await migrate(town)
    assert evidence_of(town) == undisturbed[0]
    assert {number for when, number in died if when == "before"} >= {
        each.number for each in town.store.journal if each.who == "controller"
    }


@pytest.mark.parametrize("part", range(4))
async def test_killed_once_at_any_entry_the_migration_ends_the_same(
    part: int, undisturbed: tuple[dict[str, object], int]
) -> None:
    expected, entries = undisturbed
    for number in range(1 + part, entries + 1, 4):
        town = Town(wallets=2)
        deaths = ["before" if number % 2 else "after"]

        def kill(when: str, at: int, _kind: str, *, deaths: list[str] = deaths, number: int = number) -> None:
            if deaths and (when, at) == (deaths[0], number):
                deaths.pop()
                raise Killed

        town.kill = kill
        await migrate(town)
        assert evidence_of(town) == expected, f"killed at entry {number}"
