"""Plants a fault in the installed core, lets it do its harm in a world of two tables, and makes a pass.

    python planted_core.py KIND         # one process for each

prints what the pass found of each variant, as JSON: {variant: [clean, keys found, keys harmed]}.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from msgspec import Raw

import crossfade.core.protocol.keyed.item as parser

ON: dict[str, Callable[..., Any]] = {}
"""The faults that are planted now, by place."""

_parse_item = parser.parse_item


def _parsed(image: Any, shape: Any) -> Any:
    item = _parse_item(image, shape)
    return ON["parser"](item, shape) if "parser" in ON else item


parser.parse_item = _parsed  # before anybody else takes it by name

import crossfade.core.mapping.rules as rules  # noqa: E402
import crossfade.core.values.canonical as canonical  # noqa: E402
import crossfade.core.values.image as wire  # noqa: E402
from crossfade.core.values.keys import Key  # noqa: E402
from crossfade.core.values.shape import Side  # noqa: E402
from engagement_migration import MAPPING  # noqa: E402
from engagement_migration.samples import NOT_OURS, legacy_wallet  # noqa: E402
from verifier_world import World, wallet  # noqa: E402

_attributes, _canonical = rules._Course.attributes, canonical._canonical


def _mapped(course: Any, image: Any) -> Any:
    mapped = _attributes(course, image)
    return ON["mapping"](course._ttl is not None, dict(mapped)) if "mapping" in ON else mapped


def _form(value: Any) -> Any:
    form = _canonical(value)
    return ON["canonical"](form) if "canonical" in ON else form


rules._Course.attributes = _mapped  # type: ignore[method-assign,assignment]
canonical._canonical = _form

WALLETS = 6
ROW = {
    "tier": Raw(b'{"S":"gold"}'),
    "badges": Raw(b'{"SS":["early","loyal"]}'),
    "preferences": Raw(
        b'{"M":{"flag":{"BOOL":true},"list":{"L":[{"S":"a"},{"N":"1"}]},"blob":{"B":"AAE="},"none":{"NULL":true},'
        b'"text":{"S":"Hello"},"sizes":{"NS":["1","2"]},"amount":{"N":"12345678901234567890.5"},"empty":{"S":""}}}'
    ),
    "expires_at": Raw(b'{"N":"4102444800"}'),
}


class Variant(NamedTuple):
    """One planted fault.

    Attributes:
        place: where.
        fault: what it does there.
        harm: does the harm; runs under the fault, and returns the keys that are wrong from then on.
    """

    place: str
    fault: Callable[..., Any]
    harm: Callable[[World], list[Key]]


def filled() -> World:
    world = World()
    for number in range(WALLETS):
        world.tables[Side.SOURCE].put(
            legacy_wallet(str(number), "c", number, created_at="2021-03-04T05:06:07.089Z", **ROW)
        )
        world.earn(wallet(number), 1)
        world.copy(wallet(number))
    return world


def replicate(world: World, numbers: tuple[int, ...] = tuple(range(WALLETS))) -> list[Key]:
    """Write to wallets and copy them, as the replicator does: through the fault."""
    for number in numbers:
        world.earn(wallet(number), 1)
        world.copy(wallet(number))
    return [wallet(number) for number in numbers]


def altered(name: str, raw: bytes | None, numbers: tuple[int, ...] = (1, 4), side: Side = Side.TARGET) -> Any:
    """Return a harm: an attribute of one side's rows is another by now."""

    def harm(world: World) -> list[Key]:
        for number in numbers:
            image = dict(world.tables[side].images[wallet(number)])
            image.pop(name, None)
            world.tables[side].put(image if raw is None else image | {name: Raw(raw)})
        return [wallet(number) for number in numbers]

    return harm


def nested(member: bytes, other: bytes) -> Any:
    """Return a harm: a member of the preferences is another by now."""
    before = bytes(ROW["preferences"])
    assert member in before
    return altered("preferences", before.replace(member, other))


def mapping_variants() -> Iterator[tuple[str, Variant]]:
    changed = {
        "points": b'{"N": "725e-2"}',
        "tier": b'{"S":"Gold"}',
        "badges": b'{"SS":["early"]}',
        "preferences": b'{"M":{}}',
        "created_ms": b'{"N":"1614837967088"}',
        "cf_events": b'{"L":[]}',
        "cf_ttl": b'{"N":"4102444801"}',
    }
    for name, raw in changed.items():

        def drops(forward: bool, mapped: dict[str, Raw], name: str = name) -> dict[str, Raw]:
            if forward:
                mapped.pop(name, None)
            return mapped

        def alters(forward: bool, mapped: dict[str, Raw], name: str = name, raw: bytes = raw) -> dict[str, Raw]:
            return mapped | ({name: Raw(raw)} if forward and name in mapped else {})

        yield f"forward drops {name}", Variant("mapping", drops, replicate)
        yield f"forward changes {name}", Variant("mapping", alters, replicate)

    def alike(forward: bool, mapped: dict[str, Raw]) -> dict[str, Raw]:
        return {name: raw for name, raw in mapped.items() if name not in ("tier", "badges")}

    yield "both ways drop tier and badges", Variant("mapping", alike, replicate)

    def odd(forward: bool, mapped: dict[str, Raw]) -> dict[str, Raw]:
        return mapped if bytes(mapped.get("points", b"")) != b'{"N":"4"}' else alike(forward, mapped)

    yield "forward drops them from one row", Variant("mapping", odd, lambda world: replicate(world)[2:3])


def list_variants() -> Iterator[tuple[str, Variant]]:
    """The attribute list that a mapping compiles: names that it moves, drops and takes for its own."""
    for names, both in (
        (("tier",), False),
        (("badges", "preferences"), True),
        (("cf_events",), True),
        (("balance",), False),
    ):

        def harm(world: World, names: tuple[str, ...] = names, both: bool = both) -> list[Key]:
            courses = [MAPPING._forward, *([MAPPING._reverse] if both else [])]
            for course in courses:
                for name in names:
                    course._names[name] = course._known[name] = rules._ASIDE
            return replicate(world)

        yield f"{', '.join(names)}{' both ways' if both else ''}", Variant("none", dict, harm)


def canonical_variants() -> Iterator[tuple[str, Variant]]:
    def blind(kind: str, made: Callable[[Any], Any]) -> Callable[..., Any]:
        return lambda form: {kind: made(form[kind])} if kind in form else form

    yield "every number is 0", Variant("canonical", blind("N", lambda _: "0"), altered("points", b'{"N":"77"}'))
    yield (
        "numbers are floats",
        Variant(
            "canonical",
            blind("N", lambda n: str(float(n))),
            nested(b"12345678901234567890.5", b"12345678901234567890.25"),
        ),
    )
    spelled = altered("points", b'{"N": "7.70E1"}')
    yield "every number is 0, spelled otherwise", Variant("canonical", blind("N", lambda _: "0"), spelled)
    escaped = altered("tier", rb'{ "S" : "\u0047OLD" }')
    yield "text without case, escaped", Variant("canonical", blind("S", str.lower), escaped)
    yield "text without case", Variant("canonical", blind("S", str.lower), altered("tier", b'{"S":"GOLD"}'))
    yield "nested text without case", Variant("canonical", blind("S", str.lower), nested(b"Hello", b"hello"))
    yield "sets are empty", Variant("canonical", blind("SS", lambda _: []), altered("badges", b'{"SS":["early"]}'))
    yield (
        "sets of numbers are empty",
        Variant("canonical", blind("NS", lambda _: []), nested(b'["1","2"]', b'["1","3"]')),
    )
    yield "binaries are empty", Variant("canonical", blind("B", lambda _: ""), nested(b"AAE=", b"AAI="))
    yield (
        "lists are empty",
        Variant("canonical", blind("L", lambda _: []), nested(b'{"S":"a"},{"N":"1"}', b'{"N":"1"},{"S":"a"}')),
    )
    yield (
        "maps are empty",
        Variant("canonical", blind("M", lambda _: {}), nested(b'"empty":{"S":""}', b'"empty":{"NULL":true}')),
    )
    yield (
        "flags are true",
        Variant("canonical", blind("BOOL", lambda _: True), nested(b'{"BOOL":true}', b'{"BOOL":false}')),
    )
    yield (
        "no types",
        Variant("canonical", lambda form: {"S": str(next(iter(form.values())))}, altered("tier", b'{"N":"1"}')),
    )
    both = [altered("points", b'{"N":"77"}'), altered("balance", b'{"N":"78"}', side=Side.SOURCE)]
    yield (
        "every number, both sides",
        Variant("canonical", blind("N", lambda _: "0"), lambda world: max(each(world) for each in both)),
    )


def parser_variants() -> Iterator[tuple[str, Variant]]:
    for name, raw in (
        ("tier", b'{"S":"tin"}'),
        ("badges", None),
        ("preferences", b'{"M":{}}'),
        ("points", b'{"N":"77"}'),
    ):

        def loses(item: Any, shape: Any, name: str = name) -> Any:
            return item._replace(
                content=tuple(
                    each for each in item.content if each[0] not in (name, "balance" if name == "points" else name)
                )
            )

        yield f"loses {name} of either side", Variant("parser", loses, altered(name, raw))

    def blind_extra(item: Any, shape: Any) -> Any:
        return item._replace(content=tuple(each for each in item.content if each[0] != "badges"))

    yield (
        "loses badges that one side alone has",
        Variant("parser", blind_extra, altered("badges", None, side=Side.SOURCE)),
    )
    for field, empty, name in (
        ("recent", frozenset(), "cf_recent"),
        ("event_version", 0, "cf_emv"),
        ("ttl", b"", "cf_ttl"),
        ("events", b"", "cf_events"),
        ("generation", 0, "cf_gen"),
    ):

        def forgets(item: Any, shape: Any, field: str = field, empty: object = empty) -> Any:
            return item._replace(**{field: empty})

        yield f"forgets {name}", Variant("parser", forgets, altered(name, b'{"N":"8"}' if name == "cf_gen" else None))


def lost(world: World) -> list[Key]:
    for number in (2, 3):
        world.tables[Side.TARGET].delete(wallet(number))
    return [wallet(2), wallet(3)]


def narrow(belongs: Callable[[Key], bool], key: Key) -> bool:
    return belongs(key) and key not in (wallet(2), wallet(3))


def belongs_variants() -> Iterator[tuple[str, Variant]]:
    yield "two wallets don't", Variant("belongs", narrow, lost)

    def leaked(world: World) -> list[Key]:
        world.tables[Side.TARGET].put(NOT_OURS[0])
        return []

    yield "everything does", Variant("belongs", lambda _belongs, _key: True, leaked)


def shared_variants() -> Iterator[tuple[str, Variant]]:
    """What the verifier still shares with the apply path: these it does not see."""

    def declared(world: World) -> list[Key]:
        MAPPING._rules = tuple(
            rules.Rename("tier", "rank") if each == rules.Keep("tier") else each for each in MAPPING._rules
        )
        MAPPING._forward._names |= {"tier": "rank"}
        MAPPING._forward._known |= {"tier": "rank"}
        return replicate(world)

    yield "a rule renames the tier", Variant("none", dict, declared)

    def an_hour(delta_ms: int, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def off(given: Any) -> Any:
            if "created_ms" in given:
                given = {"created_ms": wire.of_number(wire.number(given["created_ms"]) - delta_ms)}
            made = compute(given)
            return (
                {"created_ms": wire.of_number(wire.number(made["created_ms"]) + delta_ms)}
                if "created_ms" in made
                else made
            )

        return off

    def inverse(world: World) -> list[Key]:
        MAPPING._rules = tuple(
            each._replace(forward=an_hour(3_600_000, each.forward), reverse=an_hour(3_600_000, each.reverse))
            if isinstance(each, rules.Compute)
            else each
            for each in MAPPING._rules
        )
        MAPPING._forward._computed = [
            (names, to, an_hour(3_600_000, compute)) for names, to, compute in MAPPING._forward._computed
        ]
        return replicate(world)

    yield "both functions of a rule are off by an hour", Variant("none", dict, inverse)

    def denied(world: World) -> list[Key]:
        MAPPING._prefixes = None
        return lost(world)

    yield "a belongs of the author's own", Variant("belongs", narrow, denied)

    def left_out(world: World) -> list[Key]:
        for table in world.tables.values():
            table.images.pop(wallet(2))
        return [wallet(2)]

    yield "answers leave out a row of both tables", Variant("none", dict, left_out)


KINDS = {
    "shared": shared_variants,
    "mapping": mapping_variants,
    "list": list_variants,
    "canonical": canonical_variants,
    "parser": parser_variants,
    "belongs": belongs_variants,
}


@contextmanager
def planted(variant: Variant) -> Iterator[None]:
    courses = MAPPING._forward, MAPPING._reverse
    kept = [
        (each, dict(vars(each)) | {name: dict(getattr(each, name)) for name in ("_names", "_known")})
        for each in courses
    ]
    before = dict(vars(MAPPING))
    ON[variant.place] = variant.fault
    if variant.place == "belongs":
        MAPPING.belongs = lambda key: variant.fault(before["belongs"], key)
    try:
        yield
    finally:
        ON.clear()
        vars(MAPPING).update(before)
        for course, was in kept:
            vars(course).update(was)


def main(kind: str) -> None:
    found: dict[str, Any] = {}
    clean = asyncio.run(filled().sweep())
    found["nothing planted"] = [clean.clean, [], []]
    for name, variant in KINDS[kind]():
        world = filled()
        with planted(variant):
            if variant.place == "belongs":
                for table in world.tables.values():
                    table._belongs = MAPPING.belongs
            harmed = variant.harm(world)
            seen = asyncio.run(world.sweep())
        keys = sorted({key.decode() for each in seen.keys.values() for key in each})
        found[name] = [seen.clean, keys, sorted(key.decode() for key in harmed)]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
