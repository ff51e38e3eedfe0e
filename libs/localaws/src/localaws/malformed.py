"""What is wrong with the shape of a request's body, by the service's own model.

The emulator's functions take a body as it comes, and one of another shape makes them fail. Then, and only then, this
says what the service would have: its deserializer refuses the body before anything of it is looked at.

Source: shapes of botocore's service models; words as users of DynamoDB report them (mhart/dynalite records many).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import botocore.exceptions
import botocore.session

_SCALARS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "java.lang.String"),
    "blob": (str, "java.nio.ByteBuffer"),
    "boolean": (bool, "java.lang.Boolean"),
    "integer": (int, "java.lang.Integer"),
    "long": (int, "java.lang.Long"),
    "double": ((int, float), "java.lang.Double"),
    "float": ((int, float), "java.lang.Float"),
    "timestamp": ((int, float), "java.util.Date"),
}


@lru_cache(maxsize=8)
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def wrong(service: str, operation: str, body: Any) -> str | None:
    """Return why the deserializer of a service refuses a body.

    Args:
        service: `dynamodb` or `kinesis`.
        operation: the API's name of it.
        body: the decoded JSON.

    Returns:
        The service's words; None if the body has the right shape, or the operation is unknown.
    """
    try:
        shape = _model(service).operation_model(operation).input_shape
    except botocore.exceptions.OperationNotFoundError:
        return None
    return _wrong(shape, body) if shape is not None else None


def _wrong(shape: Any, value: Any) -> str | None:
    if value is None:
        return None
    kind = shape.type_name
    if kind in _SCALARS:
        return _wrong_scalar(kind, value)
    if kind == "list":
        if not isinstance(value, list):
            return (
                "Start of structure or map found where not expected"
                if isinstance(value, dict)
                else "Unexpected field type"
            )
        return next(filter(None, (_wrong(shape.member, each) for each in value)), None)
    if not isinstance(value, dict):
        if isinstance(value, list):
            return f"Unrecognized collection type {'java.util.Map' if kind == 'map' else f'class {shape.name}'}"
        return "Unexpected field type" if kind == "map" else "Unexpected value type in payload"
    if kind == "map":
        return next(filter(None, (_wrong(shape.value, each) for each in value.values())), None)
    return next(
        filter(None, (_wrong(shape.members[name], each) for name, each in value.items() if name in shape.members)), None
    )


def _wrong_scalar(kind: str, value: Any) -> str | None:
    taken, java = _SCALARS[kind]
    if isinstance(value, list):
        return f"Unrecognized collection type class {java}"
    if isinstance(value, dict):
        return "Start of structure or map found where not expected"
    if isinstance(value, bool):
        right, token = kind == "boolean", f"{str(value).upper()}_VALUE"
    else:
        right, token = isinstance(value, taken), "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
    return None if right else f"{token} cannot be converted to {java.rpartition('.')[2]}"
