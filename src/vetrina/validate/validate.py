"""Validate stage: data checks and the readiness of each scenario.

It knows neither which tables a scenario needs nor what a check looks for.
"""

import pkgutil
from importlib import import_module

import polars as pl

from vetrina.core.types import CheckResult, DataReport, Readiness, Snapshot
from vetrina.data import click_fraud, dataset
from vetrina.scenarios.base import find_scenario
from vetrina.validate import checks


def validate(snapshot: Snapshot, scenario: str) -> DataReport:
    """Results of all checks of a scenario's tables, in the order of their names, and its readiness."""
    tables = {name: pl.read_parquet(snapshot.folder / f"{name}.parquet") for name in snapshot.rows}
    if "events" in tables:
        tables["events"] = dataset.sort_by_time(tables["events"])
    label = dataset.label_column(snapshot)
    data = checks.CheckInput(tables, label, snapshot.quarantined, click_fraud.read(snapshot.folder))
    checked_tables = find_scenario(scenario).checked_tables
    results: list[CheckResult] = []
    for info in pkgutil.iter_modules(checks.__path__):
        check = import_module(f"{checks.__name__}.{info.name}")
        if check.TABLE in checked_tables and check.TABLE in tables:
            results.append(check.run(data))
    return DataReport(scenario, snapshot.digest, tuple(results), check_readiness(snapshot, scenario))


def check_readiness(snapshot: Snapshot, scenario: str) -> Readiness:
    """Whether the snapshot has the tables that a scenario needs, and what is served if it does not."""
    return find_scenario(scenario).readiness(snapshot.rows)
