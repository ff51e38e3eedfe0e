"""What code, tests and documents cite is there: sections and rules of the design, decisions, files, links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from repository import ROOT, written_by_hand

DESIGN = ROOT / "docs/design.md"
CITING = {".py", ".sh", ".md", ".tf", ".toml", ".proto", ".yaml", ".yml", ".go", ".tpl"}
ELSEWHERE = re.compile(r"(RFC \d+|AIP-\d+),? $")
"""What stands before a section of somebody else's document."""

_SECTION = re.compile(r"\b[Ss]ections? (\d+)(?:(?: and | to |, )(\d+))*")
_PART = re.compile(r"[,:]\s+(?:the )?([A-Za-z][\w ]*)")
_RULES = re.compile(r"\brules? (\d+)((?:(?:, | and | to |, and )\d+)*)")
_ADR = re.compile(r"\bADRs? (\d{4})")
_DOCUMENT = re.compile(r"(?<![\w/.*<>{}$-])((?:[\w.-]+/)*[\w-]+\.md)\b")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


class Design(NamedTuple):
    """What can be cited: sections with the names of their parts, and the numbers of the apply rules."""

    parts: dict[int, set[str]]
    rules: set[int]


def design_of(text: str) -> Design:
    parts: dict[int, set[str]] = {}
    rules: set[int] = set()
    for number, body in re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        parts[int(number)] = {name.strip(". ").lower() for name in re.findall(r"\*\*([^*]+)\*\*", body)}
        if int(number) == 3:
            rules = {int(each) for each in re.findall(r"^(\d+)\. ", body, re.MULTILINE)}
    return Design(parts, rules)


def broken_citations(text: str, design: Design, adrs: set[str]) -> Iterator[str]:
    """Yield each citation of the design or of a decision that leads nowhere."""
    flat = re.sub(r"\s*\n\s*(?:[#*]\s+)?", " ", text)
    for found in _SECTION.finditer(flat):
        if ELSEWHERE.search(flat[: found.start()]):
            continue
        numbers = [int(each) for each in re.findall(r"\d+", found.group())]
        if not design.parts.keys() >= set(numbers):
            yield found.group()
            continue
        part = _PART.match(flat, found.end())
        if part and flat[found.end()] == "," and not _is_part(part.group(1), design.parts[numbers[-1]]):
            yield found.group() + part.group()
    for found in _RULES.finditer(flat):
        if not design.rules >= {int(each) for each in re.findall(r"\d+", found.group())}:
            yield found.group()
    for found in _ADR.finditer(flat):
        if found.group(1) not in adrs:
            yield found.group()


def _is_part(name: str, parts: Iterable[str]) -> bool:
    lowered = name.lower()
    return lowered.startswith(("rule ", "rules ", "and ")) or any(lowered.startswith(part) for part in parts)


@cache
def texts() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text() for path in written_by_hand(CITING) if path != Path(__file__)}


def adr_numbers() -> set[str]:
    return {path.name[:4] for path in (ROOT / "docs/adr").glob("0*.md")}


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", markdown), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def broken_links(page: Path) -> Iterator[str]:
    for target in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text())):
            yield target


def test_each_cited_section_rule_and_decision_exists() -> None:
    design, adrs = design_of(DESIGN.read_text()), adr_numbers()
    broken = {name: found for name, text in texts().items() if (found := [*broken_citations(text, design, adrs)])}
    assert not broken


def test_the_design_is_cited_at_all() -> None:
    citing = [name for name, text in texts().items() if re.search(r"design(\.md)?, section", text)]
    assert len(citing) > 40, "the listing or the pattern is broken"


def test_each_document_that_is_named_is_in_the_repository() -> None:
    known = {f"/{name}" for name in texts() if name.endswith(".md")}
    missing = {
        (name, cited)
        for name, text in texts().items()
        for cited in _DOCUMENT.findall(text)
        if not any(each.endswith(f"/{cited}") for each in known) and not cited.startswith(("../", "grpc/"))
    }
    assert not missing


def test_no_file_names_the_workshop_that_it_was_written_in() -> None:
    assert not [name for name, text in texts().items() if re.search(r"/work/(shared|main|wt)\b", text)]


def test_each_link_of_each_page_resolves() -> None:
    pages = [ROOT / name for name in texts() if name.endswith(".md")]
    assert len(pages) > 40, "the listing is broken"
    broken = {str(page.relative_to(ROOT)): found for page in pages if (found := [*broken_links(page)])}
    assert not broken


@pytest.mark.parametrize(
    "citation",
    [
        "design.md, section 10",
        "design.md, sections 4 and 11",
        "design.md, section 3, rule 13",
        "design.md, section 3,\n    rules 2, 9 and 14",
        "design.md, section 4, Exactly twice",
        "see rule 0",
        "ADR 9999",
    ],
)
def test_a_citation_that_leads_nowhere_is_found(citation: str) -> None:
    assert [*broken_citations(f"It does (as {citation}).", design_of(DESIGN.read_text()), {"0001"})]


@pytest.mark.parametrize(
    "citation",
    [
        "design.md, sections 3 and 4",
        "design.md, section 3, rules 1 to 6",
        "design.md, section 3,\n    rule 12",
        "Section 4, Exactly once",
        "Section 4, the flag",
        "design.md, section 5, COMPLETE, step 5",
        "RFC 9110, section 15.6",
        "ADR 0001",
    ],
)
def test_a_citation_that_leads_somewhere_is_not(citation: str) -> None:
    assert not [*broken_citations(f"It does ({citation}).", design_of(DESIGN.read_text()), {"0001"})]


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n[here](#a-page) [there](other.md) [nowhere](#no-page) [out](https://example.org/x.md)\n")
    assert [*broken_links(page)] == ["other.md", "#no-page"]
