"""All patches, in the order in which they go on: the first is the innermost."""

from localaws.patches import (
    bodies,
    capacity,
    change_records,
    event_sources,
    export,
    imports,
    indexes,
    limits,
    numbers,
    partiql,
    paths,
    point_in_time,
    policies,
    registry,
    scans,
    speed,
    statements,
    streams,
    throttling,
    updates,
)

registry.arrange(
    [
        numbers,
        speed,
        statements,
        streams,
        paths,
        limits,
        scans,
        indexes,
        capacity,
        partiql,
        throttling,
        change_records,
        point_in_time,
        export,
        imports,
        event_sources,
        policies,
        updates,
        bodies,
    ]
)
