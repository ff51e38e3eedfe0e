"""The Engagement API: earn, spend and read points, on the table that owns the key."""
