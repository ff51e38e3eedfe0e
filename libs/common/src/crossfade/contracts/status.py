"""The status, as `crossfade status --json` prints it and the controller answers GET /status: one schema for both.

64-bit numbers are strings, since readers with floating point would round them. What is unknown is null. A field that
only the CLI or only the controller knows may be missing. Fields may be added; none is removed and none changes its
meaning without an entry in the changelog.

The status isn't a `Document`: people and their scripts read it, and an older CLI passes on whatever a newer controller
wrote. A version to refuse would leave an operator without a status in the middle of an upgrade.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Flags(msgspec.Struct, forbid_unknown_fields=True):
    """The flag document; `share` counts basis points."""

    share: int
    target_gen: str
    source_gen: str
    complete: bool


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """Who paused the migration, what is on hold and what goes on."""

    by: str
    rests: list[str]
    goes_on: list[str]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A command that has no outcome yet.

    Attributes:
        number: number of its journal entry.
        verb: for example "ramp".
        arguments: the verb's arguments.
        who: the operator who gave it.
        taken_up: whether the controller has started on it.
        acted: whether anything has been done for it.
        expires_us: when it expires if nothing has been done for it, µs; null for never.
    """

    number: int
    verb: str
    arguments: dict[str, Any]
    who: str
    taken_up: bool
    acted: bool
    expires_us: int | None


class Wait(msgspec.Struct, forbid_unknown_fields=True):
    """What the migration waits at: the first shut gate, the code of an error, or one word such as "command"."""

    gate: str
    reason: str
    cure: str


class Gate(msgspec.Struct, forbid_unknown_fields=True):
    """A gate's verdict; `cure` is empty while the gate is open."""

    name: str
    open: bool
    value: Any
    bound: Any
    because: str
    cure: str


class Lag(msgspec.Struct, forbid_unknown_fields=True):
    """The two hops of one direction, in seconds; `why` says what is unknown."""

    unreplicated_s: float | None
    iterator_s: float | None
    why: str


class Lags(msgspec.Struct, forbid_unknown_fields=True):
    """Both directions."""

    forward: Lag
    reverse: Lag


class Unread(msgspec.Struct, forbid_unknown_fields=True):
    """Shards of a consumer's stream that nobody is reading, and since when."""

    shards: int
    waited_s: float


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """A key, and what is wrong with it."""

    key: str
    because: str


class HeldOut(msgspec.Struct, forbid_unknown_fields=True):
    """Keys that can't move to the target table: how many, and the first few."""

    keys: int
    named: list[Named]
    cure: str


class Pod(msgspec.Struct, forbid_unknown_fields=True):
    """An API pod's last heartbeat."""

    pod: str
    expired: bool
    document: Flags
    dual_write: bool


class Stray(msgspec.Struct, forbid_unknown_fields=True):
    """A write from outside the protocol, or a key whose rows differ at the same version."""

    letter: str
    key: str
    table: str
    at_us: int
    settled: bool
    cure: str


class Strays(msgspec.Struct, forbid_unknown_fields=True):
    """Writes from outside the protocol; `waiting` is null if the letters couldn't be counted."""

    watched: bool
    since_us: dict[str, int]
    last_us: int
    waiting: int | None
    named: list[Stray]


class Parity(msgspec.Struct, forbid_unknown_fields=True):
    """What the verifier reports."""

    reachable: bool
    clean_pass_age_s: float | None
    clean_pass_began_s: float | None
    drift: dict[str, int]
    in_handover: int
    detail: str


class Probe(msgspec.Struct, forbid_unknown_fields=True):
    """The canary's record."""

    proven_s: float | None
    writes: int
    failed: int
    p99_ms: float | None
    key: str


class Progress(msgspec.Struct, forbid_unknown_fields=True):
    """How far a long step is.

    Attributes:
        step: "export", "map", "import" or "load".
        done: of `unit`; null where AWS doesn't tell.
        total: likewise.
        unit: what is counted: "rows".
        per_s: how fast it goes; null before that is known.
        running_s: how long it has run under this controller.
        eta_s: time to its end; null where nothing tells.
        detail: what else there is to say, such as files.
    """

    step: str
    done: int | None
    total: int | None
    unit: str
    per_s: float | None
    running_s: float
    eta_s: float | None
    detail: str


class Owning(msgspec.Struct, forbid_unknown_fields=True):
    """Which table owns, under the plain protocol.

    Attributes:
        owner: "source" or "target".
        table: its name.
        epoch: of the map.
        state: "open"; "draining" or "sealed" during a flip.
        held_since_us: since when writes are held, by the controller's clock; null while they aren't.
        last_stop_s: how long they were, the last time; null before the first.
    """

    owner: str
    table: str
    epoch: int
    state: str
    held_since_us: int | None
    last_stop_s: float | None


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """How a command ended: done, refused, superseded, withdrawn or expired, and why."""

    intent: int
    verb: str
    outcome: str
    because: str


class Status(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The status.

    Attributes:
        migration: name of the migration.
        phase: the phase in the journal.
        waiting_for: what the controller is waiting for, in one line; empty when it is about to act.
        wait: the same as fields; null where only the CLI speaks.
        phase_since_us: when the phase began, by the clock of the controller that entered it.
        at_us: when the controller wrote this status, by its clock.
        driver: the controller that wrote it.
        door: URL at which that controller takes commands.
        revokes: whether it has a program that revokes the API's right to write the source table.
        journal: number of the last journal entry it has read.
        paused, pause: whether the migration is paused, by whom, and what that holds up.
        halted: why the migration has halted; empty if it hasn't.
        intent: the command that the controller is working on.
        intents: all commands without an outcome, oldest first.
        document, dual_write: the flags in force.
        generation_counter: the highest generation ever given out.
        share_percent: share of the keys that aim at the target table.
        gates: the gates before the next step.
        clock: what is wrong with the controller's clock; empty if nothing is.
        lag: lag of both directions.
        unread: what waits unread in the streams, by consumer.
        throughput_per_s: records applied per second, by consumer.
        keys: number of mapped keys, by the last full pass.
        percent_on_target: share of the keys that the target table owns, by the last full pass.
        held_out: keys that can't move.
        in_handover: number of keys that have been standby on both sides for too long.
        helped: number of handovers that the sweeper has completed for others.
        sweep, eta_s: the pass that is under way, and the time it still needs.
        pods: heartbeats of the API pods.
        dead_letters: number of letters that shut the gate; null if they couldn't be counted.
        strays: writes from outside the protocol.
        parity: the verifier's last answer.
        probe: the canary's record.
        owning: which table owns, under the plain protocol; null under another one.
        progress: how far the snapshot's present step is; null outside of it.
        snapshot: evidence of export, mapping and import.
        last_outcome: how the last command ended (CLI only).
        age_s: age of the status, by the controller's clock and the reader's (CLI only); null if there is no status.
        is_old: whether the status has stopped changing, so that the controller may not be running (CLI only).
    """

    migration: str
    phase: str
    waiting_for: str
    wait: Wait | None = None
    phase_since_us: int | None = None
    at_us: int | None = None
    driver: str | None = None
    door: str | None = None
    revokes: bool | None = None
    journal: int | None = None
    paused: bool = False
    pause: Pause | None = None
    halted: str = ""
    intent: Asked | None = None
    intents: list[Asked] = []
    document: Flags | None = None
    dual_write: bool | None = None
    generation_counter: str | None = None
    share_percent: float | None = None
    gates: list[Gate] = []
    clock: str = ""
    lag: Lags | None = None
    unread: dict[str, Unread] = {}
    throughput_per_s: dict[str, float] = {}
    keys: int | None = None
    percent_on_target: float | None = None
    held_out: HeldOut | None = None
    in_handover: int | None = None
    helped: int | None = None
    sweep: dict[str, Any] | None = None
    eta_s: float | None = None
    pods: list[Pod] = []
    dead_letters: int | None = None
    strays: Strays | None = None
    parity: Parity | None = None
    probe: Probe | None = None
    owning: Owning | None = None
    progress: Progress | None = None
    snapshot: dict[str, dict[str, Any]] = {}
    last_outcome: Outcome | None = None
    age_s: float | None = None
    is_old: bool | None = None


def schema() -> dict[str, Any]:
    """Return the status as a JSON schema (`crossfade status --schema`)."""
    return msgspec.json.schema(Status)
