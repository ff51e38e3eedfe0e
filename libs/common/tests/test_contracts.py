"""Documents between processes: what may be added is kept, what can't be read is refused by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from crossfade.contracts.document import Document
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.journal import Entry
from crossfade.contracts.letter import DeadLetter
from crossfade.contracts.report import Report
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import UnknownDocument
from crossfade.core.values.keys import Key

DOCUMENTS: dict[str, Document] = {
    "report": Report("forward", "wallet-changes/shard-1", 1, 2, 3, 4, {"applied": 5}),
    "heartbeat": Heartbeat("pod-1", FlagDocument(100, 2**53 + 1, 4, False), True, 10.0, 7),
    "dead letter": DeadLetter("reverse", "shard:9", Key(b"\x00k"), None, "why", "conflict", b"\xff", "", 8),
    "journal entry": Entry(3, "note", 9, "me", "0.2", {"plan": {"rows": 12.5}}),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_written_is_read_again(name: str) -> None:
    document = DOCUMENTS[name]
    assert name == type(document).NAME
    assert type(document).of_text(document.to_text()) == document
    assert json.loads(document.to_text())["v"] == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_field_of_a_newer_build_is_kept_and_written_back(name: str) -> None:
    document = DOCUMENTS[name]
    newer = {**document.to_dict(), "added_later": {"deep": [1]}}
    read = type(document).of_dict(newer)
    assert read.replace(extra={}) == document
    assert read.to_dict() == newer


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("version", [2, "1", None, 1.5])
def test_a_version_that_this_build_can_not_read_is_refused_by_name(name: str, version: object) -> None:
    body = {**DOCUMENTS[name].to_dict(), "v": version}
    with pytest.raises(UnknownDocument, match=f"{name} has version {version!r}, and this build reads up to 1: run the"):
        type(DOCUMENTS[name]).of_dict(body)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_without_a_field_or_with_a_wrong_one_is_refused_by_name(name: str) -> None:
    document = DOCUMENTS[name]
    first = document.__struct_fields__[0]
    body = document.to_dict()
    for wrong in ({each: value for each, value in body.items() if each != first}, {**body, first: [1]}):
        with pytest.raises(UnknownDocument, match=rf"not a {name} of version 1: .*{first}"):
            type(document).of_dict(wrong)
    for text in ("", "[]", "{", "\xff"):
        with pytest.raises(UnknownDocument, match=f"not a {name}"):
            type(document).of_text(text)


def test_a_heartbeat_whose_flags_are_of_a_newer_version_is_refused_as_a_whole() -> None:
    body = DOCUMENTS["heartbeat"].to_dict()
    with pytest.raises(UnknownDocument, match=r"flag document: ownership\.v is 2: this build reads up to 1"):
        Heartbeat.of_dict({**body, "document": {**body["document"], "v": 2}})


class Folder(Document, frozen=True):
    """A document of documents, one of its fields under another name."""

    NAME: ClassVar[str] = "folder"

    found: str = msgspec.field(name="class")
    heartbeats: Sequence[Heartbeat]


def test_documents_in_a_document_are_whole_and_a_field_goes_by_its_name_in_json() -> None:
    beat = DOCUMENTS["heartbeat"]
    assert isinstance(beat, Heartbeat)
    folder = Folder(found="stuck", heartbeats=[beat])
    assert folder.to_dict() == {"v": 1, "class": "stuck", "heartbeats": [beat.to_dict()]}


class Second(Document, frozen=True):
    """A document whose meaning changed once."""

    NAME: ClassVar[str] = "second"
    LATEST: ClassVar[int] = 2

    size_bytes: int


@pytest.mark.parametrize("body", [{"v": 1, "size_bytes": 3}, {"size_bytes": 3}, {"v": 2, "size_bytes": 3}])
def test_older_versions_are_read(body: dict[str, Any]) -> None:
    read = Second.of_dict(body)
    assert read.size_bytes == 3
    assert read.to_dict() == {"v": 2, "size_bytes": 3}
