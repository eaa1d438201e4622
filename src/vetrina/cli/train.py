"""Commands that train: ``run``, and ``runs``, ``cancel`` and ``retry`` for runs on record."""

import functools
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from vetrina.cli import formatting
from vetrina.cli.context import CliContext
from vetrina.cli.options import DurationMinutes
from vetrina.scenarios.commands import engine_option, renamed_option

if TYPE_CHECKING:
    from vetrina.api.shop import Shop
    from vetrina.core.verdicts import ReleaseResult, Verdict

_STATUS_NOT_READY = 2
_STATUS_FAILED_BY_GATE = 3
_NICENESS = 10  # of a run beside the service: answers come first
_POLL_SECONDS = 0.5  # between two looks at a run that is followed


@click.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--budget", type=DurationMinutes(), help="Time budget of a run, such as 10m or 2h (default: 20m).")
@click.option("--no-quick", is_flag=True, help="Train the full recipe at once, even while nothing serves.")
@click.option("--fail-on-verdict", is_flag=True, help="Exit with status 3 where the gate failed a version.")
@engine_option
@click.option("--run-id", hidden=True, help="Execute a queued run, as the controller does.")
@renamed_option("--id", "--run-id")
@click.pass_obj
def run(
    state: CliContext,
    scenarios: tuple[str, ...],
    run_id: str | None,
    budget: float | None,
    no_quick: bool,
    engine: str | None,
    fail_on_verdict: bool,
) -> None:
    """Train, compress, evaluate and release models.

    Without names: for each scenario that the data supports. While nothing serves a scenario, a quick recipe of words or counts is
    released first, and the full one after it.

    Where there is nothing new to do, the verdict is the last one on the same recipe.
    """
    if run_id:
        _execute_queued_run(state, run_id)
        return
    shop = state.open_shop()
    registry = shop.shop_context.registry
    any_not_ready = False
    any_failed = False
    for scenario, release in shop.fit(*scenarios, budget_minutes=budget, quick=not no_quick, engine=engine).items():
        verdict = _verdict(shop, scenario, release)
        row = {"scenario": scenario, "release": release, "verdict": None}
        if verdict is not None:
            row["verdict"] = verdict.outcome
            if not verdict.may_release:
                any_failed = True
        if release is not None and verdict is not None:
            state.print_row(row, functools.partial(formatting.format_release, reasons=verdict.reasons))
            continue
        report = shop.validate(scenario)
        champion, _ = registry.champion(scenario)
        state.print_row(row, functools.partial(formatting.format_no_release, report=report, champion=champion))
        if not report.is_ok:
            any_not_ready = True
    if any_not_ready:
        sys.exit(_STATUS_NOT_READY)
    if any_failed and fail_on_verdict:
        sys.exit(_STATUS_FAILED_BY_GATE)


def _verdict(shop: "Shop", scenario: str, release: "ReleaseResult | None") -> "Verdict | None":
    """The gate's decision in a run, or in the one before where there was nothing new to do."""
    if release is None:
        return shop.last_verdict(scenario)
    return shop.shop_context.registry.get_verdict(release.verdict)


def _execute_queued_run(state: CliContext, run_id: str) -> None:
    """Execute a run for the controller, which reports it: two of them at once share the terminal, so neither draws on it.

    They share the threads, too.
    """
    from vetrina.api.shop import Shop
    from vetrina.pipeline.run_execution import execute_run
    from vetrina.serve.readiness import MAX_PARALLEL_RUNS

    os.nice(_NICENESS)
    shop = Shop(state.shop_dir)
    shop.shop_context.threads = max(1, shop.folder.settings.train.threads // MAX_PARALLEL_RUNS)
    execute_run(shop.shop_context, run_id)


@click.command()
@click.argument("run_id", required=False, metavar="[RUN_ID]")
@click.option("--follow", is_flag=True, help="Print stages as they finish, until the run ends.")
@click.pass_obj
def runs(state: CliContext, run_id: str | None, follow: bool) -> None:
    """List runs, newest first, or the stages of one run."""
    run_store = state.open_shop().shop_context.runs
    if run_id is None:
        state.print_rows(run_store.list_runs(), formatting.format_run)
        return
    row = run_store.get_run(run_id)
    n_printed = 0
    while follow and row.is_unfinished:
        for stage in row.stages[n_printed:]:
            click.echo(formatting.format_stage(stage))
        n_printed = len(row.stages)
        time.sleep(_POLL_SECONDS)
        row = run_store.get_run(run_id)
    if not state.as_json:
        for stage in row.stages[n_printed:]:
            click.echo(formatting.format_stage(stage))
    state.print_row(row, formatting.format_run)


@click.command()
@click.argument("run_id", metavar="RUN_ID")
@click.pass_obj
def cancel(state: CliContext, run_id: str) -> None:
    """Cancel a queued or running run; its finished stages are kept."""
    run_store = state.open_shop().shop_context.runs
    run_store.cancel(run_id)
    state.print_row(run_store.get_run(run_id), formatting.format_run)


@click.command()
@click.argument("run_id", metavar="RUN_ID")
@click.pass_obj
def retry(state: CliContext, run_id: str) -> None:
    """Queue a failed or cancelled run again, for the controller."""
    run_store = state.open_shop().shop_context.runs
    run_store.retry(run_id)
    state.print_row(run_store.get_run(run_id), formatting.format_run)


COMMANDS = (run, runs, cancel, retry)
