"""The stage: run every check that fits the data, then say which scenario it supports."""

import pkgutil
from importlib import import_module

import polars as pl

from vetrina.core.types import CheckResult, DataReport, Readiness, Snapshot
from vetrina.store import click_fraud, dataset
from vetrina.validate import checks

_REQUIRED_TABLES = {
    "recommend": ({"events", "products"}, "products in their catalogue order once there are products"),
    "search": ({"products"}, "nothing until a catalogue with titles is ingested"),
    "launch": ({"events", "products"}, "nothing until products and events are ingested"),
    "ads": ({"ads", "events", "products"}, "no ads until products, events and ads are ingested"),
    "predict": ({"table"}, "nothing until a table with a label is ingested"),
}


def validate(snapshot: Snapshot, scenario: str) -> DataReport:
    """All checks that this scenario's tables call for, in the order of their names."""
    tables = {name: pl.read_parquet(snapshot.folder / f"{name}.parquet") for name in snapshot.rows}
    if "events" in tables:
        tables["events"] = dataset.sort_by_time(tables["events"])
    shop = checks.CheckInput(
        tables, dataset.label_column(snapshot), snapshot.quarantined, click_fraud.read(snapshot.folder)
    )
    relevant = {"table"} if scenario == "predict" else {"products", "events", "judgments", "users", "ads"}
    results: list[CheckResult] = []
    for info in pkgutil.iter_modules(checks.__path__):
        check = import_module(f"{checks.__name__}.{info.name}")
        if check.TABLE in relevant and (check.TABLE in tables):
            results.append(check.run(shop))
    return DataReport(scenario, snapshot.digest, tuple(results), check_readiness(snapshot, scenario))


def check_readiness(snapshot: Snapshot, scenario: str) -> Readiness:
    """Whether the tables are there, and what is served otherwise."""
    needs, meanwhile = _REQUIRED_TABLES[scenario]
    there = set(snapshot.rows)
    if scenario == "recommend" and there & needs:
        full = "events" in there
        why = "events are there" if full else "no events yet: products are shown by stock and date"
        return Readiness(scenario, True, why, "" if full else meanwhile)
    missing = sorted(needs - there)
    if missing:
        return Readiness(scenario, False, f"no {' and no '.join(missing)} yet", meanwhile)
    return Readiness(scenario, True, f"{', '.join(sorted(needs))} there", "")
