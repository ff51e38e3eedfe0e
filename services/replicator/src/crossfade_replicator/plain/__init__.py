"""The replicator under the plain protocol (ADR 0044)."""
