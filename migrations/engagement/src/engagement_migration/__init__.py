"""The engagement migration: its mapping in both directions, settings and sample items."""
