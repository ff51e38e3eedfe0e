"""What `crossfade status --json` prints, and GET /status of the controller: one schema, for whoever reads it.

64-bit numbers that a reader with floating point would round are strings. What is unknown is null. A field that only the
CLI knows, or only the controller, may be missing. Fields may be added; none changes its meaning or goes without a word
in the changelog.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The flag document: `share` in basis points."""

    share: int
    new_gen: str
    legacy_gen: str
    complete: bool


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """Who paused the migration, what rests and what goes on."""

    by: str
    rests: list[str]
    goes_on: list[str]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A command that has no outcome yet.

    Attributes:
        number: of its journal entry.
        verb: "ramp".
        arguments: of it.
        who: asked.
        taken_up: whether the controller is at it.
        acted: whether anything was done for it.
        expires_us: when it is not begun any more; null for never.
    """

    number: int
    verb: str
    arguments: dict[str, Any]
    who: str
    taken_up: bool
    acted: bool
    expires_us: int | None


class Gate(msgspec.Struct, forbid_unknown_fields=True):
    """A gate's verdict; `cure` is empty while it is open."""

    name: str
    open: bool
    value: Any
    bound: Any
    because: str
    cure: str


class Lag(msgspec.Struct, forbid_unknown_fields=True):
    """One direction's two hops, seconds."""

    unreplicated_s: float | None
    iterator_s: float | None
    why: str


class Lags(msgspec.Struct, forbid_unknown_fields=True):
    """Both directions."""

    forward: Lag
    reverse: Lag


class Unread(msgspec.Struct, forbid_unknown_fields=True):
    """What a consumer may have left in its stream."""

    shards: int
    waited_s: float


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """A key and what is the matter with it."""

    key: str
    because: str


class HeldOut(msgspec.Struct, forbid_unknown_fields=True):
    """Keys that can't move to the new table; the first of them by name."""

    keys: int
    named: list[Named]
    cure: str


class Pod(msgspec.Struct, forbid_unknown_fields=True):
    """An API pod's last word."""

    pod: str
    expired: bool
    document: Document
    dual_write: bool


class Stray(msgspec.Struct, forbid_unknown_fields=True):
    """A write outside the protocol, or a key whose rows differ at one version."""

    letter: str
    key: str
    table: str
    at_us: int
    settled: bool
    cure: str


class Strays(msgspec.Struct, forbid_unknown_fields=True):
    """Writes outside the protocol; `waiting` is null when it could not be read."""

    watched: bool
    since_us: dict[str, int]
    last_us: int
    waiting: int | None
    named: list[Stray]


class Parity(msgspec.Struct, forbid_unknown_fields=True):
    """What the verifier says."""

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


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """How a command ended: done, refused, superseded, withdrawn or expired."""

    intent: int
    verb: str
    outcome: str
    because: str


class Status(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The status.

    Attributes:
        migration: its name.
        phase: by the journal.
        waiting_for: one line; empty when it is about to do something.
        phase_since_us: when the phase began, by the controller's clock then.
        at_us: when the controller told it, by its clock.
        driver: the controller that told it.
        door: URL at which it takes commands.
        revokes: whether it has a program that takes away the API's right to write the legacy table.
        journal: number of the last entry that it knows.
        intent: the command that the controller is at.
        intents: all commands without an outcome, oldest first.
        generation_counter: the highest generation ever given out.
        clock: what is wrong with the controller's clock; empty when nothing is.
        throughput_per_s: applied, by consumer.
        keys: mapped keys, by the last whole look.
        percent_on_new: of the keys, by the last whole look.
        in_handover: keys that have been standby on both sides for too long.
        sweep: the pass that is under way.
        eta_s: to its end.
        snapshot: evidence of export, map and import.
        last_outcome: how the last command ended (CLI).
        age_s: how old the controller's word is, by its clock and the reader's (CLI); null when there never was one.
        is_old: that word stands still: the controller may not be running (CLI).
    """

    migration: str
    phase: str
    waiting_for: str
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
    document: Document | None = None
    dual_write: bool | None = None
    generation_counter: str | None = None
    share_percent: float | None = None
    gates: list[Gate] = []
    clock: str = ""
    lag: Lags | None = None
    unread: dict[str, Unread] = {}
    throughput_per_s: dict[str, float] = {}
    keys: int | None = None
    percent_on_new: float | None = None
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
    snapshot: dict[str, dict[str, Any]] = {}
    last_outcome: Outcome | None = None
    age_s: float | None = None
    is_old: bool | None = None


def schema() -> dict[str, Any]:
    """Return the status as a JSON schema (`crossfade status --schema`)."""
    return msgspec.json.schema(Status)
