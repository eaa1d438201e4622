"""The command line: every command with its options, what it calls and how that is printed."""

import functools
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vetrina.cli import formatting as lines
from vetrina.cli.ask import COMMANDS
from vetrina.cli.context import FILE_PATH, CliContext, to_json_value
from vetrina.cli.errors import error_line_and_status
from vetrina.cli.options import DurationMinutes
from vetrina.cli.settings_template import SETTINGS_TEMPLATE
from vetrina.core.errors import BadInput
from vetrina.core.version import VERSION

if TYPE_CHECKING:
    from vetrina.pipeline.api import Shop


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="vetrina")
@click.option(
    "--shop-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="VETRINA_SHOP",
    default=".",
    help="The shop's folder (default: here, or VETRINA_SHOP).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, shop_dir: Path, as_json: bool, debug: bool) -> None:
    """From a shop's own data to live search and recommendation.

    \b
    Start with `vetrina demo`, or with your own files:
      vetrina init my-shop && cd my-shop
      vetrina ingest --products products.csv --events events.csv
      vetrina run
      vetrina serve

    Shell completion: eval "$(_VETRINA_COMPLETE=bash_source vetrina)" (or zsh_source, fish_source).
    """
    context.obj = CliContext(shop_dir, as_json, debug)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Make a shop's folder with a commented vetrina.toml."""
    from vetrina.core.files import write_bytes

    target = folder / "vetrina.toml"
    if target.exists():
        raise BadInput(str(target), "exists already", "choose another folder")
    write_bytes(target, SETTINGS_TEMPLATE.encode())
    click.echo(f"{target} written. Next: vetrina --shop-dir {folder} ingest --products FILE --events FILE")


@cli.command()
@click.option("--products", type=FILE_PATH, multiple=True, help="Products: product_id, title, ...")
@click.option("--events", type=FILE_PATH, multiple=True, help="Events: timestamp, user_id, type, ...")
@click.option("--users-file", type=FILE_PATH, multiple=True, help="Users: user_id, ...")
@click.option("--judgments", type=FILE_PATH, multiple=True, help="Judged pairs: query, product_id, grade.")
@click.option("--ads", type=FILE_PATH, multiple=True, help="Ads: ad_id, product_id, bid, ...")
@click.option("--table", type=FILE_PATH, help="A table with a label, for predict.")
@click.option("--label", default="label", show_default=True, help="The label's column in --table.")
@click.pass_obj
def ingest(state: CliContext, users_file: Any, **files: Any) -> None:
    """Add files (CSV, Parquet, JSON lines) and make a snapshot of everything."""
    found = state.open_shop().ingest(users=users_file, **files)
    row = {
        "snapshot": found.digest[:12],
        "rows": dict(found.rows),
        "quarantined": found.quarantined,
        "files_added": found.added,
    }
    state.print_rows(
        row,
        lambda r: (
            f"snapshot {r['snapshot']}: {lines.format_counts(r['rows'])}; {r['files_added']} new files, "
            f"{r['quarantined']} rows in quarantine"
        ),
    )


@cli.command()
@click.argument("scenarios", nargs=-1)
@click.pass_obj
def validate(state: CliContext, scenarios: tuple[str, ...]) -> None:
    """Check the data and say what it supports."""
    from vetrina.core import plugins

    shop = state.open_shop()
    failed = False
    for name in scenarios or plugins.names("scenarios"):
        plugins.load_module("scenarios", name, "recipe")
        report = shop.validate(name)
        failed |= bool(scenarios) and not report.is_ok
        state.print_rows(report, lines.checks)
    if failed:
        sys.exit(2)


@cli.command()
@click.argument("scenarios", nargs=-1)
@click.option("--budget", type=DurationMinutes(), help="What a run may take, such as 10m or 2h (default 20m).")
@click.option("--id", "run_id", hidden=True, help="Execute a run that was asked for; operate does.")
@click.pass_obj
def run(state: CliContext, scenarios: tuple[str, ...], run_id: str | None, budget: float | None) -> None:
    """Train, compress, judge and release what the data supports (or the named scenarios)."""
    shop = state.open_shop()
    refused = False
    if run_id:
        from vetrina.pipeline.run_execution import execute_run

        execute_run(shop.shop_context, run_id)
        return
    registry = shop.shop_context.registry
    for scenario, release in shop.fit(*scenarios, budget_minutes=budget).items():
        row = {"scenario": scenario, "release": release}
        if release is not None:
            reasons = registry.get_verdict(release.verdict)["reasons"]
            state.print_rows(row, functools.partial(lines.format_release, reasons=reasons))
            continue
        report = shop.validate(scenario)
        champion, _ = registry.champion(scenario)
        state.print_rows(row, functools.partial(lines.no_release, report=report, champion=champion))
        refused |= not report.is_ok
    if refused:
        sys.exit(2)


@cli.command()
@click.option("--host", help="Address to listen on (default: loopback).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default 8337; 0 takes a free one).")
@click.pass_obj
def serve(state: CliContext, host: str | None, port: int | None) -> None:
    """Answer over HTTP until Ctrl-C."""
    from vetrina.serve.serve import bind
    from vetrina.serve.serve import serve as answer
    from vetrina.store.shop_folder import ShopFolder

    folder = ShopFolder(state.folder.resolve())
    if not folder.bundles.folder.exists():
        raise BadInput(str(folder.root), "has nothing released yet", "vetrina ingest, then vetrina run")
    sock = bind(host or folder.settings.serve.host, folder.settings.serve.port if port is None else port)
    click.echo(f"listening on http://{sock.getsockname()[0]}:{sock.getsockname()[1]}", err=True)
    answer(folder.root, sock)


@cli.command()
@click.option("--until-input-ends", is_flag=True, hidden=True, help="Stop when standard input ends; up does.")
@click.pass_obj
def operate(state: CliContext, until_input_ends: bool) -> None:
    """The loop that needs nobody: releases, runs, clean-up, alerts; until Ctrl-C."""
    _run_controller(state.open_shop(), until_input_ends)


@cli.command()
@click.option("--host", help="Address to listen on (default: loopback).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default 8337; 0 takes a free one).")
@click.pass_context
def up(context: click.Context, host: str | None, port: int | None) -> None:
    """Serve and operate, until Ctrl-C or SIGTERM."""
    from vetrina.cli.controller_process import ControllerProcess, exit_on_signals

    state: CliContext = context.obj
    exit_on_signals()
    controller = ControllerProcess(state.folder.resolve(), lambda line: click.echo(line, err=True))
    try:
        context.invoke(serve, host=host, port=port)
    finally:
        controller.stop()


def _run_controller(shop: "Shop", until_input_ends: bool) -> None:
    import logging
    import signal
    import threading

    from vetrina.pipeline.controller import operate as run_controller

    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, lambda *_: stop.set())
    if until_input_ends:
        threading.Thread(target=_stop_after_input, args=(stop,), daemon=True).start()
    try:
        run_controller(
            shop.shop_context, lambda line: click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True), stop
        )
    finally:
        stop.set()


def _stop_after_input(stop: Any) -> None:
    while os.read(sys.stdin.fileno(), 1_024):
        pass
    stop.set()


@cli.command()
@click.argument("run_id", required=False, metavar="[RUN]")
@click.option("--follow", is_flag=True, help="Show stages as they finish, until the run ends.")
@click.pass_obj
def runs(state: CliContext, run_id: str | None, follow: bool) -> None:
    """Runs, newest first; or one run with its stages."""
    found = state.open_shop().shop_context.runs
    if run_id is None:
        state.print_rows(found.list_runs(), lines.format_run)
        return
    row = found.get_run(run_id)
    shown = 0
    while follow and row["state"] in ("queued", "running"):
        for stage in row["stages"][shown:]:
            click.echo(lines.format_stage(stage))
        shown = len(row["stages"])
        time.sleep(0.5)
        row = found.get_run(run_id)
    if state.as_json:
        state.print_rows(row, str)
        return
    for stage in row["stages"][shown:]:
        click.echo(lines.format_stage(stage))
    click.echo(lines.format_run(row))


@cli.command()
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def cancel(state: CliContext, run_id: str) -> None:
    """Stop a queued or running run; what it finished is kept."""
    found = state.open_shop().shop_context.runs
    found.cancel(run_id)
    state.print_rows(found.get_run(run_id), lines.format_run)


@cli.command()
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def retry(state: CliContext, run_id: str) -> None:
    """Queue a failed or cancelled run again; `vetrina operate` takes it."""
    found = state.open_shop().shop_context.runs
    found.retry(run_id)
    state.print_rows(found.get_run(run_id), lines.format_run)


@cli.command()
@click.argument("release_id", required=False, metavar="[RELEASE]")
@click.pass_obj
def releases(state: CliContext, release_id: str | None) -> None:
    """Releases among shoppers, newest first; or one release with every decision and its numbers."""
    found = state.open_shop().shop_context.rollouts
    if release_id is None:
        state.print_rows(found.list_rollouts(), lines.format_rollout)
    else:
        state.print_rows([asdict(entry) for entry in found.decision_log(release_id)], lines.format_decision)


@cli.command()
@click.option("--exit", "leave", is_flag=True, help="Stop once the service has answered.")
@click.option("--port", type=click.IntRange(0, 65535), default=8337, show_default=True)
@click.pass_obj
def demo(state: CliContext, exit_when_answered: bool, port: int) -> None:
    """Whole life on a real grocer's year: data in, models judged, service out."""
    from vetrina.demo.run import run_demo

    started = time.perf_counter()
    folder = Path("demo-shop") if state.folder == Path(".") else state.folder
    run_demo(
        folder.resolve(), port, exit_when_answered, lambda line: click.echo(line), lambda: time.perf_counter() - started
    )


@cli.command()
@click.option("--plant", "kind", default="better", show_default=True, help="What to plant; see below.")
@click.option("--minutes", type=click.FloatRange(0.1, 1440), default=3.0, show_default=True, help="Cap of the release.")
@click.pass_obj
def simulate(state: CliContext, fault: str, minutes: float) -> None:
    """A drill: a made-up shop, real processes, shoppers over HTTP, and a release that meets what you plant.

    \b
    better, worse, same           candidates that answer
    error, hang, slow, shape      candidates that misbehave
    bots, dead-feed               a better candidate, but a log that lies
    drift                         prices move on the last two of thirty days
    """
    from vetrina.simulate.drift_drill import DRIFT_FAULT, run_drift_drill
    from vetrina.simulate.drill import LOG_FAULTS
    from vetrina.simulate.drill import run_drill as drill
    from vetrina.simulate.fault_injection import CANDIDATE_KINDS

    kinds = (*CANDIDATE_KINDS, *LOG_FAULTS, DRIFT_FAULT)
    if fault not in kinds:
        raise BadInput(f"--plant {fault}", "is unknown", f"use one of {', '.join(kinds)}")
    folder = Path("simulated-shop") if state.folder == Path(".") else state.folder
    say = functools.partial(click.echo, err=state.as_json)
    where = folder.resolve()
    outcome = run_drift_drill(where, minutes, say) if fault == DRIFT_FAULT else drill(where, fault, minutes, say)
    state.print_rows({"planted": fault, "outcome": outcome}, lambda r: f"{r['planted']}: {r['outcome']}")


@cli.command()
@click.pass_obj
def status(state: CliContext) -> None:
    """What serves, how it does, and whether it should be trained again."""
    from vetrina.core import plugins
    from vetrina.pipeline import health

    shop_context = state.open_shop().shop_context
    state.print_rows(
        [asdict(health.check_health(shop_context, s)) for s in plugins.names("scenarios")], lines.format_status
    )


@cli.command()
@click.pass_obj
def versions(state: CliContext) -> None:
    """All versions, newest first; * serves."""
    state.print_rows(state.open_shop().shop_context.registry.list_versions(), lines.format_version)


@cli.group()
def bench() -> None:
    """Measure what is released."""


@bench.command()
@click.argument("scenario", default="recommend")
@click.option("--version", help="A version (default: the one that serves).")
@click.option("--against", help="A version to compare with, over the same units.")
@click.pass_obj
def quality(state: CliContext, scenario: str, version: str | None, against: str | None) -> None:
    """Score a version on held-out data: figures, slices, models alone, lists, a paired gain."""
    from vetrina.pipeline.quality import measure_quality as score
    from vetrina.pipeline.quality import quality_text

    state.print_rows(score(state.open_shop(), scenario, version, against), quality_text)


@cli.command()
@click.argument("version")
@click.pass_obj
def show(state: CliContext, version: str) -> None:
    """A version: its verdict, blend, compression, and what it cost to make."""
    from vetrina.pipeline.cost import cost

    shop_context = state.open_shop().shop_context
    found = shop_context.registry.get_version(version)
    for name in ("baseline", "samples"):  # for machines
        found["notes"].pop(name, None)
    taken = cost(shop_context, version)
    found["cost"] = asdict(taken) if taken else None
    state.print_rows(found, lambda r: json.dumps(r, indent=2, default=to_json_value))


@cli.command()
@click.argument("a")
@click.argument("b")
@click.pass_obj
def compare(state: CliContext, a: str, b: str) -> None:
    """What the gate saw of two versions."""
    registry = state.open_shop().shop_context.registry
    rows = [
        {
            "version": v,
            **{
                r["code"]: r["numbers"].get("candidate")
                for r in shown["verdict"]["reasons"]
                if "candidate" in r["numbers"]
            },
        }
        for v, shown in ((v, registry.get_version(v)) for v in (a, b))
    ]
    state.print_rows(
        rows, lambda r: "  ".join(f"{k} {v:.4f}" if isinstance(v, float) else str(v) for k, v in r.items())
    )


@cli.command()
@click.argument("version")
@click.pass_obj
def promote(state: CliContext, version: str) -> None:
    """Let a version serve, by hand."""
    from vetrina.store.operator_actions import promote as by_hand

    shop_context = state.open_shop().shop_context
    promoted = by_hand(shop_context.registry, shop_context.folder.bundles, version)
    state.print_rows(promoted, lambda r: f"{r['version']} serves {r['scenario']}")


@cli.command()
@click.argument("scenario")
@click.pass_obj
def rollback(state: CliContext, scenario: str) -> None:
    """Take a candidate out that is among shoppers, else go back to the version before; every server follows within a second."""
    from vetrina.store.operator_actions import rollback as by_hand

    shop_context = state.open_shop().shop_context
    gone_back = by_hand(shop_context.registry, shop_context.rollouts, shop_context.folder.bundles, scenario)
    state.print_rows(gone_back, lines.format_rollback)


@cli.command()
@click.argument("version")
@click.option(
    "--format", "form", type=click.Choice(["onnx", "litert", "executorch"]), default="onnx", show_default=True
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A folder that is not there yet (default: VERSION-FORMAT)."
)
@click.option(
    "--products", type=click.IntRange(20), default=2_000, show_default=True, help="The shelf: the most taken ones."
)
@click.option("--python", default="", help="For litert and executorch: a Python that has their tools.")
@click.pass_obj
def export(state: CliContext, version: str, file_format: str, out: Path | None, max_products: int, python: str) -> None:
    """A student of what a version recommends, with its shelf, for a browser or a phone: 2 MB at most."""
    from vetrina.pipeline.export import export_student as exported

    into = out or Path(f"{version}-{file_format}")
    state.print_rows(
        asdict(exported(state.open_shop(), version, file_format, into, max_products, python)), lines.format_export
    )


@cli.command()
@click.argument("version")
@click.pass_obj
def report(state: CliContext, version: str) -> None:
    """Write a page about a version."""
    from vetrina.console.version_page import write_version_page

    state.print_rows({"report": str(write_version_page(state.open_shop(), version))}, lambda r: r["report"])


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run, and turn what goes wrong into one line and an exit status."""
    try:
        cli.main(standalone_mode=False)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except BaseException as error:  # the outer edge: whatever it is becomes one line
        if isinstance(error, SystemExit) or "--debug" in sys.argv:
            raise
        _exit_with_line(*error_line_and_status(error))


def _exit_with_line(line: str, status: int) -> None:
    click.echo(line, err=True)
    sys.exit(status)
