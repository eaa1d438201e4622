"""Commands that add data and check it: ``ingest`` and ``validate``."""

import sys
from pathlib import Path

import click

from vetrina.cli import formatting
from vetrina.cli.context import CliContext
from vetrina.scenarios.commands import FILE_PATH

_STATUS_NOT_READY = 2


@click.command()
@click.option("--products", type=FILE_PATH, multiple=True, help="Products: product_id, title, ...")
@click.option("--events", type=FILE_PATH, multiple=True, help="Events: timestamp, user_id, type, ...")
@click.option("--users-file", type=FILE_PATH, multiple=True, help="Users: user_id, ...")
@click.option("--judgments", type=FILE_PATH, multiple=True, help="Relevance judgments: query, product_id, grade.")
@click.option("--ads", type=FILE_PATH, multiple=True, help="Ads: ad_id, product_id, bid, ...")
@click.option("--table", type=FILE_PATH, help="Table with a label column, for predict.")
@click.option("--label", default="label", show_default=True, help="Name of the label column of --table.")
@click.pass_obj
def ingest(
    state: CliContext,
    products: tuple[Path, ...],
    events: tuple[Path, ...],
    users_file: tuple[Path, ...],
    judgments: tuple[Path, ...],
    ads: tuple[Path, ...],
    table: Path | None,
    label: str,
) -> None:
    """Add files of data and make a snapshot of all data.

    The files are CSV, Parquet or JSON lines.
    """
    snapshot = state.open_shop().ingest(
        products=products,
        events=events,
        users=users_file,
        judgments=judgments,
        ads=ads,
        table=table,
        label=label,
    )
    row = {
        "snapshot": snapshot.digest[:12],
        "rows": dict(snapshot.rows),
        "quarantined": snapshot.quarantined,
        "files_added": snapshot.added,
    }
    state.print_row(row, formatting.format_snapshot)


@click.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.pass_obj
def validate(state: CliContext, scenarios: tuple[str, ...]) -> None:
    """Check the data and list the scenarios that it supports."""
    from vetrina.scenarios.base import find_scenario, scenario_names

    shop = state.open_shop()
    any_not_ready = False
    for scenario in scenarios or scenario_names():
        find_scenario(scenario)
        report = shop.validate(scenario)
        if not report.is_ok:
            any_not_ready = True
        state.print_row(report, formatting.format_checks)
    # Without names this is a survey: that some scenario lacks data is no error.
    if scenarios and any_not_ready:
        sys.exit(_STATUS_NOT_READY)


COMMANDS = (ingest, validate)
