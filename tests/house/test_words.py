"""One word for one thing (docs/glossary.md), and English that doesn't read as translated: pages, help and messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.core.migration.phases import Phase
from crossfade_controller.cli import parser
from repository import ROOT, written_by_hand

INSTEAD = {
    r"foreign writ\w+": "stray, writer outside the protocol",
    r"strangers?": "row that doesn't belong to the migration",
    r"objections?": "stray",
    r"by (?:itself|themselves)": "on its own, automatically",
    r"anew": "again",
    r"looks? on": "keep watching",
    r"in small scope": "in small state spaces",
    r"all the same": "anyway",
    r"for ever": "forever",
    r"gets on": "continues",
    r"(?:tells?|told|telling) of": "reports, describes",
    r"what is asked": "what was requested",
    r"not \w+ any more": "no longer",
    r"legacy tables?": "source table",
    r"from which on": "from which",
    r"hangs? on": "depends on",
    r"of late": "recent",
    r"for a person": "for humans, for the operator",
    r"whose affair": "who is responsible for",
    r"whole look": "complete look",
    r"(?:batch|batches|requests?|records?) in work": "in progress, running",
    r"is no (?:number|map|list|key|object|event|JSON|mapping)": "is not a",
    r"(?:is|are|was|were) heard of": "reports, is alive",
    r"comes? again": "is delivered again, returns",
    r"goes on as|goes on with": "continues",
}
"""What not to write, and what to write instead."""

_WRONG = re.compile(r"\b(?:" + "|".join(INSTEAD) + r")\b", re.IGNORECASE)
_CODE = re.compile(r"^```[\s\S]*?^```|^ {4,}\S.*$|`[^`]*`|\]\([^)]*\)|\*[^*\n]+\*(?!\*)", re.MULTILINE)
_NOT_READ = ("docs/glossary.md", "docs/adr/0010", "docs/reference/telemetry.md", "deploy/alerts/README.md")
"""The glossary names what it forbids; 0010 and metrics keep names that others rely on."""


def prose(page: str) -> str:
    """Return a page without code, addresses of links, and names set in italics."""
    return re.sub(r"\s+", " ", _CODE.sub(" ", page))


def said(source: str) -> Iterator[str]:
    """Yield the texts of a module: docstrings, help, messages; a constant without a blank is a name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield re.sub(r"\s+", " ", node.value)


def test_the_pages_use_the_glossarys_words_and_plain_english() -> None:
    pages = {str(path.relative_to(ROOT)): prose(path.read_text()) for path in written_by_hand({".md"})}
    assert len(pages) > 80
    found = {name: _WRONG.findall(text) for name, text in pages.items() if not name.startswith(_NOT_READ)}
    assert {name: words for name, words in found.items() if words} == {}


def test_no_file_has_an_old_name_for_the_tables_strays_and_consumers() -> None:
    """ADR 0033. The samples' own rows may be of a legacy wallet, and structlog's argument keeps its name."""
    old = re.compile(
        r"legacy(?!_wallet)|(?<![A-Z_])DUAL_WRITE phase|Side\.NEW|stranger|(?<!a_)foreign(?!_pre_chain)|CROSSFADE_ROLE",
        re.I,
    )
    kinds, here = {".py", ".tf", ".hcl", ".yaml", ".json", ".tpl", ".proto"}, Path(__file__)
    places = [path for path in written_by_hand(kinds) if "faust-kinesis" not in path.parts and path != here]
    assert len(places) > 500
    assert [(str(path.relative_to(ROOT)), words) for path in places if (words := old.findall(path.read_text()))] == []


def test_docstrings_help_and_messages_use_the_glossarys_words_and_plain_english() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {text!r}"
        for path in written_by_hand({".py"})
        if path.relative_to(ROOT).parts[0] in ("libs", "services", "demo", "tools", "examples", "migrations")
        and "tests" not in path.parts
        for text in said(path.read_text())
        if _WRONG.search(text)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "sentence",
    ["A foreign write halts it.", "It clears by itself.", "Strangers\nare counted.", "The journal tells of it."],
)
def test_a_forbidden_word_is_found(sentence: str) -> None:
    assert _WRONG.search(prose(sentence))
    assert not _WRONG.search(prose(f"    {sentence}"))
    assert len([each for each in said(f'"""{sentence}"""\nsay({sentence!r})') if _WRONG.search(each)]) == 2


def test_the_design_and_the_glossary_know_every_verb_and_phase_there_is() -> None:
    design = (ROOT / "docs/design.md").read_text()
    (verbs,) = re.findall(r"^Verbs of the CLI: (.*)\.$", design, re.MULTILINE)
    actions = [each for each in parser()._actions if each.dest == "command"]
    assert re.findall(r"`(\w+)`", verbs) == list(actions[0].choices or ())
    section = design.partition("## 5. Phases")[2].partition("## 6.")[0]
    assert [phase.value for phase in Phase if phase.value not in section] == []
