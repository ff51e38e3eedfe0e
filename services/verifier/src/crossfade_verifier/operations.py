"""What the verifier's door offers: each route with its role, its parameters and the document that it answers with.

Routes, OpenAPI (`GET /openapi.json`) and docs/reference/http-verifier.md are made from this table.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec

from crossfade.contracts.key import KeyReport
from crossfade.contracts.parity import BucketPage, DifferencePage, ParityReport, PassList, PassReport
from crossfade.contracts.repairs import RepairList, RepairReport
from crossfade.core.parity.classes import Difference
from crossfade.runtime.openapi import Operation, Parameter
from crossfade.runtime.roles import Role

TITLE: Final = "Crossfade verifier"

ABOUT: Final = (
    "Whether both tables hold the same, and what to do where they don't. 64-bit numbers and times in µs are text. "
    "Whatever isn't a GET needs Content-Type: application/json. "
    "Metrics are served at OTEL_EXPORTER_PROMETHEUS_PORT, not here."
)

PAGE: Final = 1_000
"""Entries of one page at most."""

CLASSES: Final = tuple(each.value for each in Difference if each is not Difference.EQUAL)


class Who(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks.

    Attributes:
        who: name of who asks; whoever shows a token or a certificate goes by the name in that instead.
    """

    who: str = ""


class WhatToRepair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a repair is planned for: keys, or a class.

    Attributes:
        keys: encoded, as /parity shows them.
        found: a class; "class" in JSON.
        limit: keys of the class at most.
        after: an encoded key: only keys of the class that come after it.
        who: name of who asks; whoever shows a token or a certificate goes by the name in that instead.
    """

    keys: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    found: str | msgspec.UnsetType = msgspec.field(name="class", default=msgspec.UNSET)
    limit: int | msgspec.UnsetType = msgspec.UNSET
    after: str | msgspec.UnsetType | None = msgspec.UNSET
    who: str = ""


class HowToRepair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a plan is carried out.

    Attributes:
        pace: steps a second; only lower than CROSSFADE_REPAIRS_PER_S.
        who: name of who asks; whoever shows a token or a certificate goes by the name in that instead.
    """

    pace: int | None = None
    who: str = ""


class Alive(msgspec.Struct, frozen=True):
    """The process answers.

    Attributes:
        status: always "ok".
    """

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct, frozen=True):
    """The process answers /parity.

    Attributes:
        status: always "ready".
        waiting: what passes are waiting for; null when they are not.
    """

    waiting: str | None
    status: Literal["ready"] = "ready"


_LIMIT: Final = Parameter("limit", "entries of a page at most", int, least=1, most=PAGE, default=100)
_PASS: Final = Parameter("id", "of the pass, as GET /passes lists it")
_NO_PASS: Final = {HTTPStatus.NOT_FOUND: "There is no such pass, or it is older than the last 100."}

PARITY: Final = Operation("Whether both tables hold the same, and whether it is safe to cut over.", ParityReport)

BUCKETS: Final = Operation(
    "Sums of both tables by bucket, as the last pass counted them, and where they differ now.",
    BucketPage,
    parameters=(
        Parameter("after", "number of the last bucket seen; none for the first page", int),
        _LIMIT,
        Parameter("differing", "only buckets in which the tables differed then, or differ now", bool, default=False),
    ),
)

DIFFERENCES: Final = Operation(
    "Keys that were called, by class and key.",
    DifferencePage,
    parameters=(
        Parameter("class", "only keys of this class", choices=CLASSES),
        Parameter("bucket", "only keys of this bucket", int),
        Parameter("after", "`next` of the page before; none for the first page"),
        _LIMIT,
    ),
)

KEY: Final = Operation(
    "One key, read now: both rows side by side, what the difference means and what to do.",
    KeyReport,
    parameters=(
        Parameter("key", "encoded, as /parity shows it, or short (ART#7/SHOP#1); URL-escaped"),
        Parameter("reveal", "show values: needs the role operator, and is journalled", bool, default=False),
        Parameter("who", "who asks to reveal them, unless a token or a certificate says so"),
    ),
)

PASSES: Final = Operation("The last 100 passes, newest first, and the one that is running.", PassList)

ASK: Final = Operation(
    "Requests a pass that has yet to begin. One that is requested and has not begun is good for all.",
    PassReport,
    HTTPStatus.ACCEPTED,
    Who,
    role=Role.OPERATOR,
)

PASS: Final = Operation(
    "One pass; while it is running, with its parts and who works on each.",
    PassReport,
    parameters=(_PASS,),
    refusals=_NO_PASS,
)

CANCEL: Final = Operation(
    "Ends a pass that is waiting or running; it stays in the list, as cancelled. One that is over stays as it is.",
    PassReport,
    HTTPStatus.ACCEPTED,
    Who,
    (_PASS,),
    _NO_PASS,
    Role.OPERATOR,
)

_REPAIR: Final = Parameter("id", "of the plan, as GET /repairs lists it")
_NO_REPAIR: Final = {HTTPStatus.NOT_FOUND: "There is no such repair, or it is older than the last 100."}

PLAN: Final = Operation(
    "Plans a repair of keys, or of a class: kept, and nothing is written.",
    RepairReport,
    HTTPStatus.ACCEPTED,
    WhatToRepair,
    role=Role.OPERATOR,
)

REPAIR: Final = Operation(
    "One repair, with a page of its steps.",
    RepairReport,
    parameters=(
        _REPAIR,
        Parameter("after", "number of the last step seen", int, default=0),
        Parameter("limit", "steps of the page at most", int, most=PAGE, default=100),
    ),
    refusals=_NO_REPAIR,
)

EXECUTE: Final = Operation(
    "Carries out exactly the plan that was shown.",
    RepairReport,
    HTTPStatus.ACCEPTED,
    HowToRepair,
    (_REPAIR,),
    {**_NO_REPAIR, HTTPStatus.CONFLICT: "The migration is paused, or the plan is in a state that nothing executes."},
    Role.OPERATOR,
)

CANCEL_REPAIR: Final = Operation(
    "Ends a repair, after the slice that is being written.",
    RepairReport,
    HTTPStatus.ACCEPTED,
    Who,
    (_REPAIR,),
    _NO_REPAIR,
    Role.OPERATOR,
)

OPERATIONS: Final[dict[str, Operation]] = {
    "GET /parity": PARITY,
    "GET /parity/buckets": BUCKETS,
    "GET /parity/differences": DIFFERENCES,
    "GET /keys/{key}": KEY,
    "GET /passes": PASSES,
    "POST /passes": ASK,
    "GET /passes/{id}": PASS,
    "POST /passes/{id}/cancel": CANCEL,
    "POST /repairs": PLAN,
    "GET /repairs": Operation("The last 100 repairs, newest first, without their steps.", RepairList),
    "GET /repairs/{id}": REPAIR,
    "POST /repairs/{id}/execute": EXECUTE,
    "POST /repairs/{id}/cancel": CANCEL_REPAIR,
    "GET /openapi.json": Operation("This document.", dict[str, Any]),
    "GET /healthz": Operation("Whether the process is alive.", Alive, role=Role.ANYONE),
    "GET /readyz": Operation("Whether it answers /parity.", Ready, role=Role.ANYONE),
}
