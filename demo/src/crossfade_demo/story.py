"""The story: a shared table, live traffic from the first second to the last, and a migration driven by its own CLI."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from crossfade.adapters.flagd import FlagFile, flagd_file, parse_flagd_file
from crossfade.core.ownership.ramp import FlagDocument
from crossfade_demo import chaos
from crossfade_demo.book import Book, Wallet
from crossfade_demo.checks import Check, check, check_balances, check_calls, check_feed, check_payments
from crossfade_demo.latency import all_calls, latency, longest_gap
from crossfade_demo.loopback import ask, send
from crossfade_demo.options import Options
from crossfade_demo.pace import Late, Pace, Prober
from crossfade_demo.payments import Payments, payment_rows
from crossfade_demo.processes import python_module, run_tool
from crossfade_demo.report import Report
from crossfade_demo.screen import Screen, View
from crossfade_demo.seed import TTL, users_of, wallet_rows
from crossfade_demo.services import (
    BUCKET,
    OPERATOR,
    PROCESSES,
    Fleet,
    controller_settings,
    make_fleet,
    shared_settings,
)
from crossfade_demo.store import Store
from crossfade_demo.traces import Traces
from crossfade_demo.traffic import Traffic
from crossfade_demo.watch import Watch
from localaws import Stack
from localaws.endpoints import Endpoints

FEED: Final = "engagement-events"
STEP_S: Final = 90.0
NAMED_S: Final = 15.0
FEED_QUIET_S: Final = 2.0
FEED_LATE_S: Final = 15.0
DOWNTIME_S: Final = 3.0
BEFORE_S: Final = 5.0
AFTER_S: Final = 4.0
FAULTS: Final = {"duplicate": 0.05, "shuffle_window": 20, "delay_ms": 200}
NO_FAULTS: Final = {"duplicate": 0.0, "shuffle_window": 0, "delay_ms": 0}


class StoryFailed(Exception):
    """The migration did not go on; the message says where and why."""


class Failure(NamedTuple):
    """Why the migration did not end, and whether the machine may be to blame."""

    why: str
    too_busy: bool = False


class Story:
    """One run, from an empty machine to the report."""

    def __init__(self, options: Options, build: Path, screen: Screen, view: View) -> None:
        self._options, self._build, self._screen, self._view = options, build, screen, view
        self._pace = Pace()
        self._checks: list[Check] = []
        self._marks: dict[str, float] = {}

    async def play(self) -> Report:
        """Play it to the end, whatever happens, and return the report."""
        self._screen.note("starting the embedded AWS and Redis")
        async with AsyncExitStack() as cleanup:
            prober = Prober(self._pace, self._build)
            await prober.start()
            cleanup.push_async_callback(prober.finish)
            stack = Stack()
            endpoints = await asyncio.to_thread(stack.start)
            cleanup.push_async_callback(asyncio.to_thread, stack.stop)
            return await self._with_aws(endpoints, cleanup)

    async def _with_aws(self, endpoints: Endpoints, cleanup: AsyncExitStack) -> Report:
        options = self._options
        self._store = store = Store(endpoints)
        cleanup.push_async_callback(store.close)
        seeded, payments = await self._seed(store)
        flag_file = self._build / "flags" / "flags.json"
        FlagFile(flag_file).write(FlagDocument(), dual_write=False)
        self._flag_file = flag_file
        self._copy = chaos.FlagCopy(flag_file, self._build / "flags" / "flags-b.json")
        self._copy.start()
        cleanup.push_async_callback(self._copy.finish)
        self._faults = chaos.Faults(endpoints.aws_endpoint)
        self._endpoints = endpoints
        self._redis_url = endpoints.redis_url or ""
        self._shared = shared_settings(endpoints, flag_file)
        self._ports = ports = {name: free_port() for name in ("api-a", "api-b", "verifier", "controller")}
        self._traces = traces = Traces(otlp=options.otlp, seed=options.seed, share=options.traced / 100)
        calls = traces.start()
        cleanup.push_async_callback(asyncio.to_thread, traces.stop)
        metrics = self._metrics_ports() if options.prometheus else None
        told = self._shared | traces.environment()
        self._fleet = fleet = make_fleet(told, self._copy.target, self._build / "logs", ports, self._pace, metrics)
        cleanup.push_async_callback(fleet.stop)
        await self._start(fleet)
        addresses = [each.address for each in fleet.apis]
        self._traffic = traffic = Traffic(addresses, list(seeded), options.rate, options.seed, self._pace, calls)
        pages = [f"http://{each.address}" for each in (fleet.controller, fleet.verifier)]
        self._watch = watch = Watch(self._view, self._screen, pages[0], pages[1], self._pace)
        watch.traffic = traffic
        watch.start()
        cleanup.push_async_callback(watch.finish)
        self._mark("traffic")
        traffic.start()
        payments.start()
        failure = await self._migrate()
        await traffic.finish()
        await payments.finish()
        self._mark("end")
        return await self._report(seeded, payments, failure)

    def _metrics_ports(self) -> dict[str, int]:
        """Choose a port for each process's /metrics, and write them down as Prometheus discovers targets by file."""
        ports = {name: free_port() for name in PROCESSES}
        targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"process": name}} for name, port in ports.items()]
        (self._build / "prometheus-targets.json").write_text(json.dumps(targets, indent=2) + "\n")
        return ports

    async def _seed(self, store: Store) -> tuple[dict[Wallet, int], Payments]:
        options = self._options
        random = Random(options.seed)
        await store.create_source(TTL)
        await store.create_bucket(BUCKET)
        wallets = wallet_rows(options.wallets, random)
        others = payment_rows(users_of(options.wallets), random)
        await store.put_all([*wallets.values(), *others])
        self._screen.note(f"seeded {len(wallets)} engagement wallets and {len(others)} rows of the payments system")
        balances = {wallet: int(row["balance"]["N"]) for wallet, row in wallets.items()}
        return balances, Payments(store, others, options.seed)

    async def _start(self, fleet: Fleet) -> None:
        await self._crossfade("control", "create", wait=False)
        self._screen.note("starting two APIs, three replicators, the verifier and the controller")
        await fleet.controller.start()
        await fleet.controller.ready()
        for each in (*fleet.apis, fleet.verifier, fleet.forward, fleet.reverse, fleet.feed):
            await each.start()
        await asyncio.gather(*(each.ready() for each in (*fleet.apis, fleet.verifier)))

    async def _migrate(self) -> Failure | None:
        """Drive the migration; return why it failed, None when it did not."""
        try:
            await asyncio.sleep(BEFORE_S)
            self._mark("start")
            await self._drive()
            self._mark("complete")
            await asyncio.sleep(max(AFTER_S, self._marks["traffic"] + self._options.seconds - time.monotonic()))
        except Late as error:
            self._screen.note(f"{'TOO BUSY' if error.too_busy else 'FAILED'}: {error}")
            return Failure(str(error), error.too_busy)
        except Exception as error:  # whatever it is: the data is checked anyway
            self._screen.note(f"FAILED: {error}")
            return Failure(str(error) if isinstance(error, StoryFailed) else f"{type(error).__name__}: {error}")
        return None

    async def _drive(self) -> None:
        hurt = self._options.chaos
        await self._crossfade("plan")
        if hurt:
            await self._faults.set(**FAULTS, seed=self._options.seed)
            self._view.faults = "records duplicated and shuffled"
        await self._crossfade("start", wait=not hurt)
        if hurt:
            await self._watch.phase("CATCHING_UP", bound_s=STEP_S)  # before the API copies its writes itself
            self._note("SIGKILL: the forward replicator")
            self._keep(await chaos.kill_replicator(self._fleet.forward, self._store, self._traffic, self._pace))
        await self._watch.phase("BOTH_WAYS", bound_s=STEP_S)
        self._note("both tables are written; replication runs both ways")
        await self._ramp(1)
        await self._ramp(10)
        if hurt:
            await self._hurt_at_ten()
        await self._ramp(50)
        if hurt:
            await self._roll_back_and_forth()
        await self._ramp(100)
        self._note("cutover: the sweeper moves the keys nobody touched")
        await self._crossfade("cutover")
        await self._watch.phase("BAKING", bound_s=STEP_S)
        if hurt:
            counters = await self._faults.set(**NO_FAULTS)
            self._keep(_faults_happened(counters))
            self._view.faults = "off"
        await self._prove_parity()
        self._note("complete")
        await self._crossfade("complete", "--confirm", "engagement", "--revoked")
        await self._watch.phase("COMPLETE", bound_s=STEP_S)

    async def _hurt_at_ten(self) -> None:
        killed = self._fleet.apis[1]
        self._note("SIGKILL: one of two APIs; it comes back with a flag file minutes old")
        await killed.kill()
        self._copy.hold(flagd_file(FlagDocument(), dual_write=False))
        await asyncio.sleep(0.5)
        await killed.start()
        await killed.ready()
        deadline, named = self._pace.deadline(NAMED_S), ""
        while not named and not deadline.over:
            status = await ask(f"http://{self._fleet.controller.address}/status") or {}
            gates = {each["name"]: each["because"] for each in status.get("gates", []) if not each["open"]}
            named = gates.get("heartbeats", "") if "under other flags" in gates.get("heartbeats", "") else ""
            await asyncio.sleep(0.2)
        wrong = [] if named else [f"no gate named the pod with the old flag file within {deadline}"]
        claim = "the gate names the API process with the old flag file"
        self._keep(check("old_flags_named", claim, wrong, too_busy=deadline.too_busy, said=named))
        self._copy.release()
        self._note("all of Redis flushed")
        await chaos.flush_redis(self._redis_url)

    async def _roll_back_and_forth(self) -> None:
        self._note("rollback at 50 %")
        await self._crossfade("rollback")
        await self._watch.phase("ROLLED_BACK", bound_s=STEP_S)
        self._note("and forward again")
        await self._ramp(50)
        self._keep(check("rolled_back_and_forth", "one rollback at 50 %, all keys back, and forward again", []))

    async def _prove_parity(self) -> None:
        """Ask for a pass of its own, and wait until one is clean without repairs."""
        url = f"http://{self._fleet.verifier.address}"
        deadline = self._pace.deadline(STEP_S)
        last: dict[str, Any] = {}
        while not deadline.over:
            asked = await ask(f"{url}/passes", {})
            while asked and not deadline.over:
                last = await ask(f"{url}/passes/{asked['id']}") or {}
                if last.get("state") not in ("waiting", "asked", "running"):
                    break
                await asyncio.sleep(0.2)
            if last.get("clean"):
                break
        wrong = [] if last.get("clean") and not last.get("with_repairs") else [f"last pass: {json.dumps(last)}"]
        self._keep(
            check(
                "parity_clean",
                "both tables are equal in a full pass without repairs, under live traffic, before completing",
                wrong,
                too_busy=deadline.over and deadline.too_busy,
                verified=last.get("verified"),
                took_s=last.get("took_s"),
            )
        )

    async def _ramp(self, percent: int) -> None:
        self._note(f"ramp to {percent} %")
        await self._crossfade("ramp", str(percent))

    async def _crossfade(self, *arguments: str, wait: bool = True) -> dict[str, Any]:
        """Run a command of the operator's CLI to its end."""
        flags = ["--json"] if arguments[0] == "plan" else ["--json", "--execute"]
        flags += ["--wait"] if wait and arguments[0] != "plan" else []
        command = python_module("crossfade_controller.cli", *arguments, *flags)
        settings = self._shared | controller_settings(self._ports) | {"AWS_ACCESS_KEY_ID": OPERATOR}
        code, out, err = await run_tool(command, settings, self._pace.deadline(STEP_S))
        if code != 0:
            why = "\n".join(each.strip()[-1500:] for each in (err, out) if each.strip())
            raise StoryFailed(f"crossfade {' '.join(arguments)} ended with {code}: {why}")
        try:
            said: dict[str, Any] = json.loads(out)
        except ValueError as error:
            raise StoryFailed(f"crossfade {' '.join(arguments)} --json printed no JSON: {out[:300]}") from error
        return said

    async def _report(self, seeded: dict[Wallet, int], payments: Payments, failure: Failure | None) -> Report:
        """Check every claim; those of data whatever failed before, on what stands in the tables then."""
        self._note("checking every claim")
        books, marks = self._traffic.books, self._marks
        calls = all_calls(books)
        gap = longest_gap(calls, marks["traffic"], marks["end"], self._pace)
        took = {} if failure else {"took_s": round(marks["complete"] - marks["start"], 1)}
        why = [failure.why] if failure else []
        late = failure is not None and failure.too_busy
        self._keep(check("completed", "the migration went through to COMPLETE", why, too_busy=late, **took))
        await self._try("feed_once_in_order", self._feed_checked(books))
        await self._try("payments_untouched", check_payments(payments))
        self._keep(check_calls(books, gap, DOWNTIME_S))
        codes = await self._fleet.stop()  # before the balances are read: nothing moves between two scans
        await self._try("acknowledged_once", self._balances_checked(books, seeded))
        await self._keep_calls()
        await asyncio.to_thread(self._traces.flush)
        followed, trace = self._traces.picture(self._build / "traces.json")
        self._keep(followed._replace(too_busy=not followed.passed and late))
        late_stops = {each.name for each in self._fleet.all() if each.stopped_late}
        failed = [f"{name} ended with {code}" for name, code in codes.items() if code != 0]
        busy = all(name in late_stops for name, code in codes.items() if code != 0)
        self._keep(check("clean_stops", "every process stopped cleanly on SIGTERM", failed, too_busy=busy))
        end_s = marks.get("complete", marks["end"])
        return Report(
            options=self._options._asdict(),
            checks=self._checks,
            latency={
                "before": latency(calls, marks["traffic"], marks["start"]),
                "during": latency(calls, marks["start"], end_s),
                "after": latency(calls, end_s, marks["end"] + 1),
            },
            longest_gap_s=round(gap.by_clock_s, 3),
            phases={name: round(at_s - marks["start"], 1) for name, at_s in self._watch.reached_s.items()},
            traffic_s=round(marks["end"] - marks["traffic"], 1),
            trace=trace,
            pace=self._pace.as_json(),
        )

    async def _try(self, name: str, checking: Awaitable[Check | list[Check]]) -> None:
        """Keep what a check of data finds; one that can't be made doesn't hold, and those after it are made."""
        try:
            found = await checking
        except Exception as error:
            found = check(name, "this could be checked", [f"{type(error).__name__}: {error}"])
        for each in [found] if isinstance(found, Check) else found:
            self._keep(each)

    async def _balances_checked(self, books: list[Book], seeded: dict[Wallet, int]) -> list[Check]:
        """Compare the balances, by the owner of each key where the migration didn't end."""
        document, _ = parse_flagd_file(await asyncio.to_thread(self._flag_file.read_text))
        return await check_balances(self._store, books, seeded, complete=document.complete)

    async def _feed_checked(self, books: list[Book]) -> Check:
        """Check the feed when at-least-once delivery has had its time: all is there, or nothing new has come."""
        captured_s, count = self._watch.left_s("CAPTURING"), -1
        quiet, late = self._pace.deadline(FEED_QUIET_S), self._pace.deadline(FEED_LATE_S)
        while True:
            found = await check_feed(self._store, FEED, books, captured_s)
            if found.evidence["records"] != count:
                count = found.evidence["records"]
                quiet, late = self._pace.deadline(FEED_QUIET_S), self._pace.deadline(FEED_LATE_S)
            if (found.passed and quiet.over) or late.over:
                return found
            await asyncio.sleep(0.4)

    async def _keep_calls(self) -> None:
        """Keep who called what: tests/deploy holds the IAM policies against it."""
        url = f"{self._endpoints.aws_endpoint}/_localaws/calls"
        (self._build / "calls.json").write_bytes(await asyncio.to_thread(send, url))

    def _keep(self, found: Check) -> None:
        self._checks.append(found)
        if not found.passed:
            self._screen.note(f"check failed: {found.name}: {'; '.join(found.wrong)[:300]}")

    def _note(self, text: str) -> None:
        self._screen.note(text)

    def _mark(self, name: str) -> None:
        self._marks[name] = time.monotonic()


def _faults_happened(counters: dict[str, Any]) -> Check:
    names = ("emitted", "duplicated", "shuffled", "pending")
    found = {
        f"{stream} {name}": counts[name] for stream, counts in sorted(counters["streams"].items()) for name in names
    }
    wrong = [f"none was {name}" for name, count in found.items() if name.endswith("ed") and not count]
    wrong += [f"{name}: still held back" for name, count in found.items() if name.endswith("pending") and count]
    return check("faults_happened", "records of both tables were duplicated and shuffled on their way", wrong, **found)


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
