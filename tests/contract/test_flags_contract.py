"""Flags: one suite on the memory fake and on a flagd file read through OpenFeature."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crossfade.adapters.flagd import FlagFile, FlagsRefused, flagd_file, parse_flagd_file
from crossfade.adapters.flags import FlagdFile
from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import ConfigError, StateMissing
from crossfade.ports.flags import FlagPublisher, FlagSource
from crossfade_verifier.main import says_complete

RAMPING = FlagDocument(share=1_000, target_gen=4, source_gen=2)
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
    (FlagDocument(), "target_gen would fall from 4 to 0"),
    (RAMPING._replace(source_gen=0), "source_gen would fall from 2 to 0"),
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
        await publisher.publish(complete._replace(complete=False, target_gen=10), dual_write=True)
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


@pytest.mark.parametrize("odd", [RAMPING._replace(target_gen=3), RAMPING._replace(source_gen=1)])
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


def flagd_with(ownership: object = None, dual_write: object = None, **changes: object) -> str:
    """Return a file as the controller writes it, and then by another hand: changes are of the flag `ownership`."""
    file = json.loads(flagd_file(RAMPING, dual_write=True))
    flags = file["flags"]
    if ownership is not None:
        flags["ownership"]["variants"]["current"] |= ownership
    if dual_write is not None:
        flags["dual-write"]["variants"]["on"] = dual_write
    flags["ownership"] |= changes
    return json.dumps(file)


def without(*path: str) -> str:
    file = found = json.loads(flagd_with())
    for name in path[:-1]:
        found = found[name]
    del found[path[-1]]
    return json.dumps(file)


def beside(flag: object) -> str:
    """Return a file with another flag."""
    file = json.loads(flagd_with())
    file["flags"]["hello"] = flag
    return json.dumps(file)


RULE = {"if": [{"in": ["pod-7", {"var": "targetingKey"}]}, "current", None]}

REFUSED = {
    "disabled": (flagd_with(state="DISABLED"), r"the flag `ownership` is 'DISABLED'.*ENABLED"),
    "no state": (without("flags", "ownership", "state"), "the flag `ownership` has no state"),
    "targeting": (flagd_with(targeting=RULE), "the flag `ownership` has targeting.*one value: remove the rule"),
    "no flags": ('{"flags": {}}', "the flag `ownership` is missing"),
    "nothing": ("{}", "it has no `flags`"),
    "a list": ("[]", "it has no `flags`"),
    "no ownership": (without("flags", "ownership"), "the flag `ownership` is missing"),
    "no dual-write": (without("flags", "dual-write"), "the flag `dual-write` is missing"),
    "no default": (flagd_with(defaultVariant=None), "the flag `ownership` has no variant None"),
    "unknown default": (flagd_with(defaultVariant="old"), "the flag `ownership` has no variant 'old'"),
    "a newer version": (flagd_with({"v": 2}), "ownership.v is 2: this build reads up to 1; run the build"),
    "no version": (flagd_with({"v": None}), "ownership.v is None"),
    "share as text": (flagd_with({"share": "5000"}), "ownership.share is '5000': a whole number from 0 to 10000"),
    "share null": (flagd_with({"share": None}), "ownership.share is None"),
    "share true": (flagd_with({"share": True}), "ownership.share is True"),
    "share a fraction": (flagd_with({"share": 5000.5}), "ownership.share is 5000.5"),
    "share of a double": (flagd_with({"share": 5000.0}), "ownership.share is 5000.0"),
    "share beyond all": (flagd_with({"share": 99_999}), "ownership.share is 99999"),
    "share below none": (flagd_with({"share": -1}), "ownership.share is -1"),
    "generation null": (flagd_with({"target_gen": None}), "ownership.target_gen is None"),
    "generation as text": (flagd_with({"source_gen": "2"}), "ownership.source_gen is '2'"),
    "generation below none": (flagd_with({"source_gen": -2}), "ownership.source_gen is -2"),
    "complete as text": (flagd_with({"complete": "false"}), "ownership.complete is 'false'"),
    "complete missing": (
        without("flags", "ownership", "variants", "current", "complete"),
        "ownership has no complete",
    ),
    "a field that flagd doesn't know": (
        flagd_with(description="ours"),
        "`ownership` has description, so flagd refuses",
    ),
    "another flag that flagd doesn't take": (beside({"state": "ON"}), "`hello` has no state or no variants"),
    "another flag that is none": (beside(True), "`hello` is not an object"),
    "dual-write as text": (flagd_with(dual_write="off"), "dual-write is 'off': true or false"),
    "dual-write a number": (flagd_with(dual_write=1), "dual-write is 1"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
async def test_b6_a_file_that_cannot_be_meant_is_refused_by_name_and_a_running_pod_keeps_its_flags(
    tmp_path: Path, text: str, why: str
) -> None:
    """Two readers took such files for share 0, for another share, or for nothing at all, each in its own way."""
    path = tmp_path / "flags.json"
    path.write_text(text)
    with pytest.raises(FlagsRefused, match=why):
        parse_flagd_file(text)
    with pytest.raises(ConfigError, match=rf"flags\.json: .*{why}"):
        await FlagdFile(path).start()
    FlagFile(path).write(RAMPING, dual_write=True)
    source = FlagdFile(path, poll_s=POLL_S)
    await source.start()
    now_ns = path.stat().st_mtime_ns + 1_000_000_000
    path.write_text(text)
    os.utime(path, ns=(now_ns, now_ns))  # newer, so that the provider reads it
    for _ in range(5):
        await asyncio.sleep(POLL_S)
        assert source.current()[:2] == (RAMPING, True)
    assert source.current().age_s > 2 * POLL_S, "and its age tells"
    with pytest.raises(ConfigError, match=why):
        await source.refresh()
    FlagFile(path).write(RAMPING._replace(share=1_001), dual_write=False)
    assert (await source.refresh())[:2] == (RAMPING._replace(share=1_001), False), "what can be meant is taken again"
    await source.close()


TAKEN = {
    "an empty rule": flagd_with(targeting={}),
    "a field of a newer controller": flagd_with({"weight": 3}),
    "another flag beside": beside({"state": "DISABLED", "variants": {"on": True}}),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN.keys())
async def test_b6_what_can_be_meant_means_the_same_to_every_reader(tmp_path: Path, text: str) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text)
    source = FlagdFile(path, poll_s=POLL_S)
    await source.start()
    found = await FlagFile(path).in_place()
    assert found is not None
    assert source.current()[:2] == found[:2] == parse_flagd_file(text) == (RAMPING, True)
    await source.close()


@pytest.mark.parametrize("name", ["disabled", "targeting", "no dual-write", "share as text", "share beyond all"])
async def test_b6_a_refused_file_still_keeps_older_generations_from_being_published(tmp_path: Path, name: str) -> None:
    """Whoever disabled the flag took no generation back."""
    path = tmp_path / "flags.json"
    path.write_text(REFUSED[name][0])
    with pytest.raises(StateMissing, match="target_gen would fall from 4 to 0"):
        await FlagFile(path).publish(FlagDocument(), dual_write=False)
    await FlagFile(path).publish(RAMPING, dual_write=False)
    assert parse_flagd_file(path.read_text()) == (RAMPING, False)


def test_b6_to_the_verifier_complete_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    for ownership, changes in (({}, {}), ({}, {"state": "DISABLED"}), ({"share": "10000"}, {})):
        path.write_text(flagd_with({"complete": True, **ownership}, **changes))
        assert says_complete(path)
    path.write_text(flagd_with())
    assert not says_complete(path)
    path.write_text("{")
    assert not says_complete(path)
    assert not says_complete(tmp_path / "none.json")


async def test_a_missing_file_is_named_before_the_service_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"flags\.json"):
        await FlagdFile(tmp_path / "flags.json").start()


def test_a_file_reads_back_as_it_was_written() -> None:
    assert parse_flagd_file(flagd_file(RAMPING, dual_write=True)) == (RAMPING, True)
