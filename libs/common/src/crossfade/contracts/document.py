"""Documents that processes leave for one another: types with a version, read and written only through their own module.

Two builds of a service run side by side in every rolling update, so a reader meets documents that a newer build wrote.
A harmless addition is a new field with a default and keeps the version: an older reader keeps the field as it came
(`extra`) and writes it back. A change of meaning raises the version, and an older reader refuses the document by name
instead of misreading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from crossfade.core.values.errors import UnknownDocument

VERSION: Final = "v"
"""Field with a document's version. A document without it has version 1."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode

DocumentT = TypeVar("DocumentT", bound="Document")


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all documents; a subclass has a name, and may raise its version.

    Attributes:
        extra: fields that this build doesn't know, by name, as they came.
    """

    NAME: ClassVar[str] = "document"
    LATEST: ClassVar[int] = 1

    extra: dict[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """Return the document ready for JSON: its version, its fields, and the fields this build doesn't know."""
        own = zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True)
        shown = {name: getattr(self, field) for name, field in own if field != "extra"}
        return {VERSION: self.LATEST, **self.extra, **{name: _ready(each) for name, each in shown.items()}}

    def to_text(self) -> str:
        """Return the document as JSON."""
        return msgspec.json.encode(self.to_dict()).decode()

    def replace(self: DocumentT, **changes: Any) -> DocumentT:
        """Return a copy with other values."""
        return msgspec.structs.replace(self, **changes)

    @classmethod
    def of_dict(cls: type[DocumentT], body: Mapping[str, Any]) -> DocumentT:
        """Read a document.

        Args:
            body: what `to_dict` returned in this build, an older one or a newer one.

        Raises:
            UnknownDocument: its version is higher than this build reads, or a field is missing or has another type.
        """
        version = body.get(VERSION, 1)
        if not isinstance(version, int) or version > cls.LATEST:
            raise UnknownDocument(
                f"{cls.NAME} has version {version!r}, and this build reads up to {cls.LATEST}: run the build that "
                "wrote it, or a newer one"
            )
        names = {name for name in cls.__struct_encode_fields__ if name != "extra"}
        try:
            known = msgspec.convert({name: each for name, each in body.items() if name in names}, cls, strict=True)
        except msgspec.ValidationError as error:
            raise UnknownDocument(f"not a {cls.NAME} of version {version}: {error}") from error
        extra = {name: each for name, each in body.items() if name not in names and name != VERSION}
        return known.replace(extra=extra) if extra else known

    @classmethod
    def of_text(cls: type[DocumentT], text: str | bytes) -> DocumentT:
        """Read a document from JSON.

        Raises:
            UnknownDocument: it isn't a JSON object, or as for `of_dict`.
        """
        try:
            body = _decode(text)
        except msgspec.DecodeError as error:
            raise UnknownDocument(f"not a {cls.NAME}: {error}") from error
        return cls.of_dict(body)


def _ready(value: Any) -> Any:
    """Return a value of a field ready for JSON; documents in it are whole, with their versions."""
    if isinstance(value, Document):
        return value.to_dict()
    if isinstance(value, list | tuple):
        return [_ready(each) for each in value]
    return msgspec.to_builtins(value)
