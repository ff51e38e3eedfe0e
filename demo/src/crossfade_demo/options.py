"""What the demo can be told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple


class Options(NamedTuple):
    """The demo's options; the defaults stay under two minutes on two cores."""

    wallets: int = 2_000
    seconds: int = 60
    rate: int = 100
    seed: int = 7
    chaos: bool = False
    json: bool = False
    otlp: str = ""
    prometheus: bool = False
    traced: float = 2.0


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line of `make demo ARGS="…"`."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=…",
        description="Play a whole migration under live traffic against the embedded AWS, and check every claim.",
        epilog="Writes build/demo/report.json and the services' logs to build/demo/logs. "
        "Exit code 0 only if every check passed; 1 if one failed; 75 if the machine is too busy to tell: bounds grow "
        "with its measured slowness, five times at most.",
    )
    parser.add_argument("--wallets", type=int, default=default.wallets, help="engagement wallets to seed (%(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=default.seconds, help="least time of live traffic, s (%(default)s)"
    )
    parser.add_argument("--rate", type=int, default=default.rate, help="client operations a second (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of all random choices (%(default)s)")
    parser.add_argument(
        "--chaos",
        action="store_true",
        help="kill processes, flush Redis, duplicate and shuffle records, roll back once",
    )
    parser.add_argument("--json", action="store_true", help="no screen; the report as JSON on stdout")
    parser.add_argument(
        "--otlp",
        metavar="HOST:PORT",
        default=default.otlp,
        help="send all traces and metrics on to this OTLP gRPC backend; without it traces stay in the demo",
    )
    parser.add_argument(
        "--prometheus",
        action="store_true",
        help="serve each service's /metrics, and list them in build/demo/prometheus-targets.json",
    )
    parser.add_argument(
        "--traced",
        type=float,
        default=default.traced,
        help="share of the clients' calls that are traced, %% (%(default)s)",
    )
    found = parser.parse_args(arguments)
    for name in ("wallets", "seconds", "rate"):
        if getattr(found, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if not 0 < found.traced <= 100:
        parser.error("--traced must be above 0 and at most 100")
    return Options(**vars(found))
