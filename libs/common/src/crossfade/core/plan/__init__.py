"""What `plan` says of a table before anything moves (docs/adr/0048): pure decisions from what AWS said of it."""
