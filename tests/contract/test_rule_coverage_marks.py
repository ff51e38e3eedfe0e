"""Rule 7: an answer that comes too late is never taken for the next one's; else a mark would hide a write forever."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from redis.asyncio import Redis

from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction
from localaws import Endpoints

pytestmark = pytest.mark.embedded
MARKED, OTHER = key_of_strings("USER#7"), key_of_strings("USER#8")
PAUSE_S = 2.0


async def test_rule_7_a_late_answer_is_not_taken_for_that_of_the_next_question(local_aws: Endpoints) -> None:
    assert local_aws.redis_url is not None
    marks = RedisMarks(
        local_aws.redis_url,
        uuid.uuid4().hex,
        table_ids={Direction.FORWARD: "t"},
        timeout_s=PAUSE_S / 4,
        cooldown_s=0.0,
    )
    await marks.mark(Direction.FORWARD, {MARKED: 10**18 + 1})
    assert await marks.seen(Direction.FORWARD, [MARKED]) == [10**18 + 1]
    operator = Redis.from_url(local_aws.redis_url)
    await operator.client_pause(int(PAUSE_S * 1000))
    asked = [await marks.seen(Direction.FORWARD, [MARKED]) for _ in range(2)]
    assert asked == [[None], [None]], "no answer in time is no mark"
    await asyncio.sleep(PAUSE_S * 1.5)
    for _ in range(4):
        assert await marks.seen(Direction.FORWARD, [OTHER]) == [None]
        assert await marks.seen(Direction.FORWARD, [MARKED]) == [10**18 + 1]
    await operator.aclose()
    await marks.close()
