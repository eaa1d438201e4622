"""Validate stage: data checks and the readiness of each scenario.

It knows which tables a scenario needs, but not what a check looks for.
"""

import pkgutil
from importlib import import_module

import polars as pl

from vetrina.core.types import CheckResult, DataReport, Readiness, Snapshot
from vetrina.data import click_fraud, dataset
from vetrina.validate import checks

# Required tables by scenario, and what is served without them.
_REQUIRED_TABLES = {
    "recommend": ({"events", "products"}, "products in their catalogue order once there are products"),
    "search": ({"products"}, "nothing until a catalogue with titles is ingested"),
    "launch": ({"events", "products"}, "nothing until products and events are ingested"),
    "ads": ({"ads", "events", "products"}, "no ads until products, events and ads are ingested"),
    "predict": ({"table"}, "nothing until a table with a label is ingested"),
}


def validate(snapshot: Snapshot, scenario: str) -> DataReport:
    """Results of all checks of a scenario's tables, in the order of their names, and its readiness."""
    tables = {name: pl.read_parquet(snapshot.folder / f"{name}.parquet") for name in snapshot.rows}
    if "events" in tables:
        tables["events"] = dataset.sort_by_time(tables["events"])
    label = dataset.label_column(snapshot)
    data = checks.CheckInput(tables, label, snapshot.quarantined, click_fraud.read(snapshot.folder))
    relevant_tables = {"table"} if scenario == "predict" else {"products", "events", "judgments", "users", "ads"}
    results: list[CheckResult] = []
    for info in pkgutil.iter_modules(checks.__path__):
        check = import_module(f"{checks.__name__}.{info.name}")
        if check.TABLE in relevant_tables and check.TABLE in tables:
            results.append(check.run(data))
    return DataReport(scenario, snapshot.digest, tuple(results), check_readiness(snapshot, scenario))


def check_readiness(snapshot: Snapshot, scenario: str) -> Readiness:
    """Whether the snapshot has the tables that a scenario needs, and what is served if it does not."""
    required_tables, fallback = _REQUIRED_TABLES[scenario]
    tables = set(snapshot.rows)
    if scenario == "recommend" and tables & required_tables:
        if "events" in tables:
            return Readiness(scenario, True, "events are there", "")
        return Readiness(scenario, True, "no events yet: products are shown by stock and date", fallback)
    missing = sorted(required_tables - tables)
    if missing:
        return Readiness(scenario, False, f"no {' and no '.join(missing)} yet", fallback)
    return Readiness(scenario, True, f"{', '.join(sorted(required_tables))} there", "")
