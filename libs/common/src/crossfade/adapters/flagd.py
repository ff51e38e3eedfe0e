"""The flag file: flagd's format, written and read here and nowhere else.

    {"flags": {"ownership":  {"state": "ENABLED", "variants": {"current": {…}}, "defaultVariant": "current"},
               "dual-write": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"}}}

flagd's format can say more than our flags can mean: a flag that is disabled, or whose value depends on who asks. Such a
file is refused, with what is wrong in it, by every reader alike. No reader falls back to a default: a pod that starts
ends, a pod that runs keeps the flags it has.
"""

from __future__ import annotations

import asyncio
import glob
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crossfade.core.ownership.ramp import FlagDocument, document_of_flag, flag_of_document
from crossfade.core.values.errors import ConfigError, StoreUnavailable
from crossfade.ports.flags import Flags, refuse_older

OWNERSHIP: Final = "ownership"
DUAL_WRITE: Final = "dual-write"


_FIELDS: Final = frozenset({"state", "variants", "defaultVariant", "targeting", "metadata", "source", "selector"})
"""Of a flag: the provider takes no other."""

_TEMPORARY: Final = ".tmp"
_MODE: Final = 0o644
"""Of the file: pods run as other users than the controller."""

_LEFT_S: Final = 60.0


class FlagsRefused(ConfigError):
    """The flag file is invalid; the message names the flag and the field.

    Attributes:
        document: what `ownership` would say if it were in force, as far as that can be read: nothing older may be
            published over it.
    """

    def __init__(self, message: str, document: FlagDocument | None = None) -> None:
        """Name what is wrong with it."""
        super().__init__(message)
        self.document = document


def flagd_file(document: FlagDocument, *, dual_write: bool) -> str:
    """Return the contents of a flagd file with both flags."""
    flags = {
        OWNERSHIP: {
            "state": "ENABLED",
            "variants": {"current": flag_of_document(document)},
            "defaultVariant": "current",
        },
        DUAL_WRITE: {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on" if dual_write else "off",
        },
    }
    return json.dumps({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": flags}, indent=2)


def parse_flagd_file(text: str) -> tuple[FlagDocument, bool]:
    """Read both flags of a file, in the shape that `flagd_file` writes.

    Raises:
        FlagsRefused: it is invalid; the message names the flag and the field.
    """
    flags = _flags(text)
    try:
        for name, flag in flags.items():
            _check_form(name, flag)
        return document_of_flag(_value(OWNERSHIP, flags)), dual_write_of(_value(DUAL_WRITE, flags))
    except ConfigError as error:
        raise FlagsRefused(str(error), _would_say(flags)) from error


def dual_write_of(value: object) -> bool:
    """Read the value of the flag `dual-write`.

    Raises:
        ConfigError: it is neither true nor false.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{DUAL_WRITE} is {value!r}: true or false is needed")
    return value


def standing(text: str) -> Flags | None:
    """Return what a file holds, in force or not, for a publisher; None when nothing in it could be taken back."""
    try:
        document, dual_write = parse_flagd_file(text)
    except FlagsRefused as refused:
        return None if refused.document is None else Flags(refused.document, dual_write=False, age_s=0.0)
    return Flags(document, dual_write, age_s=0.0)


def _flags(text: str) -> Mapping[str, Any]:
    try:
        file = json.loads(text)
    except ValueError as error:
        raise FlagsRefused(f"not a flag file of Crossfade: {error}") from error
    flags = file.get("flags") if isinstance(file, Mapping) else None
    if not isinstance(flags, Mapping):
        raise FlagsRefused("not a flag file of Crossfade: it has no `flags`")
    return flags


def _check_form(name: str, flag: object) -> None:
    """Make sure that flagd takes a flag, ours or not: one that it does not take costs it the whole file, in silence."""
    if not isinstance(flag, Mapping):
        raise ConfigError(f"the flag `{name}` is not an object, so flagd refuses the whole file")
    if unknown := sorted(flag.keys() - _FIELDS):
        raise ConfigError(f"the flag `{name}` has {', '.join(unknown)}, so flagd refuses the whole file: leave it out")
    if flag.get("state") not in ("ENABLED", "DISABLED") or not flag.get("variants"):
        raise ConfigError(f"the flag `{name}` has no state or no variants, so flagd refuses the whole file")


def _value(name: str, flags: Mapping[str, Any]) -> Any:
    """Return the one value that a flag has for everybody."""
    flag = flags.get(name)
    if not isinstance(flag, Mapping):
        raise ConfigError(f"the flag `{name}` is missing")
    if flag.get("state") != "ENABLED":
        raise ConfigError(f"the flag `{name}` is {flag.get('state')!r}, it must be ENABLED: no default is right for it")
    if flag.get("targeting"):
        raise ConfigError(f"the flag `{name}` has targeting, but all pods must see one value: remove the rule")
    variants, variant = flag.get("variants"), flag.get("defaultVariant")
    if not isinstance(variants, Mapping) or not isinstance(variant, str) or variant not in variants:
        raise ConfigError(f"the flag `{name}` has no variant {variant!r}, which its defaultVariant names")
    return variants[variant]


def _would_say(flags: Mapping[str, Any]) -> FlagDocument | None:
    """Return the document of a refused file; its share only hints, so that a broken one hides no generation."""
    try:
        flag = flags[OWNERSHIP]
        return document_of_flag({**flag["variants"][flag["defaultVariant"]], "share": 0})
    except (ConfigError, KeyError, TypeError):
        return None


def read_flagd_file(path: Path) -> tuple[FlagDocument, bool]:
    """Read both flags of the file at `path`.

    Raises:
        ConfigError: it is missing or broken; the message names it.
    """
    try:
        return parse_flagd_file(path.read_text())
    except OSError as error:
        cure = "; the controller writes it when it starts" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"CROSSFADE_FLAG_FILE={path}: {error.strerror}{cure}") from error
    except (ConfigError, ValueError) as error:  # the latter: not UTF-8
        raise ConfigError(f"CROSSFADE_FLAG_FILE={path}: {error}") from error


def check_writable(path: Path) -> None:
    """Make sure that flags can be published to a file, as `FlagFile` does it; leaves nothing behind.

    Raises:
        ConfigError: they can't be; the message names the setting and what is in the way.
    """
    if path.is_dir():
        raise ConfigError(f"CROSSFADE_FLAG_FILE={path}: is a directory; name a file in it")
    made: list[Path] = []
    try:
        for folder in reversed([path.parent, *path.parent.parents]):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        os.close(handle)
        os.unlink(temporary)
    except OSError as error:
        raise ConfigError(
            f"CROSSFADE_FLAG_FILE={path}: the controller can't write there: {error.strerror}; give it a directory that "
            "it may write, and that the pods see"
        ) from error
    finally:
        for folder in reversed(made):
            folder.rmdir()


class FlagFile:
    """Publishes flags: each time a whole new file, put in place by one rename, that every user may read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Replace the file, unless it is ahead; readers see the old one or the new one, never a part."""
        found = await self.in_place()
        if found is not None:
            refuse_older(document, found.document, str(self._path))
        await asyncio.to_thread(self.write, document, dual_write=dual_write)

    async def in_place(self) -> Flags | None:
        """Return what the file holds, in force or not; None when there is none, or nothing could be taken back."""
        try:
            return standing(await asyncio.to_thread(self._path.read_text))
        except (OSError, ValueError):
            return None

    def write(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Replace the file, whatever it says, from synchronous code.

        Raises:
            StoreUnavailable: it can't be written now; the one in place is untouched.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._clear_away()
            before_ns = self._path.stat().st_mtime_ns if self._path.exists() else 0
            handle, temporary = tempfile.mkstemp(
                dir=self._path.parent, prefix=f".{self._path.name}.", suffix=_TEMPORARY
            )
            try:
                with os.fdopen(handle, "w") as file:
                    os.fchmod(handle, _MODE)
                    file.write(flagd_file(document, dual_write=dual_write))
                    file.flush()
                    os.fsync(handle)
                now_ns = max(time.time_ns(), before_ns + 1_000_000)  # the provider ignores a file that is not newer
                os.utime(temporary, ns=(now_ns, now_ns))
                os.replace(temporary, self._path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise StoreUnavailable(
                f"CROSSFADE_FLAG_FILE={self._path}: the flags can't be published: {error.strerror}"
            ) from error

    def _clear_away(self) -> None:
        """Remove what publishers left that were killed; a living one needs its file for less than `_LEFT_S`."""
        for left in self._path.parent.glob(f".{glob.escape(self._path.name)}.*{_TEMPORARY}"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    left.unlink()
