"""Answers are what the door's OpenAPI document promises: whoever asks the verifier in a test checks that, too."""

from __future__ import annotations

import functools
import re
from typing import Any

import jsonschema

from crossfade.runtime import openapi
from crossfade_verifier.operations import ABOUT, OPERATIONS, TITLE


@functools.cache
def promised() -> dict[str, Any]:
    """Return the document."""
    return openapi.document(TITLE, ABOUT, "test", OPERATIONS)


@functools.cache
def _validator(path: str, method: str, status: str) -> Any:
    made = promised()
    responses = made["paths"][path][method]["responses"]
    content = responses.get(status, responses["default"])["content"]["application/json"]
    schema = {"$ref": "#/answer/schema", "answer": content, "components": made["components"]}
    return jsonschema.Draft202012Validator(schema)


def check_answer(method: str, path: str, status: int, body: object) -> None:
    """Fail if an answer isn't the one that the document promises for its route; routes it doesn't have fail, too.

    Args:
        method: "GET", "POST".
        path: with or without a query.
        status: of the answer.
        body: decoded.
    """
    bare = path.partition("?")[0]
    found = [each for each in promised()["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), bare)]
    if not found and status == 404:
        return
    (route,) = found
    if method.lower() not in promised()["paths"][route]:
        assert status == 405, f"{method} {path}: answered {status}, and OpenAPI doesn't have it"
        return
    problems = sorted(_validator(route, method.lower(), str(status)).iter_errors(body), key=str)
    assert not problems, f"{method} {path} {status}: {problems[0].json_path}: {problems[0].message}"
