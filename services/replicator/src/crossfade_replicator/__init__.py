"""Applies the change records of one table to the other, and publishes the event feed."""
