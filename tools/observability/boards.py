"""All dashboards."""

from __future__ import annotations

from typing import Final

from tools.observability import board_api, board_overview, board_replicator, board_verifier

BOARDS: Final = (board_overview.BOARD, board_replicator.BOARD, board_api.BOARD, board_verifier.BOARD)
"""In the order that people look at them."""
