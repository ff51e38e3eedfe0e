"""AWS Lambda runs no plain mapping: nothing there could acknowledge a seal (ADR 0044)."""

from __future__ import annotations

import pytest

from crossfade.core.values.errors import ConfigError
from crossfade_replicator.function_settings import FunctionSettings
from crossfade_replicator.lambda_handler import opened


@pytest.mark.parametrize("consumer", ["forward", "reverse"])
async def test_a_function_refuses_a_plain_mapping_and_says_what_to_run_instead(consumer: str) -> None:
    settings = FunctionSettings.model_validate(
        {"consumer": consumer, "migration_mapping": "plain_records:MAPPING", "region": "us-east-1"}
    )
    with pytest.raises(ConfigError, match="run the replicator as a worker"):
        await opened(settings)
