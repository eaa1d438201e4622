"""Runs every measurement, or the named ones, records the results and renders docs/benchmarks.md of them.

``no_worse`` compares two commits and is only run by its name, with options of its own.
"""

import sys
from importlib import import_module

from benchmarks import render
from benchmarks.data import MissingData
from benchmarks.record import record

NAMES = (
    "adversarial",
    "attacks",
    "availability",
    "campaigns",
    "canary",
    "check_ins",
    "drift",
    "first_answers",
    "fusion",
    "gpu_training",
    "ingest",
    "kills",
    "launches",
    "next_purchase",
    "off_policy",
    "overload",
    "pacing",
    "paid_clicks",
    "personal_search",
    "pictures",
    "product_search",
    "ray_training",
    "releases",
    "scale",
    "screen",
    "sequences",
    "service",
    "serving_cost",
    "small_networks",
    "store",
    "students",
    "swaps",
    "tables",
    "transfer",
    "tuned_tables",
    "visits",
    "warm_start",
)


def main() -> None:
    """One after the other; a measurement without its data is skipped and named."""
    if sys.argv[1:2] == ["no_worse"]:
        import_module("benchmarks.no_worse").main(sys.argv[2:])
        return
    wanted = sys.argv[1:] or NAMES
    for name in wanted:
        if name not in NAMES:
            sys.exit(f"{name}: is no benchmark; known: {', '.join(NAMES)}")
        print(f"\n== {name}", flush=True)
        try:
            module = import_module(f"benchmarks.{name}")
            record(name, module.__doc__, module.main)
        except MissingData as missing:
            print(f"skipped: {missing}")
    render.main()


main()
