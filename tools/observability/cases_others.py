"""What promtool tests of the alerts about verifier, controller and the alerting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tools.observability.cases_words import (
    EVERYBODY,
    MIGRATION,
    NO_CONTROLLER,
    PLANNED,
    WATCHDOG,
    Case,
    E,
    Fires,
    parity,
    service,
    tips,
)

OF_VERIFIER: Final[Mapping[str, tuple[Case, ...]]] = {
    "TwoOwners": (
        Case(
            "one key is active in both tables",
            parity("two_owners", "0 1+0x9"),
            "2m",
            (Fires("engagement: 1 keys are active in both tables"),),
        ),
        Case("none is", parity("two_owners", "0+0x9"), "2m"),
    ),
    "ParityDrift": (
        Case(
            "a key is missing pass after pass",
            {**parity("missing", "1+0x20"), **parity("stuck", "0+0x20")},
            "8m",
            (Fires("engagement: 1 keys are missing", {**MIGRATION, "crossfade_parity_class": "missing"}),),
        ),
        Case(
            "keys in flight and in handover",
            {**parity("in_flight", "9+0x20"), **parity("in_handover", "9+0x20")},
            "8m",
        ),
        Case("gone with the next pass", parity("stuck", "3 3 0+0x20"), "8m"),
    ),
    "RowsNotOurs": (
        Case(
            "rows of another system have left its table",
            {f"crossfade_parity_not_ours{{{E}}}": "0 4+0x9"},
            "2m",
            (Fires("engagement: 4 rows of the target table don't belong to the migration"),),
        ),
        Case("none", {f"crossfade_parity_not_ours{{{E}}}": "0+0x9"}, "2m"),
    ),
    "NoCleanPass": (
        Case(
            "the last one is two hours old",
            {f"crossfade_parity_clean_pass_age_seconds{{{E}}}": "7200+60x60"},
            "30m",
            (Fires("engagement: the verifier has had no clean pass in the last hour", service("verifier")),),
        ),
        Case(
            "there was none at all",
            {},
            "30m",
            (Fires("engagement: the verifier has had no clean pass in the last hour", service("verifier")),),
        ),
        Case("clean five minutes ago", {f"crossfade_parity_clean_pass_age_seconds{{{E}}}": "300+0x60"}, "30m"),
        Case("nothing to compare yet", PLANNED, "30m"),
    ),
    "VerifierDown": (
        Case(
            "it is gone",
            {},
            "5m",
            (Fires("engagement: no verifier answers Prometheus; nobody compares the tables", service("verifier")),),
            dead=("verifier",),
        ),
        Case("it is scraped", {}, "5m"),
        Case("nothing to compare yet", PLANNED, "5m", dead=("verifier",)),
    ),
    "VerifierBlind": (
        Case(
            "the target table's stream is read late",
            {**tips(source="1+0x60", target="0+60x60")},
            "15m",
            (
                Fires(
                    "engagement: the verifier is gone, or does not read both streams to their tips", service("verifier")
                ),
            ),
        ),
        Case(
            "the verifier is gone",
            {},
            "15m",
            (
                Fires(
                    "engagement: the verifier is gone, or does not read both streams to their tips", service("verifier")
                ),
            ),
        ),
        Case("both are read", {**tips(source="1+0x60", target="2+0x60")}, "15m"),
    ),
}

OF_CONTROLLER: Final[Mapping[str, tuple[Case, ...]]] = {
    "RampHalted": (
        Case(
            "a gate broke",
            {f"crossfade_ramp_halted{{{E}}}": "0 1+0x9"},
            "3m",
            (Fires("engagement: the ramp is halted by a gate"),),
        ),
        Case("it goes on", {f"crossfade_ramp_halted{{{E}}}": "0+0x9"}, "3m"),
    ),
    "HandoverOverdue": (
        Case(
            "the sweeper does not get them through",
            {f"crossfade_handover_overdue{{{E}}}": "0 2+0x9"},
            "5m",
            (Fires("engagement: 2 keys are standby on both sides, and the sweeper does not get them through"),),
        ),
        Case("it helps at once", {f"crossfade_handover_overdue{{{E}}}": "0 2 0+0x9"}, "5m"),
    ),
    "GateShut": (
        Case(
            "one gate stays shut",
            {
                f'crossfade_gate_open{{{E},crossfade_gate="clean_pass"}}': "1 0+0x60",
                f'crossfade_gate_open{{{E},crossfade_gate="heartbeats"}}': "1+0x60",
            },
            "35m",
            (
                Fires(
                    "engagement: gate clean_pass has been shut for half an hour",
                    {**MIGRATION, "crossfade_gate": "clean_pass"},
                ),
            ),
        ),
        Case(
            "shut for ten minutes", {f'crossfade_gate_open{{{E},crossfade_gate="clean_pass"}}': "0+0x10 1+0x40"}, "35m"
        ),
    ),
    "NoController": (
        Case(
            "nobody holds the lease, so nobody tells the phase",
            {f"crossfade_controller_driving{{{E}}}": "0+0x10"},
            "5m",
            (Fires(NO_CONTROLLER, service("controller")),),
            dead=("controller",),
        ),
        Case("everybody is gone", {}, "5m", (Fires(NO_CONTROLLER, service("controller")),), dead=EVERYBODY),
        Case(
            "it died two hours ago, in CUT_OVER",
            {f'crossfade_migration_phase{{{E},crossfade_phase="CUT_OVER"}}': "1+0x20 stale"},
            "140m",
            (Fires(NO_CONTROLLER, service("controller")),),
            dead=EVERYBODY,
        ),
        Case("one drives", {}, "5m"),
        Case(
            "aborted, and taken away",
            {f'crossfade_migration_phase{{{E},crossfade_phase="ABORTED"}}': "1+0x20 stale"},
            "140m",
            dead=EVERYBODY,
        ),
    ),
}

OF_WATCH: Final[Mapping[str, tuple[Case, ...]]] = {
    "Watchdog": (
        Case("always", {}, "0m", (Fires(WATCHDOG, {}),)),
        Case("whoever is dead", {}, "90m", (Fires(WATCHDOG, {}),), dead=EVERYBODY),
    ),
    "NothingExpected": (
        Case(
            "a migration is scraped that the rules don't know",
            {'target_info{crossfade_migration="other",service_namespace="crossfade"}': "1+0x60"},
            "10m",
            (
                Fires(
                    "other: the rules don't say which services must run, so their death would go unseen",
                    {"crossfade_migration": "other"},
                ),
            ),
        ),
        Case("all are known", {}, "10m"),
    ),
}
