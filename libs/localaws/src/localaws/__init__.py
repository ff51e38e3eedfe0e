"""The embedded local AWS: an emulator and a real Redis-compatible server, on loopback only."""
