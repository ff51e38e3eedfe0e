"""The verifier's own reading of rows (ADR 0035): from the bytes of the wire to "the same" or not.

It shares no code with what it checks: no mapping, image, item, digest, canonical form or key of the core
(`pyproject.toml` holds it to that). Of the mapping it takes what is declared (`crossfade.core.values.declared`).
"""
