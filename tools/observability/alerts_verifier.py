"""The alerts about the verifier."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Service
from tools.observability.alerting import Alert, Clients, alarm, silent
from tools.observability.presence import down, needed
from tools.observability.promql import MIGRATION, one_of
from tools.observability.wording import CLEAN_PASS_S, DRIFT, LAG_S, PAGE, TICKET, VALUE, VERIFIER, M, W, label

OF_VERIFIER: Final = (
    Alert(
        "TwoOwners",
        f"{W.worst(c.PARITY, one_of(c.CLASS, ['two_owners']))} > 0",
        "0m",
        PAGE,
        Clients.SOME,
        f"{M}: {VALUE} keys are active in both tables",
        VERIFIER,
        (c.PARITY,),
        0,
        (alarm("two-owners", c.PARITY, 0, by=c.PARITY.attributes, minutes=1),),
        reporters=(Service.VERIFIER,),
    ),
    Alert(
        "ParityDrift",
        f"{W.worst(c.PARITY, one_of(c.CLASS, DRIFT), by=(c.CLASS,))} > 0",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} keys are {label(c.CLASS)}",
        VERIFIER,
        (c.PARITY, c.REPAIRS),
        0,
        (alarm("parity-drift", c.PARITY, 0, by=c.PARITY.attributes),),
        reporters=(Service.VERIFIER,),
        by=(c.CLASS,),
    ),
    Alert(
        "RowsNotOurs",
        f"{W.worst(c.NOT_OURS)} > 0",
        "0m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} rows of the target table don't belong to the migration",
        VERIFIER,
        (c.NOT_OURS,),
        0,
        (alarm("not-ours", c.NOT_OURS, 0, minutes=1),),
        reporters=(Service.VERIFIER,),
    ),
    Alert(
        "NoCleanPass",
        f"{needed(Service.VERIFIER)} unless on ({MIGRATION}) ({W.least(c.CLEAN_AGE)} < {CLEAN_PASS_S:g})",
        "15m",
        TICKET,
        Clients.SAFE,
        f"{M}: the verifier has had no clean pass in the last hour",
        VERIFIER,
        (c.CLEAN_AGE, c.PASS_DURATION, c.SAFE),
        CLEAN_PASS_S,
        (alarm("clean-pass", c.CLEAN_AGE, CLEAN_PASS_S, minutes=15, silence=True),),
    ),
    Alert(
        "VerifierDown",
        down(Service.VERIFIER),
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: no verifier answers Prometheus; nobody compares the tables",
        VERIFIER,
        (c.SAFE,),
        alarms=(silent("verifier-silent", c.SAFE),),
    ),
    Alert(
        "VerifierBlind",
        f"{needed(Service.VERIFIER)} unless on ({MIGRATION}) "
        f"(count by ({MIGRATION}) ({W.worst(c.READ_AGE, by=(c.SIDE,))} < {LAG_S:g}) == 2)",
        "5m",
        TICKET,
        Clients.SAFE,
        f"{M}: the verifier is gone, or does not read both streams to their tips",
        VERIFIER,
        (c.READ_AGE, c.VERIFIER_READ),
        LAG_S,
        (alarm("verifier-lag", c.READ_AGE, LAG_S, silence=True),),
    ),
)
