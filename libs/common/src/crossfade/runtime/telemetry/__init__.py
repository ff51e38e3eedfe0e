"""Traces, metrics and the contract they keep (`contract.py`)."""
