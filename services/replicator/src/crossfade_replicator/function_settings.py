"""Settings of the replicator as an AWS Lambda function."""

from __future__ import annotations

from pydantic import Field

from crossfade_replicator.settings import Settings


class FunctionSettings(Settings):
    """What the function is told: as the service, and what only a function must know."""

    partial_responses: bool = Field(
        False,
        description="The event source mapping has FunctionResponseTypes ReportBatchItemFailures. Unset, a batch that "
        "isn't wholly applied fails whole: a mapping without it would take the rest for done.",
    )
    reserve_s: float = Field(
        3.0,
        gt=0,
        description="Time before the function's timeout that is kept for parking, marking and reporting; at most a "
        "third of what there is.",
    )
