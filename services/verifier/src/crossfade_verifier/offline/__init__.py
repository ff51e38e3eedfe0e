"""Two exports of the same moment, compared without a read unit (ADR 0038)."""
