"""All patches, in the order in which they go on: the first is the innermost."""

from localaws.patches import (
    change_records,
    event_sources,
    export,
    imports,
    limits,
    numbers,
    partiql,
    paths,
    point_in_time,
    policies,
    registry,
    speed,
    statements,
    streams,
    throttling,
)

registry.arrange(
    [
        numbers,
        speed,
        statements,
        streams,
        paths,
        limits,
        partiql,
        throttling,
        change_records,
        point_in_time,
        export,
        imports,
        event_sources,
        policies,
    ]
)
