"""What promtool tests of the alerts about the Engagement API: when each fires, with its words, and when it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tools.observability.cases_words import (
    EVERYBODY,
    MIGRATION,
    PHASES,
    Case,
    E,
    Fires,
    buckets,
    operations,
    phase,
    service,
)

NO_API: Final = Fires(
    "engagement: no API pod answers Prometheus; clients are served by none", service("engagement-api")
)

OF_API: Final[Mapping[str, tuple[Case, ...]]] = {
    "ApiErrors": (
        Case(
            "one operation in eleven fails",
            operations("0+600x20", "0+60x20"),
            "10m",
            (Fires("engagement: 9.091% of the API's operations fail by our fault"),),
        ),
        Case(
            "one operation in eleven fails, all of them in batches",
            operations("0+600x20", "0+60x20", method="BatchEarnPoints"),
            "10m",
            (Fires("engagement: 9.091% of the API's operations fail by our fault"),),
        ),
        Case("one operation in 200 fails", operations("0+600x20", "0+3x20"), "10m"),
        Case("clients ask for more points than they have", operations("0+600x20", "0+300x20", "refused"), "10m"),
        Case("clients change their minds", operations("0+600x20", "0+300x20", "cancelled"), "10m"),
        Case("nobody calls", operations("0+0x20", "0+0x20"), "10m"),
    ),
    "ApiMethodFailing": (
        Case(
            "every read fails, one call in five hundred",
            {**operations("0+5000x20", "0+0x20"), **operations("0+0x20", "0+10x20", method="GetPoints")},
            "12m",
            (Fires("engagement: 100% of GetPoints fail by our fault", {**MIGRATION, "rpc_method": "GetPoints"}),),
        ),
        Case("one in eleven", operations("0+600x20", "0+60x20"), "12m"),
    ),
    "ApiSlow": (
        Case(
            "one call in ten takes half a second",
            buckets("rpc_server_call_duration_seconds", "", le_0_25="0+90x20", le_0_5="0+100x20", le_inf="0+100x20"),
            "12m",
            (Fires("engagement: p99 of the API's calls is 475ms"),),
        ),
        Case(
            "all calls take less than a quarter",
            buckets("rpc_server_call_duration_seconds", "", le_0_25="0+100x20", le_0_5="0+100x20", le_inf="0+100x20"),
            "12m",
        ),
    ),
    "ApiDown": (
        *(
            Case(f"no pod is scraped, in {name}", phase(name), "3m", (NO_API,), dead=("engagement-api",))
            for name in PHASES
        ),
        Case("nobody is left to tell the phase", {}, "3m", (NO_API,), dead=EVERYBODY),
        Case("pods are scraped", {}, "3m"),
        Case(
            "another migration has pods",
            {'target_info{crossfade_migration="other",service_name="engagement-api"}': "1+0x10"},
            "3m",
            (NO_API,),
            dead=("engagement-api",),
        ),
    ),
    "OwnerWritesRefused": (
        Case(
            "one of two pods can't renew its heartbeat",
            {
                f'crossfade_owner_writes_allowed{{{E},instance="a"}}': "1+0x10",
                f'crossfade_owner_writes_allowed{{{E},instance="b"}}': "1 0+0x9",
            },
            "5m",
            (Fires("engagement: 1 API pods refuse writes, since they can't renew their heartbeat"),),
        ),
        Case("all pods may write", {f'crossfade_owner_writes_allowed{{{E},instance="a"}}': "1+0x10"}, "5m"),
    ),
    "FlagsStale": (
        Case(
            "a pod's flag file can't be read",
            {f'crossfade_flags_age_seconds{{{E},instance="a"}}': "0+60x10"},
            "6m",
            (Fires("engagement: an API pod has not read its flags for 6m 0s"),),
        ),
        Case("it is read every second", {f'crossfade_flags_age_seconds{{{E},instance="a"}}': "0.5+0x10"}, "6m"),
    ),
    "PodsBehind": (
        Case(
            "one pod stays at old flags",
            {f"crossfade_pods_behind{{{E}}}": "0 1+0x9"},
            "5m",
            (Fires("engagement: 1 API pods work under old flags; nothing moves until they follow"),),
        ),
        Case("pods follow within a minute", {f"crossfade_pods_behind{{{E}}}": "0 2 0+0x8"}, "5m"),
    ),
    "DualWriteFailing": (
        Case(
            "one copy in ten fails",
            {
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="copied"}}': "0+90x30",
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="failed"}}': "0+10x30",
            },
            "20m",
            (Fires("engagement: 10% of the dual writes' copies fail and are left to the stream"),),
        ),
        Case(
            "copies are late, none fails",
            {
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="late"}}': "0+90x30",
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="failed"}}': "0+0x30",
            },
            "20m",
        ),
    ),
}
