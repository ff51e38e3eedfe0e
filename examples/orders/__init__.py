"""Orders of a shop: a table whose application nobody will change. See README.md."""
