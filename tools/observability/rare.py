"""What promtool asks of panels whose metric no good run has: their query against series that are written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tools.observability.boards import BOARDS
from tools.observability.panels import Panel


@dataclass(frozen=True, slots=True)
class Seen:
    """What a panel's first query has to show.

    Attributes:
        series: values by the minute, in promtool's notation.
        samples: by labels, at the fifth minute.
    """

    series: Mapping[str, str]
    samples: Mapping[str, float]


_REPAIRS: Final = 'crossfade_repairs_total{crossfade_migration="engagement",crossfade_parity_class='
SEEN: Final[Mapping[str, Seen]] = {
    "Repairs": Seen(
        {
            f'{_REPAIRS}"stuck",instance="a"}}': "_x2 1+1x10",
            f'{_REPAIRS}"stuck",instance="b"}}': "2+0x10",
            f'{_REPAIRS}"missing",instance="a"}}': "_x9 5+0x10",
        },
        {'{crossfade_parity_class="stuck"}': 6},
    ),
}
"""By the panel's title."""


def rare_panels() -> Iterator[Panel]:
    """Yield the panels that need not have data in a good run."""
    for board in BOARDS:
        yield from (panel for panel in board.panels if panel.rare)
