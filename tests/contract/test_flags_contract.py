"""Flags: one suite on the memory fake and on a flagd file read through OpenFeature."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crossfade.adapters.flags import FlagdFile, FlagFile, flagd_file, parse_flagd_file
from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import ConfigError, StateMissing
from crossfade.ports.flags import FlagPublisher, FlagSource

RAMPING = FlagDocument(share=1_000, new_gen=4, legacy_gen=2)
POLL_S = 0.05


@pytest.fixture(params=["memory", "flagd"])
async def flags(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[FlagPublisher, FlagSource]]:
    if request.param == "memory":
        memory = MemoryFlags()
        yield memory, memory
        return
    publisher = FlagFile(tmp_path / "flags.json")
    await publisher.publish(FlagDocument(), dual_write=False)
    source = FlagdFile(tmp_path / "flags.json", poll_s=POLL_S)
    await source.start()
    yield publisher, source
    await source.close()


async def test_what_was_published_is_read(flags: tuple[FlagPublisher, FlagSource]) -> None:
    publisher, source = flags
    assert source.current()[:2] == (FlagDocument(), False)
    await publisher.publish(RAMPING, dual_write=True)
    assert (await source.refresh())[:2] == (RAMPING, True)
    assert source.current()[:2] == (RAMPING, True)


async def test_files_published_in_one_tick_are_all_seen(flags: tuple[FlagPublisher, FlagSource]) -> None:
    publisher, source = flags
    for share in (1, 2, 3):
        await publisher.publish(RAMPING._replace(share=share), dual_write=False)
    assert (await source.refresh()).document.share == 3


async def test_a_new_file_is_seen_without_asking(flags: tuple[FlagPublisher, FlagSource]) -> None:
    publisher, source = flags
    await publisher.publish(RAMPING, dual_write=False)
    for _ in range(600):  # half a minute: a busy machine polls late
        if source.current().document == RAMPING:
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError(source.current())


BEHIND = [
    (FlagDocument(), "new_gen would fall from 4 to 0"),
    (RAMPING._replace(legacy_gen=0), "legacy_gen would fall from 2 to 0"),
]


@pytest.mark.parametrize(("document", "why"), BEHIND)
async def test_a_document_with_lower_generations_is_never_published(
    flags: tuple[FlagPublisher, FlagSource], document: FlagDocument, why: str
) -> None:
    publisher, source = flags
    await publisher.publish(RAMPING, dual_write=True)
    with pytest.raises(StateMissing, match=f"{why}.*ahead of the journal"):
        await publisher.publish(document, dual_write=False)
    assert (await source.refresh())[:2] == (RAMPING, True)
    found = await publisher.in_place()
    assert found is not None
    assert found[:2] == (RAMPING, True)


async def test_complete_is_never_taken_back_and_the_same_document_goes_out_again(
    flags: tuple[FlagPublisher, FlagSource],
) -> None:
    publisher, source = flags
    complete = RAMPING._replace(share=10_000, complete=True)
    for _ in range(2):
        await publisher.publish(complete, dual_write=True)
    with pytest.raises(StateMissing, match="complete would be taken back"):
        await publisher.publish(complete._replace(complete=False, new_gen=10), dual_write=True)
    assert (await source.refresh()).document == complete


async def test_a_broken_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "flags.json").write_text("{")
    publisher = FlagFile(tmp_path / "flags.json")
    assert await publisher.in_place() is None
    await publisher.publish(RAMPING, dual_write=False)
    assert await publisher.in_place() is not None


async def test_the_age_of_a_broken_file_grows_and_the_last_value_stays(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    await FlagFile(path).publish(RAMPING, dual_write=False)
    source = FlagdFile(path, poll_s=POLL_S)
    await source.start()
    path.write_text("{")
    await asyncio.sleep(6 * POLL_S)
    assert source.current().document == RAMPING
    assert source.current().age_s > 3 * POLL_S
    with pytest.raises(ConfigError):
        await source.refresh()
    await source.close()


@pytest.mark.parametrize("odd", [RAMPING._replace(new_gen=3), RAMPING._replace(legacy_gen=1)])
async def test_adr_0014_a_document_of_version_0_1_is_never_worked_under(tmp_path: Path, odd: FlagDocument) -> None:
    """A seal of its odd generation would be taken for a fence."""
    path = tmp_path / "flags.json"
    path.write_text(flagd_file(odd, dual_write=True))
    with pytest.raises(ConfigError, match=r"flags\.json|odd: its migration was begun by version 0\.1"):
        await FlagdFile(path).start()
    path.write_text(flagd_file(RAMPING, dual_write=True))
    source = FlagdFile(path, poll_s=POLL_S)
    await source.start()
    path.write_text(flagd_file(odd, dual_write=True))
    for _ in range(600):
        try:
            assert source.current().document == RAMPING
        except ConfigError:
            break
        await asyncio.sleep(POLL_S)
    with pytest.raises(ConfigError, match="finish or abort it with that version"):
        source.current()
    await source.close()
    found = await FlagFile(path).in_place()
    assert found is not None, "and a controller sees that it is there"


async def test_a_missing_file_is_named_before_the_service_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"flags\.json"):
        await FlagdFile(tmp_path / "flags.json").start()


def test_a_file_reads_back_as_it_was_written() -> None:
    assert parse_flagd_file(flagd_file(RAMPING, dual_write=True)) == (RAMPING, True)
