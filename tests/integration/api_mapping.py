"""The engagement mapping on tables of a test's own, for the processes that it starts."""

from __future__ import annotations

import os

from engagement_migration import MAPPING as ENGAGEMENT

MAPPING = ENGAGEMENT.with_tables(source=os.environ["API_TEST_SOURCE"], target=os.environ["API_TEST_TARGET"])
