"""The deeds: the acts that reach the world, and what comes of each (ADR 0030).

A deed is asked for, carried out by the controller (`crossfade_controller.deeds`), and the same question is asked with
its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from crossfade.core.migration.evidence import Stray
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.shape import Side

A = TypeVar("A")


@dataclass(frozen=True)
class Deed(Generic[A]):
    """An act that reaches the world; `A` is what comes of it."""


class PlanSeen(NamedTuple):
    """What `CheckPlan` found: why the plan doesn't hold, empty when it does, and the checks as evidence."""

    refusal: str
    checks: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class CheckPlan(Deed[PlanSeen]):
    """Check the plan; of the rows that are left out nothing is asked."""

    exclude: tuple[str, ...]


@dataclass(frozen=True)
class CheckExcluded(Deed[str]):
    """Look for the rows that are to be left out; why some can't be."""

    exclude: tuple[str, ...]
    even_unknown: bool
    fresh: bool


@dataclass(frozen=True)
class CreateStreams(Deed[str]):
    """Create the streams that are missing, and raise their retention; what has to be waited for."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class EnableCapture(Deed[str]):
    """Send a table's changes to its stream; what has to be waited for."""

    side: Side


@dataclass(frozen=True)
class TakeMoment(Deed[CommitUs]):
    """Take a moment by a marker; a commit time of the table.

    A deed that failed is taken up again by the next one with the same purpose (`crossfade_controller.markers`).
    """

    side: Side
    purpose: str = ""


@dataclass(frozen=True)
class Elapsed(Deed[float]):
    """Measure the time since a commit; seconds, at least."""

    side: Side
    since_us: CommitUs


class ExportSeen(NamedTuple):
    """An export: "IN_PROGRESS", "COMPLETED" or "FAILED", the key of its manifest, why it failed, how long it took."""

    status: str
    manifest: str = ""
    failure: str = ""
    took_s: float | None = None


@dataclass(frozen=True)
class Export(Deed[str]):
    """Begin the export; its ARN."""

    at_s: int
    prefix: str
    token: str


@dataclass(frozen=True)
class LookAtExport(Deed[ExportSeen]):
    """Look how far the export is."""

    arn: str


class Mapped(NamedTuple):
    """What became of rows: `stopped` says what has to be waited for, else there is the evidence."""

    stopped: str
    evidence: Mapping[str, Any] = {}


@dataclass(frozen=True)
class MapFiles(Deed[Mapped]):
    """Map the export's files; a file of the rows that can't be mapped is left under `unmappable`.

    `retake` is the command by which those are read again from the source, by key, as they were corrected; 0 for none.
    """

    manifest: str
    destination: str
    unmappable: str
    retake: int = 0


class ImportSeen(NamedTuple):
    """An import: its status, the items it wrote and could not take, why it failed, and whether the table is ACTIVE."""

    status: str
    imported: int
    errors: int
    failure: str
    is_active: bool


@dataclass(frozen=True)
class Import(Deed[str]):
    """Begin the import; its ARN."""

    prefix: str
    token: str


@dataclass(frozen=True)
class LookAtImport(Deed[ImportSeen]):
    """Look how far the import is."""

    arn: str


@dataclass(frozen=True)
class Load(Deed[Mapped]):
    """Fill the target table by writes, from the import files; `stopped` says what has to be waited for."""

    prefix: str


@dataclass(frozen=True)
class HoldOut(Deed[str]):
    """Mark the rows that are left out; the first that didn't take its mark, and why."""

    keys: tuple[str, ...]
    generation: int


class HeldOut(NamedTuple):
    """A key that can't move to the target table, and why."""

    key: str
    because: str


class PassResult(NamedTuple):
    """What a pass over both tables found.

    Attributes:
        destination: the side that is to own all keys.
        generation: of that wish.
        begun_us: a commit time of the origin table before it began.
        rows: read, others' included.
        keys: mapped rows of the origin table.
        moved: active in the origin, or absent there while the destination had a row.
        helped: standby on both sides, or without a counterpart.
        stuck: keys that could not be moved, with the reason; the first ones.
        held_out: keys that stay with the origin, since the destination refuses them for good or an operator excluded
        them. held: the first of them, with the cause.
        diverged: keys that stay where they are, since the destination's row differs at the same version.
    """

    destination: Side
    generation: int
    begun_us: CommitUs
    rows: int = 0
    keys: int = 0
    moved: int = 0
    helped: int = 0
    stuck: tuple[str, ...] = ()
    held_out: int = 0
    held: tuple[HeldOut, ...] = ()
    diverged: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether there was nothing to do.

        A key that the target table refuses is at home in the source. On the way back there is no other home: a key
        that the source table refuses needs a human decision.
        """
        at_home = self.destination is Side.TARGET or not self.held_out
        return at_home and not (self.moved or self.helped or self.stuck or self.diverged)

    def as_json(self) -> dict[str, Any]:
        """Return the result as evidence."""
        held = [each._asdict() for each in self.held]
        return {**self._asdict(), "destination": self.destination.value, "stuck": list(self.stuck), "held": held}


class Swept(NamedTuple):
    """A pass, and whether it has ended."""

    at: PassResult
    has_ended: bool


@dataclass(frozen=True)
class Sweep(Deed[Swept]):
    """Hand all keys over; a pass that finds nothing to do is the proof."""

    destination: Side
    generation: int
    complete: bool
    begun_us: CommitUs


@dataclass(frozen=True)
class ForgetPass(Deed[None]):
    """Drop the pass that is under way: its proof no longer counts."""


class Aftermath(NamedTuple):
    """What a stream held from a moment on.

    Attributes:
        records: read, of all rows.
        active: owner writes to mapped rows committed since then; old duplicates don't count.
        samples: keys of the first ones.
    """

    records: int
    active: int
    samples: tuple[str, ...]


class AftermathSeen(NamedTuple):
    """A stream, read past the end of a pass: the moment of that end, and what was in it; or what can't be told yet."""

    ended_us: CommitUs
    found: Aftermath
    unknown: str = ""


@dataclass(frozen=True)
class ReadAftermath(Deed[AftermathSeen]):
    """Read the origin's stream past the end of the pass."""

    origin: Side
    since_us: CommitUs
    complete: bool


@dataclass(frozen=True)
class ReadPast(Deed[str]):
    """See that both consumers have read past the last handover; which has not.

    All keys have moved when it is first asked for in a phase, so any moment from then on is past the last handover.
    """

    step: str


@dataclass(frozen=True)
class LookAtLetters(Deed[tuple[Stray, ...]]):
    """Look for letters that need a decision; what each is about, oldest first: strays, and keys whose rows differ."""


@dataclass(frozen=True)
class DiscardLetters(Deed[None]):
    """Discard those letters, each with its payload in the journal."""

    letters: tuple[str, ...]
    intent: int
    who: str


@dataclass(frozen=True)
class BringCanaryHome(Deed[None]):
    """Hand the canary back to the source table."""


@dataclass(frozen=True)
class RunHook(Deed[tuple[int, str]]):
    """Run the operator's command; its exit code and the end of its output."""

    command: tuple[str, ...]
