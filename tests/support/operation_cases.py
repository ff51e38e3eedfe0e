"""Operations of any domain: several numbers changed at once, values set and removed, bounds, with or without a row."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from hypothesis import strategies as st
from msgspec import Raw

from crossfade.core.mapping.rules import Keep, Rename, RuleMapping, Table, key_prefixes
from crossfade.core.protocol.keyed.operation import Amount, Content, Operation, Verb, build_operation, check_verb
from crossfade.core.protocol.keyed.writes import Operate, OperateAndTrim, Write
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from ownership_cases import GENERATIONS, IDS, KEY, SEED, VERSIONS, number

MAPPING: Final = RuleMapping(
    "parts",
    source=Table("bins", key=("pk", "sk")),
    target=Table("shelves", key=("pk", "sk")),
    belongs=key_prefixes("USER#", "POINTS#"),
    zero={"on_hand": Raw(number(0)), "lent": Raw(number("2.5"))},
    rules=(
        Rename(source="on_hand", target="available"),
        Keep("lent"),
        Rename(source="label", target="title"),
        Keep("tags"),
    ),
)
"""Renamed and kept numbers and values; one number of the zero item isn't 0."""

NUMBERS: Final = ("lent", "on_hand")
VALUES: Final = {
    "on_hand": [number(7), number("0.125")],
    "lent": [number(-7), number(10**20)],
    "label": [b'{"S":"shelf 4"}', b'{"S":"A\\u0042C"}'],
    "tags": [b'{"SS":["b","a"]}', b'{"M":{"x":{"N":"1.50"}}}'],
}
"""What an attribute may be set to; some of it is spelled as no engine gives it back."""

AMOUNTS: Final[list[Amount]] = [1, 3, -3, 2**63, 10**20, *map(Decimal, ("0.25", "-0.25", "3.0", "-1E-12"))]


def verbs() -> st.SearchStrategy[Verb]:
    """Any verb that can be checked in; its name says all of it, as each verb of a domain has a name of its own."""
    ways = st.fixed_dictionaries(
        {name: st.sampled_from(["", "sets", "removes", *(["adds"] if name in NUMBERS else [])]) for name in VALUES}
    )
    return st.builds(
        _verb, ways, _some(NUMBERS), _some(NUMBERS), st.booleans(), st.integers(0, 7).map(lambda n: n == 0)
    )


def _some(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(names)).map(lambda found: tuple(sorted(found)))


def _verb(
    ways: dict[str, str], at_least: tuple[str, ...], at_most: tuple[str, ...], creates: bool, deletes: bool
) -> Verb:
    if deletes:
        return _named(Verb("", at_least=at_least, at_most=at_most, deletes=True))

    def of_way(way: str) -> tuple[str, ...]:
        return tuple(name for name, found in ways.items() if found == way)

    sets, removes = of_way("sets"), of_way("removes")
    return _named(Verb("", of_way("adds"), at_least, at_most, creates=creates, sets=sets, removes=removes))


def _named(verb: Verb) -> Verb:
    verb = verb._replace(name=" ".join(map(str, verb[1:])))
    for side in Side:
        check_verb(verb, MAPPING.shape(side))
    return verb


@st.composite
def operations(draw: st.DrawFn, key: Key = KEY, verb: Verb | None = None) -> Operation:
    """Any operation; of one verb if it is given."""
    verb = verb or draw(verbs())

    def amounts(names: tuple[str, ...]) -> tuple[Amount, ...]:
        return tuple(draw(st.sampled_from(AMOUNTS)) for _ in names)

    return build_operation(
        key,
        verb,
        draw(st.sampled_from(IDS)),
        SEED,
        amounts=amounts(verb.adds),
        least=amounts(verb.at_least),
        most=amounts(verb.at_most),
        values=tuple(draw(st.sampled_from(VALUES[name])) for name in verb.sets),
    )


def operation_writes(key: Key = KEY) -> st.SearchStrategy[Write]:
    """Both forms in which an operation is written."""
    ops, complete, generation = operations(key), st.booleans(), st.sampled_from(GENERATIONS)
    seen = st.one_of(st.none(), st.sampled_from(VERSIONS))
    kept, floor = st.frozensets(st.sampled_from(IDS), max_size=2), st.sampled_from([b"", IDS[4]])
    return st.one_of(
        st.builds(Operate, st.just(key), ops, st.sampled_from([2, 32]), complete, generation),
        st.builds(OperateAndTrim, st.just(key), ops, seen, kept, floor, complete, generation),
    )


def contents(side: Side) -> st.SearchStrategy[Content]:
    """What a row may hold: any part of it, and an attribute that the mapping doesn't name."""
    own = MAPPING.shape(side).own
    values = {own(name): st.sampled_from(VALUES[name]) for name in ("label", "tags")}
    some: list[int | str] = [0, 3, "2.5", -1, 10**20]
    numbers = {own(name): st.sampled_from(some).map(number) for name in NUMBERS}
    others = {"seen_by_nobody": st.just(b'{"S":"outside the closed list"}')}
    rows = st.fixed_dictionaries({}, optional=values | numbers | others)
    return rows.map(lambda row: tuple(sorted(row.items())))
