"""Commands that run a shop: the service, its controller, their state, and drills with injected faults."""

import functools
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from vetrina.cli import formatting
from vetrina.cli.context import CliContext
from vetrina.cli.options import host_option, port_option
from vetrina.core import logs
from vetrina.core.errors import BadInput
from vetrina.scenarios.commands import renamed_option

if TYPE_CHECKING:
    from vetrina.store.shop_folder import ShopFolder

# Names of the processes in the log.
_UP = "vetrina.up"
_SERVE = "vetrina.serve"
_OPERATE = "vetrina.operate"
_SIGNAL_CHECK_SECONDS = 1.0
until_input_ends_option = click.option(
    "--until-input-ends", is_flag=True, hidden=True, help="Stop when standard input ends, as `up` needs."
)


@click.command()
@host_option
@port_option
@click.pass_obj
def up(state: CliContext, host: str | None, port: int | None) -> None:
    """Serve and operate, until Ctrl-C or SIGTERM.

    In a shop where nothing is released yet, quick recipes serve first, and full ones as soon as they are trained. Service and
    controller are processes of their own, and are started again when they end by themselves.
    """
    from vetrina.cli.supervision import SupervisedProcess, exit_on_signals, stop_all
    from vetrina.store.shop_folder import ShopFolder

    folder = ShopFolder(state.shop_dir.resolve())
    if not folder.has_released and not folder.lake.exists():
        raise BadInput(str(folder.root), "holds no data yet", "vetrina ingest --products FILE --events FILE")
    exit_on_signals()
    logs.configure(folder.settings.log.format, _UP)
    report = functools.partial(logs.report, folder.settings.log.format, _UP)
    refusals: queue.SimpleQueue[int] = queue.SimpleQueue()
    serve_arguments = ["serve", "--until-input-ends"]
    if host is not None:
        serve_arguments += ["--host", host]
    if port is not None:
        serve_arguments += ["--port", str(port)]
    service = SupervisedProcess("service", folder.root, serve_arguments, report, refusals.put)
    controller = SupervisedProcess("controller", folder.root, ["operate", "--until-input-ends"], report)
    try:
        sys.exit(_exit_status(refusals))
    finally:
        stop_all((service, controller))


def _exit_status(refusals: "queue.SimpleQueue[int]") -> int:
    """The first exit status that is put; signals are acted on meanwhile.

    Where two signals come at once the kernel may give both to another thread. Python handles them in this one, which notices
    as soon as its wait ends.
    """
    while True:
        with suppress(queue.Empty):
            return refusals.get(timeout=_SIGNAL_CHECK_SECONDS)


@click.command()
@host_option
@port_option
@until_input_ends_option
@click.pass_obj
def serve(state: CliContext, host: str | None, port: int | None, until_input_ends: bool) -> None:
    """Serve requests over HTTP, until Ctrl-C."""
    from vetrina.cli.supervision import call_after_input
    from vetrina.store.shop_folder import ShopFolder

    folder = ShopFolder(state.shop_dir.resolve())
    if until_input_ends:
        call_after_input(_terminate)
    elif not folder.has_released:
        raise BadInput(str(folder.root), "has nothing released yet", "vetrina ingest, then vetrina run")
    _serve_http(folder, host, port)


def _serve_http(folder: "ShopFolder", host: str | None, port: int | None) -> None:
    from vetrina.serve.serve import bind, load_certificate, serve

    settings = folder.settings.serve
    log_format = folder.settings.log.format
    logs.configure(log_format, _SERVE)
    certificate = load_certificate(folder.root, settings)
    scheme = "http"
    if certificate is not None:
        scheme = "https"
    listening_socket = bind(host or settings.host, settings.port if port is None else port)
    bound_host, bound_port = listening_socket.getsockname()[:2]
    logs.report(log_format, _SERVE, f"listening on {scheme}://{bound_host}:{bound_port}")
    serve(folder.root, listening_socket, certificate)


@click.command()
@until_input_ends_option
@click.pass_obj
def operate(state: CliContext, until_input_ends: bool) -> None:
    """Run the controller, until Ctrl-C or SIGTERM.

    The controller advances releases, starts retraining, cleans up and raises alerts.
    """
    from vetrina.api.shop import Shop
    from vetrina.cli.supervision import call_after_input
    from vetrina.operate.controller import operate as run_controller

    shop = Shop(state.shop_dir)  # without progress bars: what is done is a line of the log
    log_format = shop.folder.settings.log.format
    logs.configure(log_format, _OPERATE)
    stop = threading.Event()
    _stop_on_signals(stop)
    if until_input_ends:
        call_after_input(stop.set)
    try:
        run_controller(shop.shop_context, functools.partial(_report_with_time, log_format), stop)
    finally:
        stop.set()


def _stop_on_signals(stop: threading.Event) -> None:
    def set_stop(number: int, frame: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, set_stop)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup ignores it, and then so does the controller
        signal.signal(signal.SIGHUP, set_stop)


def _terminate() -> None:
    """End this process as SIGTERM does: requests under way are finished."""
    os.kill(os.getpid(), signal.SIGTERM)


def _report_with_time(log_format: str, line: str) -> None:
    if log_format == "text":  # a line in JSON has the time already
        line = f"{time.strftime('%H:%M:%S')} {line}"
    logs.report(log_format, _OPERATE, line)


@click.command()
@click.pass_obj
def status(state: CliContext) -> None:
    """Show champions, their health and cost, and whether to retrain."""
    from vetrina.operate.health import check_health
    from vetrina.reports.cost import serving_cost
    from vetrina.scenarios.base import scenario_names

    shop_context = state.open_shop().shop_context
    rows = []
    for scenario in scenario_names():
        check = check_health(shop_context, scenario)
        row = asdict(check)
        cost_of_answers = None
        if check.health.version:
            cost_of_answers = serving_cost(shop_context, check.health.version)
        row["serving_cost"] = asdict(cost_of_answers) if cost_of_answers else None
        rows.append(row)
    state.print_rows(rows, formatting.format_status)


@click.command()
@click.option("--inject", "fault", default="better", show_default=True, help="What to inject, of the list above.")
@click.option(
    "--minutes",
    type=click.FloatRange(0.1, 1440),
    default=3.0,
    show_default=True,
    help="Longest duration of the release.",
)
@renamed_option("--plant", "--inject")
@click.pass_obj
def simulate(state: CliContext, fault: str, minutes: float) -> None:
    """Rehearse a release on a simulated shop.

    Real processes serve a simulated shop, simulated users visit it over HTTP, and a candidate or a fault is injected:

    \b
    better, worse, same           candidates that answer
    error, hang, slow, shape      candidates that fail
    bots, dead-feed               a better candidate, but a corrupted event log
    drift                         prices change on the last two of thirty days
    """
    from vetrina.simulate.drift_drill import DRIFT_FAULT, run_drift_drill
    from vetrina.simulate.drill import LOG_FAULTS, run_drill
    from vetrina.simulate.fault_injection import CANDIDATE_KINDS

    faults = (*CANDIDATE_KINDS, *LOG_FAULTS, DRIFT_FAULT)
    if fault not in faults:
        raise BadInput(f"--inject {fault}", "is unknown", f"use one of {', '.join(faults)}")
    folder = state.shop_dir_or("simulated-shop")
    echo = functools.partial(click.echo, err=state.as_json)
    outcome = (
        run_drift_drill(folder, minutes, echo) if fault == DRIFT_FAULT else run_drill(folder, fault, minutes, echo)
    )
    state.print_row({"planted": fault, "outcome": outcome}, formatting.format_drill)


COMMANDS = (up, serve, operate, status, simulate)
