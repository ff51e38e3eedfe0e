"""The plain protocol: writers that nobody changes."""
