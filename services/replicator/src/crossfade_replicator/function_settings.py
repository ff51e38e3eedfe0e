"""Settings of the replicator as an AWS Lambda function."""

from __future__ import annotations

from pydantic import Field

from crossfade_replicator.settings import Settings


class FunctionSettings(Settings):
    """Settings of the function: the service's, and some of its own."""

    partial_responses: bool = Field(
        False,
        description="The event source mapping has FunctionResponseTypes ReportBatchItemFailures. Unset: a "
        "batch that isn't fully applied fails as a whole, because a mapping without it would "
        "consider the rest done.",
    )
    reserve_s: float = Field(
        3.0,
        gt=0,
        description="Time reserved before the function's timeout for parking, marking and reporting; at most "
        "a third of the timeout.",
    )
