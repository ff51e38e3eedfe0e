"""The state machine of a migration, its gates and journal, and the crossfade CLI."""
