"""The engagement mapping on tables of a test's own, for the processes that it starts."""

from __future__ import annotations

import os

from engagement_migration import MAPPING as ENGAGEMENT

MAPPING = ENGAGEMENT.with_tables(legacy=os.environ["API_TEST_LEGACY"], new=os.environ["API_TEST_NEW"])
