"""What a terminal shows: its width, colours, and tables; every screen of the commands for on-call is laid out here."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TextIO

import msgspec

WIDTH: Final = 80
"""Columns where nobody says how many there are: on a pipe."""

NARROWEST: Final = 60
_STYLES: Final = {"good": "32", "bad": "1;31", "warn": "33", "strong": "1", "faint": "2"}
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Screen(NamedTuple):
    """Where a command writes, and how.

    Attributes:
        json: whether answers are JSON documents.
        width: in columns.
        colour: whether words may be coloured.
        redraws: whether the cursor can be moved: a screen can be drawn over the one before.
        out: takes the answer.
        beside: takes what is not part of the answer.
    """

    json: bool = False
    width: int = WIDTH
    colour: bool = False
    redraws: bool = False
    out: TextIO | None = None
    beside: TextIO | None = None

    def write(self, text: str) -> None:
        """Write to the answer's stream, as it is."""
        out = self.out or sys.stdout
        out.write(text)
        out.flush()

    def answer(self, text: str, body: object) -> None:
        """Print the answer, or its document."""
        self.write((msgspec.json.encode(body).decode() if self.json else text) + "\n")

    def say(self, text: str) -> None:
        """Tell the operator; not part of the answer."""
        beside = self.beside or sys.stderr
        beside.write(text + "\n")
        beside.flush()

    def progress(self, line: str) -> None:
        """Show a line beside the answer, over the one before; an empty one removes it. Only where the cursor moves."""
        if self.redraws:
            beside = self.beside or sys.stderr
            beside.write("\r\x1b[K" + line[: self.width - 1])
            beside.flush()

    def styled(self, style: str, text: str) -> str:
        """Return a text in a style: "good", "bad", "warn", "strong" or "faint"."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour and text else text

    def headed(self, left: str, right: str) -> str:
        """Return a line with something at either end; without the right one where both don't fit."""
        room = self.width - _columns(left) - _columns(right)
        return left + " " * room + self.styled("faint", right) if room >= 2 else left

    def lines(self, text: str, indent: int, *, hang: int = 0, style: str = "") -> list[str]:
        """Return a text in lines that fit; a word that is longer stays whole, so that it can be copied.

        Args:
            text: to break.
            indent: blanks before each line.
            hang: more blanks before each line but the first.
            style: of all of it; see `styled`.
        """
        lines = textwrap.wrap(
            text,
            width=max(self.width, NARROWEST),
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hang),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [self.styled(style, each) for each in lines] if style else lines


def screen_of(out: TextIO, environment: Mapping[str, str], *, as_json: bool) -> Screen:
    """Return how to write to a stream: colours and redrawing on a terminal only, and as NO_COLOR and TERM say."""
    is_terminal = out.isatty() and environment.get("TERM", "dumb") != "dumb"
    colour = is_terminal and not environment.get("NO_COLOR")
    width = shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal or "COLUMNS" in environment else WIDTH
    return Screen(as_json, max(width, NARROWEST), colour, is_terminal and not as_json)


def resized(screen: Screen) -> tuple[Screen, int]:
    """Return the screen as wide as the terminal is now, and how many lines it has."""
    size = shutil.get_terminal_size((screen.width, 24))
    return screen._replace(width=max(size.columns, NARROWEST)), size.lines


def table(rows: Sequence[Sequence[str]], *, indent: int = 2, right: Sequence[int] = ()) -> list[str]:
    """Return rows in columns.

    Args:
        rows: of cells; the last column isn't padded.
        indent: blanks before each row.
        right: numbers of the columns that are set flush right.
    """
    widths = [
        max((_columns(row[n]) for row in rows if n < len(row)), default=0)
        for n in range(max(map(len, rows), default=0))
    ]
    lines = []
    for row in rows:
        cells = []
        for number, cell in enumerate(row):
            pad = " " * (widths[number] - _columns(cell))
            cells.append(pad + cell if number in right else cell + pad)
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return lines


def _columns(text: str) -> int:
    return len(_STYLE.sub("", text))


def plain(text: Any) -> str:
    """Return a text of somebody else's without what would steer the terminal; a row's value may hold anything."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", str(text).replace("\n", "\\n"))


def quoted(key: str) -> str:
    """Return an encoded key as it is typed in a shell."""
    return "'" + plain(key).replace("'", "'\\''") + "'"


def keys(count: float) -> str:
    """Return a number of keys: "1 key", "1,204 keys"."""
    return f"{counted(count)} key{'' if count == 1 else 's'}"


def counted(value: float | None) -> str:
    """Return a number with its thousands apart; "?" for an unknown one."""
    return "?" if value is None else f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def lasted(seconds: float | None) -> str:
    """Return a duration in the two units that matter: "3.2 s", "14 min", "2 h 5 min"; "unknown" for none."""
    if seconds is None:
        return "unknown"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
