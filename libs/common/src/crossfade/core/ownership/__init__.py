"""Who owns a key under the keyed protocol: its machine, its generations, its flag document (design.md, section 4).

It is that protocol's own, as `crossfade.core.protocol.keyed` is; `pyproject.toml` lists who may import it (ADR 0027).
"""
