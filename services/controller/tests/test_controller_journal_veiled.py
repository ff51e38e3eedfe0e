"""The journal is printed without rows: of letters merged or discarded, what changed and not to what (ADR 0039)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossfade.contracts.journal import Entry
from crossfade_controller.journaling import journal_json, journal_text

LETTER = {"letter": "reverse/stray:1", "key": '[{"S":"USER#7"},{"S":"POINTS#1"}]'}
PAYLOAD = '{"dynamodb":{"NewImage":{"tier":{"S":"hushhush"}}}}'
CHANGE = {"name": "tier", "old": '{"S":"hushhush"}', "new": '{"S":"hushhush!"}', "owner": None}


@pytest.mark.parametrize(
    "body",
    [
        {"discarded": {**LETTER, "payload": PAYLOAD}},
        {"merging": {**LETTER, "payload": PAYLOAD, "changes": [CHANGE]}},
        {"merging": {**LETTER, "payload": "", "changes": ["tier"]}},  # its record was too large for the journal
    ],
)
def test_a_letters_record_is_not_printed(body: dict[str, Any]) -> None:
    entry = Entry(7, "note", 1_764_230_400_000_000, "ann@desk", "0", body)
    told = journal_json("engagement", [entry])
    assert "hushhush" not in json.dumps(told) + journal_text([entry])
    (shown,) = told["entries"][0]["body"].values()
    assert shown["key"] == LETTER["key"]
    assert shown.get("changes", ["tier"]) == ["tier"]
    assert shown["payload"].endswith("bytes, in the journal's table")
    assert "USER#7" in journal_text([entry])


def test_who_saw_what_is_printed() -> None:
    entry = Entry(8, "reveal", 1_764_230_400_000_000, "verifier-0", "0", {"key": LETTER["key"], "who": "ann"})
    assert "who=ann" in journal_text([entry])
    assert "USER#7" in journal_text([entry])
