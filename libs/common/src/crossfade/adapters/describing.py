"""Asks AWS the questions of a plan: thin, so that the questions and their meaning stay in `crossfade.core.plan`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final

from crossfade.adapters.s3_objects import LazyClient
from crossfade.core.plan.described import QUESTIONS, Answers, Question, Unknown, nothing_known
from crossfade.core.values.errors import ConfigError

REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "NotAuthorized",
        "UnauthorizedOperation",
    }
)
"""How the services say that IAM refused."""

AT_ONCE: Final = 6
"""Calls at the same time: a plan isn't worth a throttled control plane."""

SERVICE_S: Final = 20.0
"""How long one question may take, over all its pages: a service that doesn't answer holds up nothing else."""


async def describe(
    client: Callable[[str], LazyClient], table: str, *, now_s: float, only: Collection[str] = ()
) -> Answers:
    """Ask everything of one table, or some questions.

    Args:
        client: gives the client of a service, by its name.
        table: name or ARN.
        now_s: seconds since the epoch.
        only: names of questions, none of which needs another's answer; all by default.
    """
    told: dict[str, Any] = nothing_known("not asked")
    gate = asyncio.Semaphore(AT_ONCE)
    for later in (False, True):
        asked = [each for each in QUESTIONS if each.later is later and (not only or each.name in only)]
        found = await asyncio.gather(*(_ask(each, client, gate, table, told, now_s) for each in asked))
        told |= {each.name: answer for each, answer in zip(asked, found, strict=True)}
    return told


async def _ask(
    question: Question,
    client: Callable[[str], LazyClient],
    gate: asyncio.Semaphore,
    table: str,
    told: Mapping[str, Any],
    now_s: float,
) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    requests = question.requests(table, dict(told), now_s)
    if isinstance(requests, Unknown):
        return requests
    if not requests:
        return None
    try:
        async with gate, asyncio.timeout(SERVICE_S):
            one = await client(question.service).get()
            parts = [await _call(one, question, request) for request in requests]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in question.absent:
            return None
        if code in REFUSED:
            return Unknown(question.action)
        return Unknown(question.action, f"{question.service} doesn't answer here: {code or error}")
    except ResponseParserError:
        return Unknown(question.action, f"{question.service} doesn't answer here in a way that can be read")
    except TimeoutError:
        return Unknown(question.action, f"{question.service} didn't answer within {SERVICE_S:g} s")
    except (BotoCoreError, ConfigError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Unknown(question.action, f"{question.service} doesn't answer here: {said}")
    if all(part is None or isinstance(part, list) for part in parts):
        return _plain([each for part in parts for each in part or ()])
    return _plain(parts[0])


async def _call(client: Any, question: Question, request: dict[str, Any]) -> Any:
    from botocore import xform_name

    name = xform_name(question.operation)
    if not client.can_paginate(name):
        return (await getattr(client, name)(**request)).get(question.part)
    found: list[Any] = []
    async for page in client.get_paginator(name).paginate(**request):
        found += page.get(question.part) or []
    return found


def _plain(value: Any) -> Any:
    """Return an answer as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value
