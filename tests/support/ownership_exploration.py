"""Every interleaving of a few pods on one key, run through the real decisions of `crossfade.core`.

One key, two tables. Each pod runs one task through `OwnershipRules.advance`; each write takes effect as `perform` says,
but for the activations that a pod's release can't get into the target table; each image ever written that `ApplyRule`
lets travel may be carried to the other table, by `mapping.carry` and `judge`, at any time, in any order, any number of
times. Nothing of a rule is spelled here a second time: this file only schedules, and knows what must
never be seen.

Pods may stop for ever between any two steps, so whatever must hold after a crash is asked of *every* state. An answer
may be lost: then the write has taken effect and the pod sends it again.

Items and pod states are interned, and what a step does to them is looked up, so a state is a few small integers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec.structs import replace

from crossfade.core.ownership.decisions import Done, Found, Outcome, Perform, Read, Reply, Seen, State, Task
from crossfade.core.protocol.keyed.item import Item, build_image, generation_of, is_active, version_of
from crossfade.core.protocol.keyed.writes import Activate, Answer, Operate, OperateAndTrim, TakeBack
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Applied, Refused, Transfer, Unfit, Verdict
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side, direction_to
from engagement_api.operations import balance_of
from engagement_migration import MAPPING
from ownership_cases import KEY, NOW_MS, SEED
from ownership_scenarios import REAL, Code, Explored, Scenario, Truth
from ownership_steps import Step, events_between, exists, spelled, with_pod

L, N = Side.SOURCE, Side.TARGET
SIDES = (L, N)


IDLE = -1
"""A pod that has ended. One that stopped half way is the same to the others."""

State_ = tuple[int, int, int, tuple[int, ...], int, int, int]
"""Item in source, item in target, emitted images (bits), pods, truth, applied operations (bits), acknowledged ones."""


_DENIED = (Outcome.INSUFFICIENT, Outcome.ABOVE_LIMIT, Outcome.NOT_FOUND, Outcome.FULL)


class World:
    """One scenario under one code."""

    def __init__(self, scenario: Scenario, code: Code) -> None:
        self.scenario = scenario
        self.code = code
        self.rules = code.rules(MAPPING, scenario.rounds)
        self.complete = any(task.complete for task in scenario.tasks)
        self.items: list[Item | None] = [None]
        self.item_numbers: dict[Item | None, int] = {None: 0}
        # Pod, state, request, and answers it may still lose; of a reader what had been acknowledged when it began, + 1.
        self.pods: list[tuple[int, State, Read | Perform, int]] = []
        self.pod_numbers: dict[tuple[int, State, Read | Perform, int], int] = {}
        self.truths: list[Truth] = []
        self.truth_numbers: dict[Truth, int] = {}
        self.log: list[tuple[int, int, bool]] = []  # side, item, as a repair
        self.log_bits: dict[tuple[int, int, bool], int] = {}
        self.ids = sorted({task.op.transaction_id for task in scenario.tasks if task.op})
        self.steps: dict[tuple[int, int], Step] = {}
        self.copies: dict[tuple[int, int], int] = {}
        self.emits: dict[tuple[int, int, int], int] = {}
        self.replications: dict[tuple[int, int, int], tuple[int, list[tuple[str, int, int]]]] = {}
        self.judged: dict[tuple[int, int, int, int], list[str]] = {}
        self.came_from: dict[State_, tuple[State_, str] | None] = {}
        self.found: dict[str, str] = {}
        self.outcomes: set[Outcome] = set()

    # Interning.

    def item(self, item: Item | None) -> int:
        number = self.item_numbers.get(item)
        if number is None:
            number = self.item_numbers[item] = len(self.items)
            self.items.append(item)
        return number

    def truth(self, truth: Truth) -> int:
        number = self.truth_numbers.get(truth)
        if number is None:
            number = self.truth_numbers[truth] = len(self.truths)
            self.truths.append(truth)
        return number

    def pod(self, index: int, state: State, request: Read | Perform, lost: int) -> int:
        # What happened so far is for reports: without it, pods in the same place are the same.
        entry = (index, replace(state, steps=()), request, lost)
        number = self.pod_numbers.get(entry)
        if number is None:
            number = self.pod_numbers[entry] = len(self.pods)
            self.pods.append(entry)
        return number

    def emitted(self, side: int, before: int, item: int) -> int:
        """Bits of the ways in which an image may travel from now on."""
        bits = self.emits.get((side, before, item))
        if bits is None:
            bits = self.emits[side, before, item] = self._emitted(side, before, item)
        return bits

    def _emitted(self, side: int, before: int, item: int) -> int:
        stands = self.items[item]
        assert stands is not None
        if not self.code.travels(SIDES[side], self.items[before], stands):
            return 0
        bits = 0
        repairs = self.scenario.repairs and is_active(stands, SIDES[side])
        for repair in (False, True) if repairs else (False,):
            entry = (side, item, repair)
            if entry not in self.log_bits:
                self.log_bits[entry] = len(self.log)
                self.log.append(entry)
            bits |= 1 << self.log_bits[entry]
        return bits

    # What may happen.

    def start(self) -> State_:
        scenario = self.scenario
        source, target = self.item(scenario.source), self.item(scenario.target)
        pods = []
        for index, task in enumerate(scenario.tasks):
            known = None
            if scenario.known and task.op is None:
                known = Seen(scenario.source if task.aim.side is N else scenario.target)
            step = self.rules.begin(task, known)
            pods.append(IDLE if isinstance(step, Done) else self.pod(index, *step, 0 if task.reads else scenario.lost))
        side = L if is_active(scenario.source, L, complete=self.complete) else N
        owner = scenario.source if side is L else scenario.target
        truth = Truth(balance_of(owner, MAPPING.shape(side)), exists(owner))
        log = self.emitted(0, 0, source) if source else 0
        return (source, target, log, tuple(pods), self.truth(truth), 0, 0)

    def step(self, pod: int, item: int) -> Step:
        """Return what the next step of a pod does to the item it meets."""
        known = self.steps.get((pod, item))
        if known is None:
            known = self.steps[pod, item] = self._step(pod, item)
        return known

    def _step(self, pod: int, item: int) -> Step:
        index, state, request, lost = self.pods[pod]
        stands, applies = self.items[item], 0
        reply: Reply
        if isinstance(request, Read):
            reply, label = Found(stands), f"{index} reads {request.side.value}"
        else:
            write = request.write
            reply = self.performed(request, stands, index in self.scenario.unfit)
            took = {Applied: "", Refused: ", refused", Unfit: ", unfit"}[type(reply)]
            label = f"{index}: {spelled(write)} on {request.side.value}{took}"
            if isinstance(reply, Applied) and isinstance(write, Operate | OperateAndTrim):
                applies = self._bit(write.op.transaction_id)
            self._check_write(request.side, stands, reply, applies)
        following = self.rules.advance(state, reply)
        if isinstance(following, Done):
            after, done = IDLE, following
        else:
            after, done = self.pod(index, *following, lost), None
        writes = self._stored(request, reply)
        left = self.item(reply.item) if writes and not isinstance(reply, Unfit) else item
        return Step(left, after, writes, applies, label, done)

    def performed(self, request: Perform, stands: Item | None, unfit: bool) -> Answer:
        if unfit and request.side is N and isinstance(request.write, Activate):
            return Unfit("this release can't write it there")
        return self.code.perform(request.write, stands, MAPPING.shape(request.side))

    def _stored(self, request: Read | Perform, reply: Reply) -> bool:
        return isinstance(request, Perform) and isinstance(reply, Applied) and self.code.stores(request.write)

    def _bit(self, transaction_id: bytes) -> int:
        return 1 << self.ids.index(transaction_id)

    def _check_write(self, side: Side, before: Item | None, reply: Reply, applies: int) -> None:
        """The feed: a write yields the event of the operation it applied, and no other."""
        if not isinstance(reply, Applied):
            return
        told = [event.transaction_id for event in events_between(side, before, reply.item)]
        if told != [id_ for id_ in self.ids if self._bit(id_) & applies]:
            self.found.setdefault("the feed differs from what was applied", f"{side.value}: {before} -> {reply.item}")

    def replication(self, log: int, source: int, target: int) -> tuple[int, list[tuple[str, int, int]]]:
        """Return the images that can still change something, and what each may do now."""
        known = self.replications.get((log, source, target))
        if known is None:
            known = self.replications[log, source, target] = self._replication(log, source, target)
        return known

    def _replication(self, log: int, source: int, target: int) -> tuple[int, list[tuple[str, int, int]]]:
        alive, moves, tables = 0, [], (source, target)
        for bit, (side, image, repair) in enumerate(self.log):
            if not log >> bit & 1:
                continue
            stands = tables[1 - side]
            moved = self.copy(bit, stands)
            version = version_of(self.items[image])
            # Versions only rise (that is checked), so an image below its target can never be written again.
            if (
                self.code is not REAL
                or version > version_of(self.items[stands])
                or (repair and version == version_of(self.items[stands]))
            ):
                alive |= 1 << bit
            if moved != stands:
                then = (source, moved) if side == 0 else (moved, target)
                moves.append((f"{SIDES[side].value} {version} travels{' as a repair' if repair else ''}", *then))
        return alive, moves

    def copy(self, bit: int, target: int) -> int:
        """Return what stands in the other table after an image of the log was carried there."""
        known = self.copies.get((bit, target))
        if known is None:
            known = self.copies[bit, target] = self._copy(bit, target)
        return known

    def _copy(self, bit: int, target: int) -> int:
        side, number, repair = self.log[bit]
        source, image, before = SIDES[side], self.items[number], self.items[target]
        assert image is not None
        raw = build_image(image, MAPPING.shape(source), key_image(KEY, MAPPING.shape(source).key))
        transfer = Transfer(
            key=KEY,
            version=version_of(image),
            image=MAPPING.carry(direction_to(source.other), raw),
            first_standing=generation_of(image) if source is N else 0,
            repair=repair,
        )
        judgement = self.code.judge(transfer, before, MAPPING.shape(source.other))
        if judgement.verdict is not Verdict.APPLIED or judgement.item is None:
            return target
        after = self.code.carried(image, before, judgement.item)
        if events_between(source.other, before, after):
            self.found.setdefault("an event is told by a transfer", f"{before} -> {after}")
        return self.item(after)

    def operated(self, truth: int, bit: int) -> int:
        """Return the truth after an operation."""
        (op,) = {task.op for task in self.scenario.tasks if task.op and self._bit(task.op.transaction_id) == bit}
        before = self.truths[truth]
        if op.verb.deletes:
            return self.truth(Truth(0, False))
        return self.truth(Truth(before.balance + int(op.amounts[0]), True))

    # The exploration.

    def explore(self, limit: int) -> Explored:
        start = self.start()
        self.came_from = {start: None}
        queue = deque([start])
        while queue and len(self.came_from) < limit:
            state = queue.popleft()
            self.check(state)
            for label, then in self.following(state):
                if then not in self.came_from:
                    self.came_from[then] = (state, label)
                    queue.append(then)
        phases = {type(state.phase) for _, state, _, _ in self.pods}
        return Explored(len(self.came_from), not queue, self.found, self.outcomes, phases)

    def following(self, state: State_) -> list[tuple[str, State_]]:
        """Return what may happen next, each with the state it leads to."""
        steps: list[tuple[str, State_]] = []
        for place, pod in enumerate(state[3]):
            if pod != IDLE:
                steps += self._moves_of(state, place, pod)
        source, target, log, *_ = state
        rest = state[3:]
        for label, then_source, then_target in self.replication(log, source, target)[1]:
            self._rises(state, (then_source, then_target), label)
            alive = self.replication(log, then_source, then_target)[0]
            steps.append((label, (then_source, then_target, alive, *rest)))
        if self.code.tombstones_expire:
            for place, number in enumerate((source, target)):
                item = self.items[number]
                if item is not None and item.deleted:
                    gone = (0, target) if place == 0 else (source, 0)
                    steps.append(("a tombstone expires", (*gone, log, *rest)))
        return steps

    def _moves_of(self, state: State_, place: int, pod: int) -> list[tuple[str, State_]]:
        """One pod's next step; and the same with its answer lost."""
        source, target, log, pods, truth, applied, acked = state
        index, _, request, lost = self.pods[pod]
        on_target = request.side is N
        step = self.step(pod, target if on_target else source)
        tables = (source, step.item) if on_target else (step.item, target)
        if isinstance(request, Perform) and isinstance(request.write, TakeBack) and step.writes:
            self._above(state, tables, step.label)
        if step.writes:
            log |= self.emitted(int(on_target), target if on_target else source, step.item)
            self._rises(state, tables, step.label)
        if step.applies:
            if applied & step.applies:
                self._note("applied twice", state, step.label)
            applied |= step.applies
            truth = self.operated(truth, step.applies)
        log = self.replication(log, *tables)[0]
        after, told = step.pod, acked
        if self.scenario.tasks[index].reads:
            after = self._reader_after(state, step, lost or acked + 1)
        elif step.done is not None:
            told |= self._acknowledged(state, index, step, applied)
        moves = [(step.label, (*tables, log, with_pod(pods, place, after), truth, applied, told))]
        if step.writes and lost:
            again = self.pod(*self.pods[pod][:3], lost - 1)
            then = (*tables, log, with_pod(pods, place, again), truth, applied, acked)
            moves.append((step.label + ", answer lost", then))
        return moves

    def _reader_after(self, state: State_, step: Step, began: int) -> int:
        """A read sees at least what was acknowledged before it began."""
        if step.done is None:
            return self.pod(*self.pods[step.pod][:3], began)
        self.outcomes.add(step.done.outcome)
        if not self._remembers(step.done.item, began - 1):
            self._note("a read forgets what was acknowledged", state, step.label)
        return IDLE

    def _acknowledged(self, state: State_, index: int, step: Step, applied: int) -> int:
        op, done = self.scenario.tasks[index].op, step.done
        assert done is not None
        self.outcomes.add(done.outcome)
        if op is None:
            return 0
        bit = self._bit(op.transaction_id)
        if done.outcome in (Outcome.APPLIED, Outcome.REPLAYED):
            if not applied & bit:
                self._note("acknowledged and never applied", state, step.label)
            return bit
        if done.outcome in _DENIED and applied & bit:
            self._note("applied and denied", state, step.label)
        if done.outcome is Outcome.AMBIGUOUS:
            self._note("ambiguous", state, step.label)
        return 0

    def _remembers(self, item: Item | None, acked: int) -> bool:
        recent, floor = (item.recent, item.floor) if item else (frozenset[bytes](), b"")
        return all(not acked & self._bit(id_) or id_ in recent or id_ <= floor for id_ in self.ids)

    def _rises(self, state: State_, tables: Sequence[int], label: str) -> None:
        for before, after in zip(state[:2], tables, strict=True):
            old, new = self.items[before], self.items[after]
            if before != after and old is not None and version_of(new) < version_of(old):
                self._note("a version fell", state, label)

    def _above(self, state: State_, tables: tuple[int, int], label: str) -> None:
        """A side that was taken back is above the other, or its next images would be stale there."""
        source, target = map(version_of, (self.items[tables[0]], self.items[tables[1]]))
        if (source <= target) if self._active(tables[0], L) else (target <= source):
            self._note("taken back below the other side", state, label)

    def _active(self, item: int, side: Side) -> bool:
        return is_active(self.items[item], side, complete=self.complete)

    # What must hold.

    def check(self, state: State_) -> None:
        source, target, _, _, truth, _, acked = state
        asked = (source, target, truth, acked)
        known = self.judged.get(asked)
        if known is None:
            known = self.judged[asked] = list(self._violations(source, target, self.truths[truth], acked))
        for violation in known:
            self._note(violation, state)

    def _violations(self, source: int, target: int, truth: Truth, acked: int) -> list[str]:
        tables = {L: self.items[source], N: self.items[target]}
        if sum(is_active(item, side, complete=self.complete) for side, item in tables.items()) > 1:
            return ["two owners"]
        seen = []
        told, answer = self._run(source, target, reads=True)
        if told is not Outcome.READ:
            seen.append(f"a read finds no image: {told.value}")
        elif answer is not None and not self._agrees(*answer, truth):
            seen.append("a read differs from what was applied")
        for unfit in {False, bool(self.scenario.unfit)}:
            seen += self._not_settled(source, target, truth, acked, unfit)
        return seen

    def _not_settled(self, source: int, target: int, truth: Truth, acked: int, unfit: bool) -> list[str]:
        """What is wrong after a sweeper went over it; `unfit`: of a release that can't write the target table."""
        told, owner = self._run(source, target, reads=False, unfit=unfit)
        if told not in (Outcome.SETTLED, Outcome.HELD_OUT) or owner is None:
            return ["stuck"]
        seen = []
        if not self._agrees(*owner, truth):
            seen.append("the owner differs from what was applied")
        if not self._remembers(owner[1], acked):
            seen.append("acknowledged and lost")
        return seen

    def _agrees(self, side: Side, item: Item | None, truth: Truth) -> bool:
        return Truth(balance_of(item, MAPPING.shape(side)), exists(item)) == truth

    def _run(
        self, source: int, target: int, *, reads: bool, unfit: bool = False
    ) -> tuple[Outcome, tuple[Side, Item | None] | None]:
        """Run a reader, or a sweeper that only completes, alone to its end."""
        tables = {L: self.items[source], N: self.items[target]}
        task = Task(KEY, Aim(L, 0), None, NOW_MS, SEED, complete=self.complete, reads=reads)
        step = self.rules.begin(task)
        while not isinstance(step, Done):
            state, request = step
            if isinstance(request, Read):
                step = self.rules.advance(state, Found(tables[request.side]))
                continue
            answer = self.performed(request, tables[request.side], unfit)
            if isinstance(answer, Applied) and self._stored(request, answer):
                tables[request.side] = answer.item
            step = self.rules.advance(state, answer)
        return step.outcome, (step.side, step.item)

    def _note(self, violation: str, state: State_, last: str = "") -> None:
        if violation not in self.found:
            self.found[violation] = "; ".join([*self._way(state), last])

    def _way(self, state: State_) -> list[str]:
        way = []
        while (before := self.came_from[state]) is not None:
            state, label = before
            way.append(label)
        return way[::-1]


def explore(scenario: Scenario, code: Code = REAL, limit: int = 2_000_000) -> Explored:
    """Visit every state of a scenario, or `limit` of them."""
    return World(scenario, code).explore(limit)
