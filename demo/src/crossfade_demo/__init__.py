"""The story of make demo: seeding, live traffic, chaos and checks, from outside the services."""
