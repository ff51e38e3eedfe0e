"""The core, ports, adapters and runtime that every Crossfade service shares."""
