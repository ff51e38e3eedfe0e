"""All patches, in the order in which they go on: the first is the innermost."""

from localaws.patches import (  # noqa: F401  # importing a module registers its patches
    change_records,
    numbers,
    partiql,
    paths,
    speed,
    streams,
)
