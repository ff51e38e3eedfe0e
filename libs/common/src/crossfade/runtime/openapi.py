"""OpenAPI 3.1 of a door, made from the operations it offers and the structs that they answer with.

An operation says once which parameters it takes: requests are read by it (`Operation.read`), and it is documented by
it (`document`). So the document can't promise what the door refuses.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from crossfade.contracts.document import VERSION, Document
from crossfade.runtime.http import JSON, Answer, Handler, Request, Route, invalid
from crossfade.runtime.roles import Role

OPENAPI: Final = "3.1.0"
_COMPONENTS: Final = "#/components/schemas/"

SECURITY: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Where CROSSFADE_JWKS is set (ADR 0039).",
    },
    "certificate": {
        "type": "mutualTLS",
        "description": "Where the port has TLS. Without either, whoever reaches the loopback port may do everything.",
    },
}
"""Ways to show who asks; which of them count is a matter of settings."""

_YES_NO: Final = {"true": True, "false": False}


class FailureReason(msgspec.Struct, frozen=True):
    """Why a request was not carried out.

    Attributes:
        code: stable, for programs: "invalid_argument", "not_found", "paused".
        message: for people: what happened, to which thing, and what to do.
    """

    code: str
    message: str


class Failure(msgspec.Struct, frozen=True):
    """The answer of every request that was not carried out.

    Attributes:
        error: why.
    """

    error: FailureReason


class Parameter(NamedTuple):
    """One parameter of a path or a query.

    Attributes:
        name: as it is written: "class".
        about: what it is for.
        kind: `str`, `int` or `bool`.
        choices: the only values it may have; empty for any.
        least: lowest number.
        most: highest number.
        default: what counts where the query doesn't have it.
    """

    name: str
    about: str
    kind: type[str] | type[int] | type[bool] = str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 2**53
    default: str | int | bool | None = None

    def read(self, text: str) -> str | int | bool:
        """Return the value.

        Raises:
            HttpRefused: 400, it is none.
        """
        if self.kind is bool:
            if text not in _YES_NO:
                raise invalid(f"{self.name}: must be true or false, not {text[:80]!r}")
            return _YES_NO[text]
        if self.kind is int:
            number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
            if number is None or not self.least <= number <= self.most:
                raise invalid(
                    f"{self.name}: must be a whole number from {self.least} to {self.most}, not {text[:80]!r}"
                )
            return number
        if self.choices and text not in self.choices:
            raise invalid(f"{self.name}: must be one of {', '.join(self.choices)}, not {text[:80]!r}")
        return text

    def schema(self) -> dict[str, Any]:
        """Return its JSON schema."""
        default = {} if self.default is None else {"default": self.default}
        if self.kind is bool:
            return {"type": "boolean", **default}
        if self.kind is int:
            return {"type": "integer", "minimum": self.least, "maximum": self.most, **default}
        return {"type": "string", **({"enum": list(self.choices)} if self.choices else {}), **default}


class Operation(NamedTuple):
    """What a route does.

    Attributes:
        summary: one sentence.
        answer: the struct that it answers with.
        status: of that answer.
        body: the struct that it takes; None for none.
        parameters: of its path and its query; a part of the path that isn't among them is text.
        refusals: statuses that it refuses with, beyond those of every route, and when.
        role: the lowest that may ask.
    """

    summary: str
    answer: type[Any]
    status: HTTPStatus = HTTPStatus.OK
    body: type[Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    refusals: Mapping[HTTPStatus, str] = {}
    role: Role = Role.VIEWER

    def route(self, handler: Handler) -> Route:
        """Return the route, which refuses parameters that it doesn't take; a prober's are ignored."""

        async def answer(request: Request) -> Answer:
            self.read(request)
            return await handler(request)

        return Route(handler if self.role is Role.ANYONE else answer, self.role)

    def taken(self, request: Request) -> Any:
        """Return the body, as its struct; nothing sent is an empty object.

        Raises:
            HttpRefused: 400, it is something else.
        """
        try:
            return msgspec.json.decode(request.body or b"{}", type=self.body)
        except msgspec.MsgspecError as error:
            raise invalid(f"the body: {error}") from error

    def read(self, request: Request) -> dict[str, Any]:
        """Return the values of the query's parameters, with the defaults of those that are not given.

        Raises:
            HttpRefused: 400, one is unknown or not what it must be.
        """
        known = {each.name: each for each in self.parameters if each.name not in request.named}
        given = request.parameters(*known)
        return {name: each.read(given[name]) if name in given else each.default for name, each in known.items()}


def named_in(path: str) -> list[str]:
    """Return the names in a route's path: ["id"] of "/passes/{id}/cancel"."""
    return re.findall(r"\{(\w+)\}", path)


def summary_of(documented: object) -> str:
    """Return the first paragraph of a docstring."""
    return (inspect.getdoc(documented) or "").split("\n\n")[0].replace("\n", " ")


def attributes_of(documented: object) -> dict[str, str]:
    """Return the entries of a docstring's `Attributes:` by name; one entry may name several."""
    section = re.search(r"^Attributes:\n(.*?)(?=^\S|\Z)", inspect.getdoc(documented) or "", re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    for names, text in re.findall(
        r"^    ([\w, ]+): (.*(?:\n {8}.*)*)", section.group(1) if section else "", re.MULTILINE
    ):
        found |= {name.strip(): re.sub(r"\s+", " ", text) for name in names.split(",")}
    return found


def fields_of(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what its docstring, and those of its bases, say of a struct's fields, by their names in JSON."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        found |= attributes_of(each) if each is not msgspec.Struct and each is not object else {}
    named = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    return {named[field]: text for field, text in found.items() if field in named}


def document(title: str, about: str, version: str, operations: Mapping[str, Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of a door.

    Args:
        title: of the service.
        about: what it is for.
        version: of the service.
        operations: by route, "GET /parity".
    """
    kinds: list[type[Any]] = [Failure, *_kinds(operations.values())]
    _, components = msgspec.json.schema_components(kinds, ref_template=_COMPONENTS + "{name}")
    structs, paths = _structs(kinds), dict[str, dict[str, Any]]()
    for route, operation in operations.items():
        method, _, path = route.partition(" ")
        paths.setdefault(path, {})[method.lower()] = _described(method, path, operation)
    made = {
        "openapi": OPENAPI,
        "info": {"title": title, "description": about, "version": version},
        "paths": paths,
        "components": {
            "securitySchemes": SECURITY,
            "schemas": {name: _schema(each, structs[name]) for name, each in components.items()},
        },
    }
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))  # defaults are lists, not tuples
    return decoded


def page_of(made: dict[str, Any]) -> Handler:
    """Return what answers with a document; it is encoded once."""
    answer = Answer(HTTPStatus.OK, msgspec.json.encode(made))

    async def tell(_request: Request) -> Answer:
        return answer

    return tell


def _kinds(operations: Any) -> Iterator[type[Any]]:
    """Return the structs that operations take and answer with, each once."""
    found = (each for operation in operations for each in (operation.answer, operation.body) if _is_struct(each))
    yield from dict.fromkeys(found)


def _is_struct(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, msgspec.Struct)


def _described(method: str, path: str, operation: Operation) -> dict[str, Any]:
    in_path, known = named_in(path), {each.name: each for each in operation.parameters}
    parameters = [known.get(name, Parameter(name, "")) for name in in_path]
    parameters += [each for each in operation.parameters if each.name not in in_path]
    answers = {str(operation.status.value): _content(operation.status.phrase, operation.answer)}
    answers |= {str(status.value): _content(why, Failure) for status, why in operation.refusals.items()}
    words = re.sub(r"[{}]", "", path).replace(".", "/").split("/")
    return {
        "operationId": "_".join([method.lower(), *filter(None, words)]),
        "summary": operation.summary,
        "description": f"Role: {operation.role.name.lower()}.",
        "security": [] if operation.role is Role.ANYONE else [{name: []} for name in SECURITY] + [{}],
        "parameters": [
            {
                "name": each.name,
                "in": "path" if each.name in in_path else "query",
                "required": each.name in in_path,
                "description": each.about,
                "schema": each.schema(),
            }
            for each in parameters
        ],
        **({"requestBody": _body(operation.body)} if operation.body else {}),
        "responses": {**answers, "default": _content("It was not carried out: the message says why.", Failure)},
    }


def _body(kind: type[Any]) -> dict[str, Any]:
    needed = any(each.required for each in msgspec.structs.fields(kind))
    return {"required": needed, "content": {JSON: {"schema": {"$ref": _COMPONENTS + kind.__name__}}}}


def _content(about: str, kind: type[Any]) -> dict[str, Any]:
    schema = {"$ref": _COMPONENTS + kind.__name__} if _is_struct(kind) else {"type": "object"}
    return {"description": about, "content": {JSON: {"schema": schema}}}


def _schema(made: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of one struct, with what its docstring says of each field; of a document with its version."""
    meanings = fields_of(kind)
    fields = {
        field: {**each, **({"description": meanings[field]} if field in meanings else {})}
        for field, each in made.get("properties", {}).items()
    }
    needed = list(made.get("required", ()))
    if issubclass(kind, Document):
        fields.pop("extra", None)
        fields = {VERSION: {"const": kind.LATEST, "description": "version of the document"}, **fields}
        needed = [VERSION, *needed]
    return {**made, "description": summary_of(kind), "properties": fields, "required": needed}


def _structs(kinds: list[type[Any]]) -> dict[str, type[msgspec.Struct]]:
    """Return structs and the structs in them, by name."""
    found: dict[str, type[msgspec.Struct]] = {}
    todo: list[Any] = [msgspec.inspect.type_info(each) for each in kinds]
    while todo:
        info = todo.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls.__name__ in found:
                continue
            found[info.cls.__name__] = info.cls
            todo += [field.type for field in info.fields]
        todo += _parts(info)
    return found


def _parts(info: Any) -> list[Any]:
    one = [getattr(info, each, None) for each in ("item_type", "key_type", "value_type")]
    many = [part for each in ("types", "item_types") for part in getattr(info, each, ())]
    return [each for each in (*one, *many) if each is not None]
