"""The replicator's smaller parts: settings, the journal's phase, reports, draining, waiting, tools."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Raw

from apply_cases import COMMITTED_US, KEY, V, payload, protocol, source
from crossfade.adapters.control.reports import Held
from crossfade.adapters.memory.control import ControlStore, MemoryDeadLetters, MemoryJournal
from crossfade.contracts.journal import Entry
from crossfade.contracts.report import Report
from crossfade.core.migration.phases import Phase
from crossfade.core.values.errors import ConfigError, StateMissing, StoreRefused, StoreUnavailable
from crossfade.core.values.shape import Direction, Side
from crossfade.runtime.retry import persist
from crossfade.runtime.settings import read_settings
from crossfade_replicator.journal import PhaseWatch, Standing, work_of
from crossfade_replicator.kill_points import POINTS, KillPoints
from crossfade_replicator.letters import Place, letter
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.readiness import wait_for
from crossfade_replicator.replay import Redrive, Sides, apply_pipeline, records_of, replay
from crossfade_replicator.reporting import Tallies, is_drained, reports
from crossfade_replicator.settings import ConsumerKind, Settings
from engagement_migration import MAPPING
from faust_kinesis import EngineReport, ShardReport
from plain_protocol import PlainMapping
from replicator_bench import Bench, Counting, Rec, records

# ---- settings and kill points ------------------------------------------------------------------


def test_a_kill_point_needs_the_insecure_setting_and_must_exist() -> None:
    with pytest.raises(ConfigError, match="INSECURE"):
        read_settings(Settings, consumer="forward", kill_at=POINTS[0])
    with pytest.raises(ConfigError, match="no such point"):
        read_settings(Settings, consumer="forward", kill_at="nowhere", insecure=True)
    assert (
        read_settings(Settings, consumer="forward", kill_at=POINTS[0], insecure=True).consumer is ConsumerKind.FORWARD
    )


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="three times"):
        read_settings(Settings, consumer="forward", lease_s=2.0, cycle_s=1.0)
    with pytest.raises(ConfigError, match="CONSUMER"):
        read_settings(Settings)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_point_kills_at_its_turn(point: str) -> None:
    turns = f"k.reached('{point}'); print('once', flush=True); k.reached('{point}')"
    program = f"from crossfade_replicator.kill_points import KillPoints; k = KillPoints('{point}:2'); {turns}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (-signal.SIGKILL, b"once\n")


def test_without_a_kill_point_nothing_happens() -> None:
    for point in POINTS:
        KillPoints().reached(point)
    with pytest.raises(ConfigError, match="number"):
        KillPoints(f"{POINTS[0]}:x")


# ---- the phase ---------------------------------------------------------------------------------


async def test_the_watch_follows_the_phase_and_reads_each_entry_once() -> None:
    store = ControlStore()
    journal = MemoryJournal(store, now_us=lambda: 7)
    watch = PhaseWatch(MemoryJournal(store))
    assert await watch.look() == Standing(Phase.PLANNED, 0)
    await journal.append("phase", {"from": "PLANNED", "to": "CAPTURING"})
    await journal.append("note", {"to": "BAKING"})
    assert await watch.look() == Standing(Phase.CAPTURING, 7)
    store.journal.clear()
    assert (await watch.look()).phase is Phase.CAPTURING


async def test_a_journal_that_is_missing_is_no_phase_but_an_error_that_is_waited_out() -> None:
    class Missing:
        async def entries(self, *, after: int = 0) -> list[object]:
            raise StateMissing("control table engagement-journal does not exist")

    with pytest.raises(StateMissing) as caught:
        await PhaseWatch(Missing()).look()  # type: ignore[arg-type]  # all it asks
    assert caught.value.retryable


def test_forward_never_runs_while_the_import_may_overwrite_what_it_applies() -> None:
    forward, reverse = (work_of(MAPPING, direction) for direction in (Direction.FORWARD, Direction.REVERSE))
    assert not forward & {Phase.PLANNED, Phase.CAPTURING, Phase.SNAPSHOT, Phase.ABORTED}
    assert reverse < forward
    assert {Phase.BOTH_WAYS, Phase.RAMPING, Phase.CUT_OVER, Phase.BAKING, Phase.ROLLED_BACK} < reverse


def test_which_phases_have_work_is_the_mappings_protocols_to_say() -> None:
    with pytest.raises(ConfigError, match="no phase table for the writer protocol Plain"):
        work_of(PlainMapping(Side.SOURCE), Direction.FORWARD)


# ---- reports -----------------------------------------------------------------------------------


def shard(name: str, age_s: float | None, oldest_s: float | None = None) -> ShardReport:
    return ShardReport(name, None if age_s is None else 0, 1.0, oldest_s, "c", age_s, None)


def test_a_shard_that_was_never_read_is_not_reported() -> None:
    """Its lag is unknown, and unknown must shut the gates."""
    tallies = Tallies()
    tallies.of("s-1").add(BatchOutcome({"applied": 3, "stray": 1}, stray_last_us=7))
    engine = EngineReport("wallet-changes", (shard("s-1", 0.5, 1.25), shard("s-2", None)), None)
    [found] = reports("forward", engine, tallies, now_us=9)
    assert (found.consumer, found.shard, found.at_us) == ("forward", "wallet-changes/s-1", 9)
    assert (found.iterator_age_ms, found.oldest_unapplied_us) == (500, 1_250_000)
    assert (found.counts, found.stray_last_us) == ({"applied": 3, "stray": 1}, 7)


async def test_a_restarted_process_goes_on_reporting_the_last_stray() -> None:
    class Kept:
        asked = 0

        async def held(self, role: str, shard: str) -> Held | None:
            self.asked += 1
            return Held(Report(role, shard, 1, 0, 0, 0, {}, stray_last_us=7, imprecise_last_us=3), Raw(b"{}"))

    tallies, kept = Tallies(), Kept()
    engine = EngineReport("wallet-changes", (shard("s-1", 0.5),), None)
    for _ in range(2):
        await tallies.recall("forward", engine, kept)
    [found] = reports("forward", engine, tallies, now_us=9)
    assert (found.stray_last_us, found.imprecise_last_us, kept.asked) == (7, 3, 1)


def test_drained_means_that_what_came_before_a_moment_is_applied_on_every_shard() -> None:
    def drained(*ages_s: float | None) -> bool:
        engine = EngineReport("s", tuple(shard(str(number), age) for number, age in enumerate(ages_s)), None)
        return is_drained([engine], 100.0, 3.0, now_s=105.0)

    assert drained(2.0, 0.0)
    assert not drained(2.0, 2.1)
    assert not drained(2.0, None)
    assert not drained(), "nothing is known before the first lease"


# ---- waiting -----------------------------------------------------------------------------------


async def test_waiting_goes_on_through_trouble_and_ends_when_asked_to() -> None:
    answers: list[str | Exception] = ["stream x", StoreUnavailable("silence"), "table y", ""]

    async def missing() -> str:
        answer = answers.pop(0) if answers else "for ever"
        if isinstance(answer, Exception):
            raise answer
        return answer

    stop = asyncio.Event()
    assert await wait_for(missing, stop, consumer="forward", poll_s=0.001)
    assert answers == []
    asyncio.get_running_loop().call_later(0.02, stop.set)
    assert not await wait_for(missing, stop, consumer="forward", poll_s=0.001)


async def test_persisting_ends_where_trying_again_can_not_help() -> None:
    tries = 0

    async def refused() -> None:
        nonlocal tries
        tries += 1
        raise StoreUnavailable("later") if tries < 3 else StoreRefused("never", reason="AccessDenied")

    async def no_sleep(_s: float) -> None: ...

    with pytest.raises(StoreRefused):
        await persist(refused, sleep=no_sleep)
    assert tries == 3


# ---- replay and redrive ------------------------------------------------------------------------


def owned(version: int, balance: int) -> bytes:
    return payload(source(KEY, balance, **protocol(version, "A", 1, version)), None)


def sides(bench: Bench) -> Sides:
    return Sides(bench.source, bench.target, bench.target)


async def test_a_replay_is_dry_unless_told_to_execute(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"\n".join([owned(V, 5), b"", b"{", owned(V + 1, 6)]) + b"\n")
    found = list(records_of(file))
    assert [each.sequence_number for each in found] == ["1", "3", "4"]
    for execute in (False, True):
        bench, letters = Bench(), MemoryDeadLetters()
        pipeline = apply_pipeline(MAPPING, Direction.FORWARD, sides(bench), letters, clock=bench.clock, execute=execute)
        summary = await replay(found, pipeline, origin="replay", execute=execute)
        assert summary.executed is execute
        assert summary.counts == {"records": 3, "applied": 1, "coalesced": 1, "parked": 1}
        assert [(each.sequence, each.code) for each in summary.parked] == [("replay:3", "poison_record")]
        assert bool(bench.target.images) is execute


async def test_a_dry_replay_judges_by_what_the_target_holds_and_lifts_nothing() -> None:
    bench, letters = Bench(), MemoryDeadLetters()
    await bench.forward([owned(V + 1, 6)])
    bench.source.put(source(**protocol(V, "A", 1, V)))
    stray = payload(source(KEY, 9, **protocol(V, "A", 1, V)), source(KEY, 5, **protocol(V, "A", 1, V)))
    before = dict(bench.source.images)
    pipeline = apply_pipeline(
        MAPPING, Direction.FORWARD, sides(bench), letters, clock=bench.clock, execute=False, strays_since_us=1
    )
    summary = await replay(records([owned(V, 5), stray]), pipeline, origin="replay", execute=False)
    assert summary.counts == {"records": 2, "stale": 1, "stray": 1, "lifted": 1}
    assert bench.source.images == before


async def test_a_missing_file_is_said() -> None:
    with pytest.raises(ConfigError, match="no-such-file"):
        list(records_of(Path("no-such-file")))


class NoPublisher:
    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    async def put_records(self, stream: str, records: list[tuple[str, bytes]]) -> list[bool]:
        self.taken += records
        return [True] * len(records)


async def test_a_redrive_lets_go_what_is_settled_and_keeps_the_rest() -> None:
    bench, publisher = Bench(), NoPublisher()
    await bench.marks.mark(Direction.FORWARD, {KEY: V + 9})
    for number, (role, data) in enumerate([("forward", owned(V, 5)), ("forward", b"{"), ("feed-source", owned(V, 5))]):
        place = Place(role, "shard-1", str(number))
        await bench.letters.park(letter(place, Rec(str(number), data), None, code="x", reason="y", now_us=COMMITTED_US))

    def tables(side: object) -> tuple[object, Counting]:
        table = bench.tables[side]  # type: ignore[index]  # a Side
        return table, Counting(table)

    for execute in (False, True):
        redrive = Redrive(MAPPING, tables, bench.letters, publisher, "events", clock=bench.clock, execute=execute)  # type: ignore[arg-type]  # fakes
        found = await redrive.run()
        assert [(each.consumer, each.settled) for each in found] == [
            ("forward", True), ("forward", False), ("feed-source", True),
        ]  # fmt: skip
        assert found[1].reason.startswith("not a change record")
        assert bool(bench.target.images) is bool(publisher.taken) is execute, "the mark must not hide the write"
    assert [each.payload for each in await bench.letters.all()] == [b"{"]
    assert json.loads(publisher.taken[0][1])["version"] == str(V)


# ---- from when on writers are strays -----------------------------------------------------------


class Asked(MemoryJournal):
    """A journal that counts how often it is read, and may be silent."""

    reads = 0
    silent = False

    def __init__(self, store: ControlStore, now_us: Callable[[], int] = lambda: 1) -> None:
        super().__init__(store, now_us=now_us)
        self.answers = asyncio.Event()
        self.answers.set()

    async def entries(self, *, after: int = 0) -> list[Entry]:
        self.reads += 1
        found = await super().entries(after=after)
        await self.answers.wait()  # what is appended from here on, this answer doesn't have
        if self.silent:
            raise StoreUnavailable("silence")
        return found


async def entered(journal: MemoryJournal, phase: Phase, **evidence: object) -> Entry:
    return await journal.append("phase", {"from": "", "to": phase.value, "gates": [], **evidence})


async def test_the_moment_is_read_from_the_entry_into_dual_write_and_never_again() -> None:
    journal = Asked(ControlStore())
    watch = PhaseWatch(journal)
    await entered(journal, Phase.CATCHING_UP)
    assert [await watch.strays_since_us(side) for side in Side] == [0, 0]
    await entered(journal, Phase.BOTH_WAYS, strays_since_us={"source": 70, "target": 80})
    assert {side: await watch.strays_since_us(side) for side in Side} == {Side.SOURCE: 70, Side.TARGET: 80}
    reads = journal.reads
    journal.silent = True
    assert await watch.strays_since_us(Side.SOURCE) == 70
    assert journal.reads == reads


async def test_a_rollback_that_comes_by_dual_write_again_does_not_move_the_moment() -> None:
    journal = Asked(ControlStore())
    watch = PhaseWatch(journal)
    await entered(journal, Phase.BOTH_WAYS, strays_since_us={"source": 70, "target": 80})
    for phase in (Phase.RAMPING, Phase.ROLLED_BACK):
        await entered(journal, phase)
    await entered(journal, Phase.BOTH_WAYS, strays_since_us={"source": 900, "target": 900})
    assert await watch.strays_since_us(Side.TARGET) == 80
    assert (await watch.look()).phase is Phase.BOTH_WAYS


async def test_an_entry_without_the_moment_stands_for_it_with_its_own_time() -> None:
    journal = Asked(ControlStore(), now_us=lambda: 55)
    await entered(journal, Phase.BOTH_WAYS)
    assert await PhaseWatch(journal).strays_since_us(Side.SOURCE) == 55


async def test_while_the_moment_is_unknown_a_silent_journal_holds_the_batch() -> None:
    """Decided without it, a stray would pass as a write of before."""
    journal = Asked(ControlStore())
    journal.silent = True
    with pytest.raises(StoreUnavailable):
        await PhaseWatch(journal).strays_since_us(Side.SOURCE)


async def test_each_batch_before_the_moment_is_decided_by_a_look_that_began_after_it_was_read() -> None:
    journal = Asked(ControlStore())
    watch = PhaseWatch(journal)
    journal.answers.clear()
    running = [asyncio.ensure_future(watch.strays_since_us(Side.SOURCE)) for _ in range(5)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert journal.reads == 1, "under way: it may have missed what comes now"
    await entered(journal, Phase.BOTH_WAYS, strays_since_us={"source": 70, "target": 80})
    late = [asyncio.ensure_future(watch.strays_since_us(Side.SOURCE)) for _ in range(5)]
    for _ in range(5):
        await asyncio.sleep(0)
    journal.answers.set()
    await asyncio.gather(*running)
    assert await asyncio.gather(*late) == [70] * 5
    assert journal.reads == 2, "those who wait share a look"
