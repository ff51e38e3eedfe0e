"""The operator's commands as spans, from acceptance to outcome, with what the journal says meanwhile.

The journal is what must be right; the spans only show it where traces are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from crossfade.contracts.journal import Entry
from crossfade.core.migration.state import Pending
from crossfade.core.ownership.ramp import FULL_SHARE
from crossfade.runtime.telemetry import Started, Telemetry
from crossfade.runtime.telemetry.contract import ENTRY, NUMBER, OUTCOME, PERCENT, REASON, VERB, WHO
from crossfade.runtime.telemetry.span_contract import INTENT, JOURNAL_EVENT, RAMP_EVENT

BY_ITSELF: Final = "itself"
"""The verb of what the migration does without being asked: a halt, the end of a phase."""


class IntentSpans:
    """Turns journal entries into spans. Belongs to the one task that drives the migration."""

    def __init__(self, telemetry: Telemetry, pending: Iterable[Pending] = ()) -> None:
        """Take up what is open.

        Args:
            telemetry: of the process.
            pending: commands without an outcome, as the journal has them when this controller begins to drive: new
                spans show the rest of their way.
        """
        self._telemetry = telemetry
        self._asked: dict[int, tuple[str, str]] = {}
        self._open: dict[int, Started] = {}
        for each in pending:
            self._asked[each.number] = (each.intent.value, each.who)
            if each.admitted:
                self._begin(each.number)

    def take(self, entries: Sequence[Entry]) -> None:
        """Take in new entries, in their order."""
        for entry in entries:
            self._take(entry)

    def close(self) -> None:
        """End what is open: another process may go on with it."""
        for span in self._open.values():
            span.end()
        self._open.clear()

    def _take(self, entry: Entry) -> None:
        body = entry.body
        if entry.kind == "intent":
            self._asked[entry.number] = (str(body["verb"]), str(body.get("who") or entry.who))
        elif entry.kind == "admitted":
            self._begin(int(body["intent"]))
        elif entry.kind == "outcome":
            self._finish(int(body["intent"]), body)
        elif self._open:
            for span in self._open.values():
                _tell(span, entry)
        else:
            alone = self._telemetry.start(INTENT, {VERB: BY_ITSELF}, parent="")
            if alone is not None:
                _tell(alone, entry)
                alone.end()

    def _begin(self, number: int) -> None:
        verb, who = self._asked.pop(number, ("", ""))
        if verb:
            span = self._telemetry.start(INTENT, {VERB: verb, WHO: who}, parent="")
            if span is not None:
                self._open[number] = span

    def _finish(self, number: int, body: Any) -> None:
        self._asked.pop(number, None)
        span = self._open.pop(number, None)
        if span is not None:
            span.set(OUTCOME, str(body["outcome"]))
            span.set(REASON, str(body.get("because") or ""))
            span.end()


def _tell(span: Started, entry: Entry) -> None:
    reason = _reason(entry)
    if entry.kind == "share":
        percent = int(entry.body["document"]["share"]) * 100 / FULL_SHARE
        span.event(RAMP_EVENT, {PERCENT: f"{percent:g}", REASON: reason})
    span.event(JOURNAL_EVENT, {ENTRY: entry.kind, NUMBER: entry.number, REASON: reason})


def _reason(entry: Entry) -> str:
    """Say why an entry was written, from what it holds: for a transition and a share, the gates' words."""
    body = entry.body
    gates = "; ".join(f"{gate['name']}: {gate['because']}" for gate in body.get("gates", ()) if gate.get("because"))
    match entry.kind:
        case "phase":
            change = f"{body['from']} to {body['to']}"
            return f"{change} ({gates})" if gates else change
        case "share":
            return gates or "as journalled"
        case "halt":
            return str(body["because"]) or "all gates are open again"
        case "begun" | "step":
            return str(body["step"])
    return ""
