"""Reads the one protobuf message that Helm sends: the Secret in which it keeps a release.

The numbers are those of k8s.io/api/core/v1/generated.proto and k8s.io/apimachinery; only the fields that Helm sets.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MAGIC: Final = b"k8s\x00"

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_MESSAGES: Final[dict[str, list[tuple[str, int, str]]]] = {
    "TypeMeta": [("api_version", 1, "string"), ("kind", 2, "string")],
    "Unknown": [("type_meta", 1, "TypeMeta"), ("raw", 2, "bytes")],
    "Text": [("key", 1, "string"), ("value", 2, "string")],
    "Bytes": [("key", 1, "string"), ("value", 2, "bytes")],
    "ObjectMeta": [
        ("name", 1, "string"),
        ("namespace", 3, "string"),
        ("resource_version", 6, "string"),
        ("labels", 11, "Text*"),
    ],
    "Secret": [("metadata", 1, "ObjectMeta"), ("data", 2, "Bytes*"), ("type", 3, "string")],
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="kubernetes_subset.proto", package="kubernetes_subset")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            plain = {"string": _FIELD.TYPE_STRING, "bytes": _FIELD.TYPE_BYTES}.get(kind)
            made.type = plain or _FIELD.TYPE_MESSAGE
            if plain is None:
                made.type_name = f".kubernetes_subset.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    found = pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(found.message_types_by_name[name]) for name in _MESSAGES}


_CLASSES: Final = _build()


def decode_secret(raw: bytes) -> dict[str, Any]:
    """Return a Secret as its JSON would be.

    Args:
        raw: the envelope, from MAGIC on.
    """
    unknown = _CLASSES["Unknown"].FromString(raw[len(MAGIC) :])
    if unknown.type_meta.kind != "Secret":
        raise ValueError(f"no Secret but {unknown.type_meta.kind}")
    secret = _CLASSES["Secret"].FromString(unknown.raw)
    return {
        "apiVersion": unknown.type_meta.api_version,
        "kind": unknown.type_meta.kind,
        "metadata": {"name": secret.metadata.name, "labels": {each.key: each.value for each in secret.metadata.labels}},
        "data": {each.key: base64.b64encode(each.value).decode() for each in secret.data},
        "type": secret.type,
    }
