"""Who asks a writer protocol knows nothing of it; `tests/property/test_second_protocol.py` runs them under a second."""

from __future__ import annotations

import re

import pytest

from repository import production

ASKING = (
    "core/replication/apply.py",
    "core/replication/coalesce.py",
    "core/parity/classes.py",
    "core/migration/gates.py",
    "core/migration/evidence.py",
    "core/migration/phases.py",
    "core/migration/table.py",
    "core/migration/step.py",
    "core/migration/acts.py",
    "core/migration/starting.py",
    "core/migration/snapshotting.py",
    "crossfade_verifier/followlist.py",
    "crossfade_verifier/findings.py",
    "crossfade_verifier/units.py",
    "crossfade_verifier/scan_unit.py",
    "crossfade_verifier/join_unit.py",
    "crossfade_verifier/sharing.py",
    "crossfade_verifier/both.py",
    "crossfade_verifier/passes.py",
    "crossfade_verifier/repair.py",
    "crossfade_verifier/lags.py",
    "crossfade_verifier/looks.py",
    "crossfade_controller/aftermath.py",
    "crossfade_controller/canary.py",
    "crossfade_controller/markers.py",
    "crossfade_controller/diverged.py",
    "crossfade_replicator/pipeline.py",
    "crossfade_replicator/interventions.py",
    "crossfade_replicator/merging.py",
    "core/mapping/copies.py",
    "core/mapping/snapshot.py",
    "core/protocol/seam.py",
    "core/protocol/row.py",
    "core/protocol/writing.py",
    "core/replication/feed.py",
    "crossfade_controller/settling.py",
    "crossfade_controller/deeds.py",
)
"""Modules that know no role and no generation."""

KNOWS = re.compile(
    r"\bRole\b|\bcf_(role|gen)\b|\b(GEN|ROLE)\b|generation_of|\bis_active\b|\bis_held_out\(|\.(generation|role)\b"
)


@pytest.mark.parametrize("name", ASKING)
def test_who_asks_the_seam_knows_no_role_and_no_generation(name: str) -> None:
    text = re.sub(r'""".*?"""|#.*', "", production()[name], flags=re.DOTALL)
    asked = re.compile(r"(rows|rows\(\)|reader)\.is_held_out\(|\bROLES\b")  # of the seam; a consumer's role
    found = [line.strip() for line in text.splitlines() if KNOWS.search(line) and not asked.search(line)]
    assert not found
