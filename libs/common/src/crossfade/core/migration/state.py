"""The state of a migration is its journal, folded. Nothing else is remembered that must survive a kill.

Kinds of entries, and what their bodies hold:

| kind | body |
|---|---|
| intent | `verb`, `arguments`: what an operator asked for; `who` did; `expires_us`, when it expires |
| admitted | `intent`: the controller has taken it up |
| outcome | `intent`, `outcome` (done, refused, superseded, withdrawn, expired), `because` |
| phase | `from`, `to`, `gates`: the evidence; into BOTH_WAYS `strays_since_us`, a commit time of each side |
| begun, step | `step` and its evidence: before and after an effect on the world |
| again | `steps` that are to be taken once more, for a fresh export at `moment_us`; `exclude`, `intent`, `who` |
| generation | `counter`: the highest generation ever given out, `for` what |
| share | `document`, `dual_write`, `gates`: about to be published |
| published | `share`: number of that entry |
| pause | `paused`, `who` |
| note | `discarded`: a letter that an operator discarded, with its payload, by `intent` or by the replicator's tool; \
`merging`: a letter that an operator merges; `plan`: what `crossfade plan` found |
| repair | `stage` (planned, begun, done, refused), `id`, `who`, `keys`, `outcomes` or `because`: the verifier's |
| reveal | `key` or `keys`, `who`: the values of these are about to be shown to an operator |
| stray | `last_us`: commit times of the last strays, by side |
| halt | `because`: empty when the ramp goes on |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.table import PhaseTable
from crossfade.core.ownership.ramp import FlagDocument, check_generations
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.keys import Key


class Entry(Protocol):
    """A journal entry (`crossfade.contracts.journal.Entry`)."""

    @property
    def number(self) -> int:
        """1, 2, 3 …, without gaps."""

    @property
    def kind(self) -> str:
        """See above."""

    @property
    def at_us(self) -> int:
        """Wall clock of the writer, µs."""

    @property
    def who(self) -> str:
        """The writer."""

    @property
    def code(self) -> str:
        """Version of its code."""

    @property
    def body(self) -> Mapping[str, Any]:
        """See above."""


class Pending(NamedTuple):
    """An operator's intent that has no outcome yet.

    Attributes:
        number: of its journal entry.
        intent: the verb.
        arguments: "share" in basis points, "confirm", "exclude" …
        who: asked for it.
        admitted: whether the controller has taken it up.
        acted: whether it has changed anything: flags, the phase, the world.
        expires_us: wall clock of the controller at which it expires if it hasn't begun, µs; 0 for never.
    """

    number: int
    intent: Intent
    arguments: Mapping[str, Any]
    who: str
    admitted: bool = False
    acted: bool = False
    expires_us: int = 0


class Migration(NamedTuple):
    """Where a migration stands, by its journal.

    Attributes:
        table: the phases of its writer protocol.
        number: of the last entry folded in.
        phase: where it stands.
        entered: number of the entry that began the phase.
        came_from: the phase before.
        since_us: when the phase began, wall clock of the controller then.
        strays_since_us: by side ("source", "target"), the commit time from which writers outside the protocol are
            strays; empty before the first entry into BOTH_WAYS.
        begun: steps of this phase that were begun, with their evidence.
        done: steps of this phase that are done, with theirs.
        facts: each step's last evidence, of any phase.
        exported_again: number of the entry that began a fresh export; 0 when none did.
        pending: intents without an outcome, oldest first.
        paused: whether the migration is paused.
        paused_by: who paused it; empty when nobody did.
        halt: why the migration halted in this phase; empty when it did not.
        discarded: names of the letters that an operator discarded: of a diverged key, the owner's row may overwrite the
            other one; one that is still there, or there again, is taken out.
        discards: how many letters each intent has discarded, by its number.
        stray_last_us: commit times of the last strays known of, by side.
        counter: the highest generation ever given out.
        reserved: what the counter was raised for last; empty once a flag document or a phase came after it. A
            controller that dies before it used a generation finds it again here.
        document: the flag document in force, or about to be.
        dual_write: the flag of that name.
        left_behind: what an abort left, for somebody to remove or to keep.
        share_entry: number of the last "share" entry; 0 when there is none.
        is_published: whether that one was published.
    """

    table: PhaseTable
    number: int = 0
    phase: Phase = Phase.PLANNED
    since_us: int = 0
    strays_since_us: Mapping[str, int] = {}
    begun: Mapping[str, Mapping[str, Any]] = {}
    done: Mapping[str, Mapping[str, Any]] = {}
    facts: Mapping[str, Mapping[str, Any]] = {}
    exported_again: int = 0
    pending: tuple[Pending, ...] = ()
    paused: bool = False
    paused_by: str = ""
    halt: str = ""
    stray_last_us: Mapping[str, int] = {}
    discarded: frozenset[str] = frozenset()
    discards: Mapping[int, int] = {}
    entered: int = 0
    came_from: Phase = Phase.PLANNED
    counter: int = 0
    reserved: str = ""
    document: FlagDocument = FlagDocument()
    dual_write: bool = False
    left_behind: tuple[str, ...] = ()
    share_entry: int = 0
    is_published: bool = True

    @property
    def intent(self) -> Pending | None:
        """The intent that the controller is at."""
        return next((each for each in self.pending if each.admitted), None)

    @property
    def excluded(self) -> frozenset[Key]:
        """The keys that START left out, of this intent and the ones before it."""
        return frozenset(Key(each.encode()) for each in self.facts.get("excluded", {}).get("keys", []))

    def asked(self, intent: Intent) -> Pending | None:
        """Return the intent that the controller is at, if it is this one."""
        found = self.intent
        return found if found is not None and found.intent is intent else None

    def given_out(self, purpose: str) -> int:
        """Return the highest generation that is taken, without one that was reserved for this purpose and not used."""
        return self.counter - 2 if self.reserved == purpose else self.counter

    @property
    def has_begun(self) -> bool:
        """Whether a migration has begun; intents and notes may be written before."""
        return self.phase is not Phase.PLANNED or self.share_entry > 0 or self.counter > 0


def fold(state: Migration, entries: Iterable[Entry]) -> Migration:
    """Return the state after some more entries.

    Raises:
        IllegalTransition: the journal has a transition that the phase table has not.
        ConfigError: numbers are missing, or a kind is unknown to this version of the code.
    """
    for entry in entries:
        if entry.number != state.number + 1:
            raise ConfigError(f"the journal has entry {entry.number} after {state.number}")
        state = _FOLDS[entry.kind](state, entry) if entry.kind in _FOLDS else _unknown(entry)
        state = state._replace(number=entry.number)
    return state


def _unknown(entry: Entry) -> Migration:
    raise ConfigError(
        f"journal entry {entry.number} has the unknown kind {entry.kind!r} (written by version {entry.code}): "
        "run the version that wrote it, or a newer one"
    )


def _intent(state: Migration, entry: Entry) -> Migration:
    body = entry.body
    asked = Pending(
        entry.number,
        Intent(body["verb"]),
        body.get("arguments", {}),
        str(body.get("who") or entry.who),
        expires_us=int(body.get("expires_us", 0)),
    )
    return state._replace(pending=(*state.pending, asked))


def _admitted(state: Migration, entry: Entry) -> Migration:
    number = entry.body["intent"]
    pending = tuple(each._replace(admitted=True) if each.number == number else each for each in state.pending)
    return state._replace(pending=pending)


def _outcome(state: Migration, entry: Entry) -> Migration:
    return state._replace(pending=tuple(each for each in state.pending if each.number != entry.body["intent"]))


def _acted(state: Migration) -> tuple[Pending, ...]:
    """Return the pending commands, after the one that is taken up has changed something."""
    return tuple(each._replace(acted=True) if each.admitted else each for each in state.pending)


def _phase(state: Migration, entry: Entry) -> Migration:
    there = Phase(entry.body["to"])
    state.table.check_transition(state.phase, there)
    # The first entry into BOTH_WAYS says it; a rollback comes by there again, and changes nothing.
    strays_since_us = state.strays_since_us or entry.body.get("strays_since_us", {})
    return state._replace(
        phase=there,
        pending=_acted(state),
        entered=entry.number,
        came_from=state.phase,
        since_us=entry.at_us,
        left_behind=tuple(entry.body.get("left_behind", ())),
        strays_since_us=strays_since_us,
        begun={},
        done={},
        reserved="",
        halt="",
    )


def _begun(state: Migration, entry: Entry) -> Migration:
    return state._replace(begun={**state.begun, entry.body["step"]: entry.body}, pending=_acted(state))


def _step(state: Migration, entry: Entry) -> Migration:
    name = entry.body["step"]
    return state._replace(done={**state.done, name: entry.body}, facts={**state.facts, name: entry.body})


def _again(state: Migration, entry: Entry) -> Migration:
    steps = set(entry.body["steps"])
    kept = {name: body for name, body in state.facts.items() if name not in steps}
    return state._replace(
        begun={name: body for name, body in state.begun.items() if name not in steps},
        done={name: body for name, body in state.done.items() if name not in steps},
        facts={
            **kept,
            "exported": state.facts.get("export", {}),
            "settled": {"moment_us": entry.body["moment_us"]},
            "excluded": {"keys": entry.body["exclude"], "who": entry.body["who"]},
        },
        exported_again=entry.number,
    )


def _generation(state: Migration, entry: Entry) -> Migration:
    return state._replace(counter=max(state.counter, int(entry.body["counter"])), reserved=entry.body["for"])


def _share(state: Migration, entry: Entry) -> Migration:
    document = document_of(entry.body["document"])
    done = state.done
    if document != state.document:  # what was proven under another document is no longer a proof
        done = {name: body for name, body in done.items() if name != "all-moved"}
    return state._replace(
        done=done,
        pending=_acted(state),
        document=document,
        dual_write=entry.body["dual_write"],
        share_entry=entry.number,
        is_published=False,
        reserved="",
    )


def _published(state: Migration, entry: Entry) -> Migration:
    return state._replace(is_published=entry.body["share"] == state.share_entry)


def _pause(state: Migration, entry: Entry) -> Migration:
    paused = bool(entry.body["paused"])
    return state._replace(paused=paused, paused_by=str(entry.body.get("who", "")) if paused else "")


def _halt(state: Migration, entry: Entry) -> Migration:
    return state._replace(halt=entry.body["because"])


def _stray(state: Migration, entry: Entry) -> Migration:
    return state._replace(stray_last_us={**state.stray_last_us, **entry.body["last_us"]})


def _nothing(state: Migration, _entry: Entry) -> Migration:
    return state


def _note(state: Migration, entry: Entry) -> Migration:
    letter = entry.body.get("discarded")
    if letter is None or letter.get("part", 1) != letter.get("parts", 1):
        return state
    discards, intent = dict(state.discards), letter.get("intent")
    if intent is not None:
        discards[intent] = discards.get(intent, 0) + 1
    return state._replace(discarded=state.discarded | {letter["letter"]}, discards=discards)


_FOLDS = {
    "intent": _intent,
    "admitted": _admitted,
    "outcome": _outcome,
    "phase": _phase,
    "begun": _begun,
    "step": _step,
    "again": _again,
    "generation": _generation,
    "share": _share,
    "published": _published,
    "pause": _pause,
    "halt": _halt,
    "stray": _stray,
    "note": _note,
    "repair": _nothing,
    "reveal": _nothing,
}

KINDS = frozenset(_FOLDS)
"""All kinds of entries."""


def document_of(body: Mapping[str, Any]) -> FlagDocument:
    """Read what `crossfade.core.migration.acts.document_json` gave.

    Raises:
        ConfigError: version 0.1 wrote it.
    """
    document = FlagDocument(body["share"], int(body["target_gen"]), int(body["source_gen"]), body["complete"])
    return check_generations(document)
