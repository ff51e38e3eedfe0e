"""The verifier's door: each route is guarded alike, documented, and answers what its document promises."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from crossfade.runtime.openapi import named_in
from crossfade.runtime.roles import Role
from crossfade_verifier.operations import OPERATIONS
from door_calls import Answer, call
from openapi_checks import check_answer, promised
from verifier_service import Running, running
from verifier_world import wallet

GUARDED = [name for name, each in OPERATIONS.items() if each.role is not Role.ANYONE]


def path_of(name: str) -> tuple[str, str]:
    """Return method and path of a route, with something in the place of each name."""
    method, _, path = name.partition(" ")
    for each in named_in(path):
        path = path.replace(f"{{{each}}}", quote(wallet(1).decode(), safe="") if each == "key" else "7")
    return method, path


async def asked(service: Running, name: str, *, query: str = "", **headers: str) -> Answer:
    method, path = path_of(name)
    return await call(service.door, method, path + query, {} if method == "POST" else None, **headers)


def code(answer: Answer) -> Any:
    return answer.json()["error"]["code"]


def test_the_document_is_openapi_3_1() -> None:
    made = promised()
    assert made["openapi"].startswith("3.1")
    validate(made, cls=OpenAPIV31SpecValidator)


async def test_every_route_is_in_the_document_and_the_document_is_served() -> None:
    async with running() as service:
        assert service.door.routes.keys() == OPERATIONS.keys()
        served = (await service.get("/openapi.json")).json()
    told = {f"{method.upper()} {path}" for path, methods in served["paths"].items() for method in methods}
    assert told == service.door.routes.keys()
    assert {name: route.role for name, route in service.door.routes.items()} == {
        name: each.role for name, each in OPERATIONS.items()
    }


def test_every_field_of_every_document_is_explained() -> None:
    for name, schema in promised()["components"]["schemas"].items():
        assert schema["description"], name
        unexplained = [field for field, each in schema["properties"].items() if not each.get("description")]
        assert not unexplained, f"{name}: {unexplained}"


def test_an_answer_that_is_not_what_was_promised_is_noticed() -> None:
    check_answer("GET", "/healthz", 200, {"status": "ok"})
    with pytest.raises(AssertionError, match="status"):
        check_answer("GET", "/healthz", 200, {"status": "well"})
    with pytest.raises(AssertionError, match="OpenAPI doesn't have it"):
        check_answer("POST", "/parity", 200, {})


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "elsewhere.example"}, "wrong_host"),
        ({"origin": "https://elsewhere.example"}, "wrong_origin"),
        ({"sec_fetch_site": "cross-site"}, "wrong_origin"),
        ({"content_type": "text/plain"}, "wrong_content_type"),
    ],
    ids=lambda given: given if isinstance(given, str) else next(iter(given)),
)
async def test_each_route_checks_host_origin_and_content_type(
    name: str, headers: dict[str, str], expected: str
) -> None:
    async with running() as service:
        answer = await asked(service, name, **headers)
        if name.startswith("GET") and expected == "wrong_content_type":
            assert answer.status_code != 415  # a GET has no body
        else:
            assert code(answer) == expected


@pytest.mark.parametrize("name", GUARDED)
async def test_each_route_refuses_a_parameter_that_it_does_not_take(name: str) -> None:
    async with running() as service:
        answer = await asked(service, name, query="?clas=stuck")
    assert answer.status_code == 400
    assert "unknown parameter: 'clas'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/parity/buckets?limit=0", "limit: must be a whole number from 1 to 1000, not '0'"),
        ("/parity/buckets?limit=1001", "limit: must be a whole number from 1 to 1000"),
        ("/parity/buckets?after=-1", "after: must be a whole number"),
        ("/parity/buckets?differing=yes", "differing: must be true or false, not 'yes'"),
        ("/parity/differences?class=equal", "class: must be one of in_flight, in_handover, stuck"),
        ("/parity/differences?after=nonsense", "after: must be `next` of the page before"),
        ("/parity/differences?class=stuck&after=missing:[]", "after: must be `next` of the page before"),
        ("/keys/nonsense", "'nonsense' is not a key of 2 values (pk, sk): give it encoded"),
        ("/keys/PAYMENT%237%2FX", "does not belong to the migration"),
    ],
)
async def test_what_is_wrong_with_an_argument_is_said_by_its_name(path: str, why: str) -> None:
    async with running() as service:
        answer = await service.get(path)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]


async def test_a_page_of_the_document_is_the_same_as_the_tool_makes() -> None:
    async with running() as service:
        served = (await service.get("/openapi.json")).json()
    assert served["paths"] == json.loads(json.dumps(promised()["paths"]))
