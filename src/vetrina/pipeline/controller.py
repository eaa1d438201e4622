"""The loop that needs nobody: moves releases on, starts runs that were asked for or are due, embeds images of new products,
cleans up, tells people.

Any number of controllers may run; the one that holds the lease acts. What it does is safe to be cut off anywhere: releases
and runs are in the store, and each change of theirs is fenced by itself.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import DBAPIError

from vetrina.core import clock, plugins
from vetrina.core.errors import BadInput, Conflict, VetrinaError
from vetrina.monitor.alerts import SHOP_WIDE_PREFIX
from vetrina.pipeline.alerting import send_alert
from vetrina.pipeline.embed_images import ImageEmbedding
from vetrina.pipeline.health import HealthCheck, check_health
from vetrina.pipeline.memory_limit import memory_limit_mb, resident_mb
from vetrina.pipeline.retention import clean_up
from vetrina.pipeline.rollout_controller import reconcile_rollout
from vetrina.pipeline.shop_context import ShopContext
from vetrina.store.leases import Lease

TICK_SECONDS = 1.0
LEASE_SECONDS = 15.0
CLEAN_UP_SECONDS = 24 * 3_600.0
_BUSY_RETRY_SECONDS = 30.0
_MAX_HALVINGS = 3
_LOG = logging.getLogger("vetrina.operate")


class Controller:
    """One controller."""

    def __init__(self, shop_context: ShopContext, echo: Callable[[str], None]) -> None:
        self._shop_context = shop_context
        self._echo = echo
        self._lease = Lease(shop_context.engine, "operate", f"{socket.gethostname()}-{os.getpid()}", LEASE_SECONDS)
        self._refuse_second_host()
        self._memory_limit_mb = memory_limit_mb(shop_context.folder.settings.operate.memory_limit_mb)
        self._images = ImageEmbedding(shop_context)
        self._run_process: tuple[str, subprocess.Popen[bytes], float] | None = None
        self._health_checked_at = self._cleaned_up_at = self._rollouts_checked_at = self._busy_until = 0.0

    def _refuse_second_host(self) -> None:
        """The journal of runs lies beside the store only on PostgreSQL; elsewhere in the shop's folder, on one machine."""
        if self._shop_context.engine.dialect.name == "postgresql":
            return
        leader = self._lease.holder()
        if leader and leader.rsplit("-", 1)[0] != socket.gethostname():
            rule = f"is operated by {leader} already, and only one machine can keep the journal of its runs"
            raise BadInput(str(self._shop_context.folder.root), rule, "stop that one, or move the store to PostgreSQL")

    def tick(self) -> bool:
        """One turn of everything. False while another controller leads."""
        if self._lease.acquire_or_renew() is None:
            self._stop_run_process()
            return False
        now = clock.now()
        chosen = self._shop_context.folder.settings.operate
        if now - self._rollouts_checked_at >= chosen.release_check_seconds:
            self._rollouts_checked_at = now
            self._reconcile_rollouts(now)
        self._images.turn()
        self._check_run_process(now)
        if now - self._health_checked_at >= chosen.check_interval_minutes * 60:
            self._health_checked_at = now
            self._queue_due_runs(now)
        if self._run_process is None and now >= self._busy_until:
            self._start_next_run(now)
        if self._run_process is None and now - self._cleaned_up_at >= CLEAN_UP_SECONDS:
            self._cleaned_up_at = now
            self._clean_up()
        return True

    def close(self) -> None:
        """Stop what this controller started and let another one lead. The run goes on with whoever comes next."""
        self._stop_run_process()
        self._images.close()
        self._lease.release()

    def _reconcile_rollouts(self, now: float) -> None:
        for scenario, known in self._shop_context.rollouts.running().items():
            try:
                decision = reconcile_rollout(self._shop_context, known, now)
            except Conflict as moved:
                _LOG.info("%s", moved)
                continue
            if decision.action == "stay":
                continue
            speaks = [r.text for r in decision.reasons if not r.passed] or [r.text for r in decision.reasons]
            text = f"{scenario}: {known.rollout.candidate} {_DECISION_TEXTS[decision.action]} ({'; '.join(speaks)})"
            if decision.action in ("roll back", "return"):
                todo = f"vetrina releases {known.rollout.id} shows the numbers; the champion goes on, nothing has to be done"
                send_alert(self._shop_context, f"release:{known.rollout.id}", text, todo)
            else:
                self._echo(text)

    def _queue_due_runs(self, now: float) -> None:
        rest = self._shop_context.folder.settings.operate.retrain_cooldown_hours * 3_600
        busy = self._shop_context.rollouts.running()
        ended = {r["scenario"]: r["ended"] or now for r in reversed(self._shop_context.runs.list_runs())}
        for scenario in plugins.names("scenarios"):
            seen = check_health(self._shop_context, scenario)
            self._raise_alerts(scenario, seen)
            found = seen.retrain
            rests = scenario in busy or now - ended.get(scenario, 0.0) < rest
            if found.retrain and not rests and self._is_in_start_hours(now):
                run = self._shop_context.runs.enqueue(scenario, found.why)
                self._echo(f"{scenario}: run {run} asked for ({found.why})")

    def _raise_alerts(self, scenario: str, check: HealthCheck) -> None:
        """Tell what of a served scenario needs a person; what concerns the whole shop once, whoever saw it."""
        for alarm in check.alarms if check.health.version else ():
            todo = next(
                text for code, text in _NEXT_STEPS.items() if alarm.code.removeprefix(SHOP_WIDE_PREFIX).startswith(code)
            )
            where = "shop" if alarm.code.startswith(SHOP_WIDE_PREFIX) else scenario
            send_alert(self._shop_context, f"health:{where}:{alarm.code}", f"{where}: {alarm.text}", todo)

    def _is_in_start_hours(self, now: float) -> bool:
        """Whether the clock lets runs begin that nobody asked for; a span may reach over midnight."""
        first, last = self._shop_context.folder.settings.operate.start_between
        local = time.localtime(now)
        hour = local.tm_hour + local.tm_min / 60
        return first <= hour < last if first <= last else hour >= first or hour < last

    def _start_next_run(self, now: float) -> None:
        run = self._shop_context.runs.next_run()
        if run is None or self._shop_context.runs.get_run(run)["scenario"] in self._shop_context.rollouts.running():
            return
        command = [
            sys.executable,
            "-m",
            "vetrina.cli",
            "--shop-dir",
            str(self._shop_context.folder.root),
            "run",
            "--id",
            run,
        ]
        self._run_process = (run, subprocess.Popen(command, stdout=subprocess.DEVNULL), now)  # noqa: S603
        self._echo(f"run {run} begins")

    def _check_run_process(self, now: float) -> None:
        if self._run_process is None:
            return
        run, process, started = self._run_process
        row = self._shop_context.runs.get_run(run)
        if row["state"] == "cancelled":
            self._stop_run_process()
        elif process.poll() is None and (taken := resident_mb(process.pid)) > self._memory_limit_mb:
            self._stop_run_process()
            self._resume_with_less_memory(run, row, taken)
        elif (
            process.poll() is None
            and now - started > self._shop_context.folder.settings.operate.run_timeout_minutes * 60
        ):
            self._stop_run_process()
            self._fail_run(run, row["scenario"], f"took longer than {(now - started) / 60:.0f} minutes")
        elif process.poll() is not None:
            self._run_process = None
            if row["state"] in ("queued", "running") and process.returncode == Conflict.exit_status:
                self._busy_until = (
                    now + _BUSY_RETRY_SECONDS
                )  # a person runs or ingests in front: what was asked for waits
            elif row["state"] in ("queued", "running"):
                self._fail_run(run, row["scenario"], f"ended with status {process.returncode}")
            elif row["state"] == "failed":
                self._alert_failed_run(run, row["scenario"], row["note"])
            else:
                self._echo(f"run {run}: {row['state']}, {row['note']}")

    def _resume_with_less_memory(self, run: str, row: dict[str, Any], used_mb: float) -> None:
        """Before the system kills it: the run goes on after its last finished step and does less at once."""
        text = f"took {used_mb:,.0f} MB, {self._memory_limit_mb:,.0f} are allowed"
        if row["halvings"] >= _MAX_HALVINGS:
            note = f"{text} even in {2**_MAX_HALVINGS} pieces"
            self._fail_run(run, row["scenario"], note)
            return
        self._shop_context.runs.halve_batch_size(run)
        self._echo(f"run {run} {text}: it goes on in pieces half as large")

    def _fail_run(self, run: str, scenario: str, note: str) -> None:
        self._shop_context.runs.finish(run, "failed", note)
        self._alert_failed_run(run, scenario, note)

    def _alert_failed_run(self, run: str, scenario: str, note: str) -> None:
        todo = f"correct it, then vetrina retry {run}; the champion goes on meanwhile"
        send_alert(self._shop_context, f"run:{scenario}", f"{scenario}: run {run} failed ({note})", todo)

    def _stop_run_process(self) -> None:
        if self._run_process is None:
            return
        _, process, _ = self._run_process
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._run_process = None

    def _clean_up(self) -> None:
        try:
            freed = clean_up(self._shop_context)
        except Conflict:  # somebody is ingesting; tomorrow is soon enough
            return
        if freed:
            self._echo(f"{freed / 1e6:.0f} MB of old versions and snapshots removed")


def operate(shop_context: ShopContext, echo: Callable[[str], None], stop: threading.Event) -> None:
    """Take turns until ``stop``. A store that is away for a moment is waited for."""
    operator = Controller(shop_context, echo)
    leading = None
    try:
        while not stop.is_set():
            try:
                leads = operator.tick()
                if leads != leading:
                    echo("this controller leads" if leads else "another controller leads; waiting")
                leading = leads
            except (DBAPIError, OSError) as error:
                _LOG.error("the store cannot be reached (%s); trying again", error)
            except VetrinaError as error:
                _LOG.error("%s", error)
            stop.wait(TICK_SECONDS)
    finally:
        operator.close()


_NEXT_STEPS = {
    "drift": "vetrina status shows how far; if it was not meant, look at the shop or its feed; it alone retrains nothing",
    "dead-feed": "look at whoever sends events to POST /v1/events; releases wait meanwhile",
    "loss": "vetrina status; a new version is trained and judged if monitoring finds it due",
    "calibration": "vetrina status; scores no longer mean what they did, a new version will be fitted to it",
    "skew": "restart workers that are behind and see whether events or products come late",
}
_DECISION_TEXTS = {
    "advance": "goes one step further",
    "promote": "is promoted",
    "roll back": "is rolled back",
    "return": "is returned",
}
