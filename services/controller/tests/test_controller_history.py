"""Whether a migration has run before: what counts as a trace, and that no message costs anybody a table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from controller_world import Town, run, settled
from crossfade.adapters.memory.control import MemoryStatusBoard
from crossfade.core.migration.control import control_tables, missing_because
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.state import Migration
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import StateMissing
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.shape import Side
from crossfade_controller.history import check_history, owned_rows
from crossfade_controller.planning import check_plan
from engagement_migration.samples import legacy_wallet

ROOT = Path(__file__).parents[3]
TABLES = control_tables("engagement")


async def in_baking() -> Town:
    town = Town()
    for verb, arguments in (("start", {"exclude": []}), ("ramp", {"share": 10_000}), ("cutover", {})):
        await settled(town, verb, **arguments)
    return town


def forget(town: Town) -> Town:
    """Lose the journal, the flags and the last status: only the rows are left."""
    town.store.journal.clear()
    town.store.status = {}
    town.flags.show(FlagDocument(), dual_write=False)
    return town


async def rows_only(town: Town) -> None:
    forget(town)


async def flags_only(town: Town) -> None:
    flags = town.flags.current()
    forget(town)
    for table in town.tables.values():
        for image in table.images.values():
            for name in ("cf_role", "cf_gen"):
                image.pop(name, None)
    town.flags.show(flags.document, dual_write=False)


async def status_only(town: Town) -> None:
    await flags_only(town)
    forget(town)
    await MemoryStatusBoard(town.store).put({"journal": 40})


async def sealed_only(town: Town) -> None:
    forget(town)
    town.aws._existing.discard("engagement")


LOSSES = [
    (rows_only, "table engagement owns keys"),
    (sealed_only, "keys of table wallet are handed over"),
    (flags_only, "the published flags have share 100 %, target_gen"),
    (status_only, "its last status had seen journal entry 40"),
]


@pytest.mark.parametrize(("lose", "trace"), LOSSES, ids=[trace for _, trace in LOSSES])
async def test_an_empty_journal_is_no_beginning_while_anything_shows_a_history(
    lose: Callable[[Town], Awaitable[None]], trace: str
) -> None:
    town = await in_baking()
    await lose(town)
    before = town.flags.current()
    with pytest.raises(StateMissing, match=trace) as caught:
        await town.start()
    assert "mistyped" in str(caught.value)
    assert "restore-table-from-backup --target-table-name engagement-journal" in str(caught.value)
    assert town.flags.current() == before
    assert town.store.journal == []


async def test_a_journal_that_ends_before_what_a_status_knew_is_refused() -> None:
    town = await in_baking()
    await MemoryStatusBoard(town.store).put({"journal": len(town.store.journal)})
    del town.store.journal[-2:]
    with pytest.raises(StateMissing, match=r"ends at entry \d+, but a status had seen entry \d+"):
        await town.start()


async def test_intents_and_notes_that_people_wrote_begin_no_history() -> None:
    town = await in_baking()
    forget(town)
    await town.ask("start", exclude=[])
    with pytest.raises(StateMissing, match="owns keys"):
        await town.start()


async def test_a_first_start_and_one_after_an_earlier_migration_of_the_source_rows_go_on() -> None:
    town = Town()
    row = {**legacy_wallet("again", "chan", 7), "cf_role": of_string("A"), "cf_gen": of_number(8)}
    town.tables[Side.SOURCE].put(row)  # handed back by a migration that was aborted
    ctx, _ = await run(town, lambda: True)
    await check_history(ctx.world, Migration(KEYED_PHASES))
    await settled(town, "start", exclude=[])


async def test_a_restart_in_any_phase_publishes_its_own_document_again() -> None:
    town = await in_baking()
    document = town.flags.current()
    await town.start()
    assert town.flags.current() == document


async def test_a_plan_over_a_table_that_owns_keys_says_so_and_costs_nobody_a_table() -> None:
    town = await in_baking()
    ctx, _ = await town.start()
    owned = await owned_rows(ctx.world)
    assert owned.owned >= owned.read - 3 > 0  # tombstones and stubs
    check = target_table(await check_plan(ctx.world))
    assert not check.open
    assert "this table owns keys" in check.because
    assert "delete" not in check.because


async def test_the_first_key_that_moves_is_looked_for_where_a_sample_would_miss_it() -> None:
    town = Town(plan_sample=1)
    ctx, driver = await settled(town, "start", exclude=[])
    for _ in range(20):
        await town.live()
        await driver.tick()
    owned = await owned_rows(ctx.world)
    assert owned.owned == 1
    assert "cf-canary" in owned.example


async def test_a_plan_over_a_table_that_owns_nothing_names_another_cure_than_its_end() -> None:
    town = Town()
    town.aws._existing.add("engagement")
    ctx, _ = await town.start()
    assert "give the mapping's target table another name" in target_table(await check_plan(ctx.world)).because


async def test_a_plan_without_control_tables_says_how_they_are_made() -> None:
    town = Town()
    ctx, _ = await town.start()
    town.missing = list(TABLES)
    checks = {each.name: each for each in (await check_plan(ctx.world)).checks}
    assert checks["control_tables"].because.endswith("for a first start, crossfade control create --execute")
    town.missing = [TABLES.dead_letters]
    checks = {each.name: each for each in (await check_plan(ctx.world)).checks}
    assert "--target-table-name engagement-dead-letters" in checks["control_tables"].because


def target_table(plan: object) -> GateResult:
    (found,) = (each for each in plan.checks if each.name == "target_table")  # type: ignore[attr-defined]
    return found  # type: ignore[no-any-return]


def test_what_is_missing_is_named_with_its_cure() -> None:
    assert missing_because(TABLES, []) == ""
    lost = missing_because(TABLES, ["engagement-journal"])
    assert "engagement-leases, engagement-heartbeats" in lost
    assert "control create" in lost
    assert "list-backups --table-name engagement-journal --backup-type SYSTEM" in lost


ADVICE = re.compile(
    r"\b(?:delete|drop|remove) (?:(?:the |this |that |your )?(?:new |target |old )?table\b|it\b(?! through the API))",
    re.I,
)


@pytest.mark.parametrize("suffix", ["*.py", "*.md", "*.yaml", "*.json"])
def test_no_word_of_ours_advises_to_delete_a_table(suffix: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("services", "libs/common", "deploy", "docs", "migrations", "demo", "README.md")
        for path in ([ROOT / folder] if folder.endswith(".md") else (ROOT / folder).rglob(suffix))
        if path.suffix == suffix[1:]
        and path.name != "0018-a-history-has-one-beginning.md"
        and "/.terraform/" not in str(path)
        for line in path.read_text().splitlines()
        if ADVICE.search(line)
    ]
    assert not found, "\n".join(found)
