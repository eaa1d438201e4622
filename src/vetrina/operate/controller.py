"""Controller: reconciles releases, starts due runs, embeds images of new products, cleans up and raises alerts until stopped.

Any number of controllers may run; the one that holds the lease acts. It may be killed at any moment: releases and runs are in the
store, and each change of them is fenced on its own. Whatever one job raises, the others go on: the job is tried again after a
while, and an alert is sent if it keeps failing. Intervals are measured by the monotonic clock, so no change of the time of day
stops anything.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from vetrina.core import clock
from vetrina.core.errors import BadInput, Conflict, describe_cause
from vetrina.core.rollout_types import Rollout, RolloutDecision
from vetrina.monitor.alerts import SHOP_WIDE_PREFIX
from vetrina.operate.alerting import send_alert
from vetrina.operate.daily_backup import DailyBackup
from vetrina.operate.embed_images import ImageEmbedding
from vetrina.operate.health import HealthCheck, check_health
from vetrina.operate.leadership import LEASE_SECONDS, Leadership
from vetrina.operate.memory_limit import memory_limit_mb, resident_mb
from vetrina.operate.retention import EXPIRY_SECONDS, clean_up, delete_expired
from vetrina.pipeline.rollout_controller import reconcile_rollout
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios.base import scenario_names
from vetrina.serve.readiness import MAX_PARALLEL_RUNS, expected_ends, quick_order
from vetrina.store import monitoring_results
from vetrina.store.leases import CONTROLLER_LEASE, Lease
from vetrina.store.rollouts import RunningRollout
from vetrina.store.runs import RunRecord

TICK_SECONDS = 1.0
CLEAN_UP_SECONDS = 24 * 3_600.0
_WATCH_CHECK_SECONDS = 60.0  # shortest interval between two checks of a watch
_WATCH_CHECK_AGE_SHARE = 1e-3  # of a watch's age, which is how long its checks wait later: each counts all its answers
_BUSY_RETRY_SECONDS = 30.0  # until the next attempt, while a person ingests or runs
_TERMINATE_SECONDS = 10.0  # that a run's process gets to end by itself
_MAX_HALVINGS = 3  # of a run's batch size
_FIRST_RETRY_SECONDS = 2.0  # after a job failed; doubled each time
_MAX_RETRY_SECONDS = 60.0
_MAX_STORE_RETRY_SECONDS = 4.0  # after a turn failed: once the store is back, releases go on within that
_MAX_HOST_NAME = 40  # characters, of the 64 of a holder's name
_FAILURES_BEFORE_ALERT = 3  # of one job in a row
_LOG = logging.getLogger("vetrina.operate")
_DECISION_TEXTS = {
    "advance": "advances one step",
    "promote": "is promoted",
    "roll back": "is rolled back",
    "return": "is returned",
}
_WATCH_DECISION_TEXTS = {
    "promote": "stays, its watch is over",
    "roll back": "is rolled back",
    "return": "is watched no more",
}
_LEADING_TEXTS = {True: "this controller leads", False: "another controller leads; waiting"}
_NEXT_STEPS = {  # by the beginning of an alert's code
    "drift": "vetrina status shows how far; if unintended, check the shop or its feed; drift alone starts no retraining",
    "dead-feed": "check whatever sends events to POST /v1/events; releases wait meanwhile",
    "loss": "vetrina status; a new version is trained and evaluated if monitoring finds it due",
    "calibration": "vetrina status; scores no longer match outcomes, a new version is calibrated to them",
    "skew": "restart workers that are behind, and check whether events or products arrive late",
}


class _RunProcess(NamedTuple):
    """The child process that executes a run, and when it was started by the monotonic clock."""

    run_id: str
    process: subprocess.Popen[bytes]
    started_at: float


class _FailedJob(NamedTuple):
    """How often a job failed in a row, and when it is tried again by the monotonic clock."""

    failures: int
    retry_at: float


class Controller:
    """One controller of a shop. Raises BadInput where another machine operates the shop and the store is not PostgreSQL."""

    def __init__(self, shop_context: ShopContext, echo: Callable[[str], None]) -> None:
        self._shop_context = shop_context
        self._echo = echo
        # Containers may have equal host names and process ids.
        holder = f"{_host_name()}-{os.getpid()}.{uuid4().hex[:8]}"
        self._lease = Lease(shop_context.engine, CONTROLLER_LEASE, holder, LEASE_SECONDS)
        self._leadership = Leadership(self._lease)
        self._refuse_second_host()
        self._memory_limit_mb = memory_limit_mb(shop_context.folder.settings.operate.memory_limit_mb)
        self._images = ImageEmbedding(shop_context)
        self._daily_backup = DailyBackup(shop_context, echo)
        self._run_processes: dict[str, _RunProcess] = {}  # by scenario
        # By the monotonic clock:
        self._started_at: dict[str, float] = {}  # last start of each job that has an interval
        self._watches_checked_at: dict[str, tuple[str, float]] = {}  # rollout and time of the last check, by scenario
        self._busy_until = 0.0
        self._failed_jobs: dict[str, _FailedJob] = {}

    def tick(self) -> bool:
        """One turn of everything that is due. False while another controller leads."""
        if not self._leadership.begin_turn():
            self._stop_run_processes()
            return False
        settings = self._shop_context.folder.settings.operate
        if self._is_due("releases", settings.release_check_seconds):
            self._attempt("releases", self._reconcile_rollouts)
        self._attempt("images", self._images.turn)
        if self._is_due("retention", EXPIRY_SECONDS):
            self._attempt("retention", partial(delete_expired, self._shop_context))
        self._attempt("backup", self._daily_backup.turn)
        self._attempt("runs", self._check_run_processes)
        if self._is_due("monitoring", settings.check_interval_minutes * 60):
            self._attempt("monitoring", self._queue_due_runs)
        if len(self._run_processes) < MAX_PARALLEL_RUNS and time.monotonic() >= self._busy_until:
            self._attempt("start of runs", self._start_next_run)
        if not self._run_processes and self._is_due("cleaning", CLEAN_UP_SECONDS):
            self._attempt("cleaning", self._clean_up)
        return True

    def _is_due(self, job: str, interval_seconds: float) -> bool:
        """Whether a job's interval is over; if so, the next one begins."""
        now = time.monotonic()
        started_at = self._started_at.get(job)
        if started_at is not None and now - started_at < interval_seconds:
            return False
        self._started_at[job] = now
        return True

    def _attempt(self, job: str, work: Callable[[], object]) -> None:
        """Do a job, or part of one. If it fails it is tried again later, and nothing else waits for it.

        Nothing is begun once another controller may lead: this one may have been paused, or an earlier job took too long.
        """
        if not self._leadership.is_held:
            return
        failed = self._failed_jobs.get(job)
        if failed is not None and time.monotonic() < failed.retry_at:
            return
        try:
            work()
        except Conflict as conflict:
            _LOG.info("%s", conflict)
        except Exception as error:  # noqa: BLE001 - whatever a job raises, the controller goes on
            self._note_failure(job, error)
            return
        self._failed_jobs.pop(job, None)

    def _note_failure(self, job: str, error: Exception) -> None:
        failures = 1
        if job in self._failed_jobs:
            failures += self._failed_jobs[job].failures
        wait_seconds = min(_FIRST_RETRY_SECONDS * 2 ** (failures - 1), _MAX_RETRY_SECONDS)
        self._failed_jobs[job] = _FailedJob(failures, time.monotonic() + wait_seconds)
        _LOG.error("%s failed (%s); the next attempt is in %.0f s", job, describe_cause(error), wait_seconds)
        if failures == _FAILURES_BEFORE_ALERT:
            text = f"{job} failed {failures} times in a row ({describe_cause(error)})"
            next_step = "look at the log of the controller; it goes on trying, and its other jobs go on"
            try:
                send_alert(self._shop_context, f"operate:{job}", text, next_step)
            except Exception as alert_error:  # noqa: BLE001 - the log holds alerts in the store, which may be away, too
                _LOG.error("the alert could not be sent (%s)", describe_cause(alert_error))

    def start(self) -> None:
        """Keep the lead, or wait for it, beside the turns."""
        self._leadership.start()

    def close(self) -> None:
        """Stop what this controller started and let another one lead, which resumes the run."""
        self._stop_run_processes()
        self._images.close()
        self._daily_backup.close()
        self._leadership.close()

    def _refuse_second_host(self) -> None:
        """Raise BadInput on a second machine that shares a store on SQLite, which needs a local disk."""
        if self._shop_context.engine.dialect.name != "sqlite":
            return
        leader = self._lease.holder()
        if leader is None:
            return
        leader_host = leader.rsplit("-", 1)[0]
        if leader_host != _host_name():
            rule = f"is operated by {leader} already, and only one machine can use a store on SQLite"
            way_out = "stop that one, or move the store to PostgreSQL or MariaDB"
            raise BadInput(str(self._shop_context.folder.root), rule, way_out)

    # Releases

    def _reconcile_rollouts(self) -> None:
        now = clock.now()
        for running in self._shop_context.rollouts.running().values():
            if self._is_check_due(running.rollout, now):
                self._attempt(f"release {running.rollout.id}", partial(self._reconcile_rollout, running, now))
        for scenario, unreadable in self._shop_context.rollouts.unreadable().items():
            rollout = unreadable.rollout.id
            text = f"{scenario}: release {rollout} cannot be read; the champion serves on, nothing is tested"
            next_step = f"vetrina rollback {scenario} ends it"
            send_alert(self._shop_context, f"release:{rollout}:unreadable", text, next_step)

    def _reconcile_rollout(self, running: RunningRollout, now: float) -> None:
        self._report_decision(running.rollout, reconcile_rollout(self._shop_context, running, now))

    def _is_check_due(self, rollout: Rollout, now: float) -> bool:
        """Whether to look at a release now: at a watch less often than at a canary, because it is nearly always under way."""
        if not rollout.is_watch:
            return True
        interval_seconds = max(_WATCH_CHECK_SECONDS, (now - rollout.started) * _WATCH_CHECK_AGE_SHARE)
        rollout_id, checked_at = self._watches_checked_at.get(rollout.scenario, ("", 0.0))
        monotonic_now = time.monotonic()
        if rollout_id == rollout.id and monotonic_now - checked_at < interval_seconds:
            return False
        self._watches_checked_at[rollout.scenario] = (rollout.id, monotonic_now)
        return True

    def _report_decision(self, rollout: Rollout, decision: RolloutDecision) -> None:
        """Print what a decision changes; send an alert where it went against the candidate."""
        if decision.action == "stay":
            return
        failed = [reason.text for reason in decision.reasons if not reason.passed]
        passed = [reason.text for reason in decision.reasons if reason.passed]
        reasons = "; ".join(failed or passed)
        outcome = _DECISION_TEXTS[decision.action]
        if rollout.is_watch:
            outcome = _WATCH_DECISION_TEXTS[decision.action]
        text = f"{rollout.scenario}: {rollout.candidate} {outcome} ({reasons})"
        if decision.action not in ("roll back", "return"):
            self._echo(text)
            return
        who_serves = "the champion serves on"
        if rollout.is_watch and decision.action == "roll back":
            who_serves = f"{rollout.champion} serves again"
        next_step = f"vetrina releases {rollout.id} shows the numbers; {who_serves}, nothing has to be done"
        send_alert(self._shop_context, f"release:{rollout.id}", text, next_step)

    # Health

    def _queue_due_runs(self) -> None:
        """Check the health of every scenario, raise its alerts, and queue a run where retraining is due."""
        now = clock.now()
        last_run_ended: dict[str, float] = {}
        for run in reversed(self._shop_context.runs.list_runs()):
            last_run_ended[run.scenario] = run.ended or now
        # What can serve soon is trained first.
        for scenario in sorted(scenario_names(), key=quick_order):
            seconds_since_run = now - last_run_ended.get(scenario, 0.0)
            self._attempt(f"monitoring of {scenario}", partial(self._check_scenario, scenario, seconds_since_run))

    def _check_scenario(self, scenario: str, seconds_since_run: float) -> None:
        cooldown_seconds = self._shop_context.folder.settings.operate.retrain_cooldown_hours * 3_600
        check = check_health(self._shop_context, scenario)
        monitoring_results.save_health(self._shop_context.engine, check.health)
        self._raise_alerts(scenario, check)
        # A run that ended in the future ended before the clock was set back: it says nothing.
        is_cooling_down = 0.0 <= seconds_since_run < cooldown_seconds
        if not check.retrain.retrain or is_cooling_down:
            return
        if self._is_in_start_hours(clock.now()):
            run_id = self._shop_context.runs.enqueue(scenario, check.retrain.why)
            self._echo(f"{scenario}: run {run_id} queued ({check.retrain.why})")

    def _raise_alerts(self, scenario: str, check: HealthCheck) -> None:
        """Send the alerts of a served scenario; those that concern the whole shop are sent once for all scenarios."""
        if not check.health.version:
            return
        for alert in check.alarms:
            scope = scenario
            if alert.code.startswith(SHOP_WIDE_PREFIX):
                scope = "shop"
            next_step = _next_step(alert.code.removeprefix(SHOP_WIDE_PREFIX))
            send_alert(self._shop_context, f"health:{scope}:{alert.code}", f"{scope}: {alert.text}", next_step)

    def _is_in_start_hours(self, now: float) -> bool:
        """Whether runs that monitoring finds due may start at this hour; the span may include midnight."""
        first, last = self._shop_context.folder.settings.operate.start_between
        local = time.localtime(now)
        hour = local.tm_hour + local.tm_min / 60
        if first <= last:
            return first <= hour < last
        return hour >= first or hour < last

    # Runs

    def _start_next_run(self) -> None:
        """Start the next run of a scenario that has none under way: runs of different scenarios go side by side."""
        run_id = self._shop_context.runs.next_run(except_scenarios=self._run_processes)
        if run_id is None:
            return
        if self._shop_context.is_lake_elsewhere():
            text = f"run {run_id} waits: the controller that leads has no lake/ to train on"
            next_step = "start a controller on the machine that has it and stop this one; releases and rollbacks go on"
            send_alert(self._shop_context, "operate:no-lake", text, next_step)
            self._busy_until = time.monotonic() + _BUSY_RETRY_SECONDS
            return
        shop_folder = str(self._shop_context.folder.root)
        scenario = self._shop_context.runs.get_run(run_id).scenario
        command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", shop_folder, "run", "--run-id", run_id]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=_run_environment())  # noqa: S603
        self._run_processes[scenario] = _RunProcess(run_id, process, time.monotonic())
        self._echo(self._begin_text(scenario, run_id))

    def _begin_text(self, scenario: str, run_id: str) -> str:
        """What serves, what is being trained, and when it will be ready."""
        champions = self._shop_context.registry.champions()
        budget_seconds = 60.0 * self._shop_context.folder.settings.train.budget_minutes
        ends = expected_ends(self._shop_context.runs, champions, budget_seconds)
        serving = "nothing serves yet"
        if scenario in champions:
            serving = f"{champions[scenario]} serves"
        ready_at = time.strftime("%H:%M", time.localtime(ends.get(scenario, clock.now())))
        return f"{scenario}: {serving}; run {run_id} trains the next version, ready at about {ready_at}"

    def _check_run_processes(self) -> None:
        """Stop a run's process where it was cancelled, takes too much memory or too long; report it where it has ended."""
        used_mb = {scenario: resident_mb(run.process.pid) for scenario, run in self._run_processes.items()}
        for scenario in list(self._run_processes):
            self._attempt(f"check of the run of {scenario}", partial(self._check_run_process, scenario, used_mb))

    def _check_run_process(self, scenario: str, used_mb: Mapping[str, float]) -> None:
        run_id, process, started_at = self._run_processes[scenario]
        run = self._shop_context.runs.get_run(run_id)
        if run.state == "cancelled":
            self._stop_run_process(scenario)
            return
        if process.poll() is not None:
            del self._run_processes[scenario]
            self._report_ended_run(run_id, run, process.returncode)
            return
        is_largest = used_mb[scenario] == max(used_mb.values())
        seconds = time.monotonic() - started_at
        timeout_seconds = self._shop_context.folder.settings.operate.run_timeout_minutes * 60
        if is_largest and sum(used_mb.values()) > self._memory_limit_mb:
            self._stop_run_process(scenario)
            self._resume_with_less_memory(run_id, run, sum(used_mb.values()))
        elif seconds > timeout_seconds:
            self._stop_run_process(scenario)
            self._fail_run(run_id, scenario, f"took longer than {seconds / 60:.0f} minutes")

    def _report_ended_run(self, run_id: str, run: RunRecord, exit_status: int) -> None:
        was_interrupted = run.is_unfinished
        if was_interrupted and exit_status == Conflict.exit_status:
            self._busy_until = time.monotonic() + _BUSY_RETRY_SECONDS  # a person runs or ingests: the queued run waits
        elif was_interrupted:
            self._fail_run(run_id, run.scenario, f"ended with status {exit_status}")
        elif run.state == "failed":
            self._alert_failed_run(run_id, run.scenario, run.note or "")
        else:
            self._echo(f"{run.scenario}: run {run_id} {run.state}, {run.note}")

    def _resume_with_less_memory(self, run_id: str, run: RunRecord, used_mb: float) -> None:
        """Halve the batch size of a run, which resumes after its last finished step, before the system kills it."""
        text = f"took {used_mb:,.0f} MB, {self._memory_limit_mb:,.0f} are allowed"
        if run.halvings >= _MAX_HALVINGS:
            self._fail_run(run_id, run.scenario, f"{text} even in {2**_MAX_HALVINGS} pieces")
            return
        self._shop_context.runs.halve_batch_size(run_id)
        self._echo(f"run {run_id} {text}: it goes on in pieces half as large")

    def _fail_run(self, run_id: str, scenario: str, note: str) -> None:
        self._shop_context.runs.finish(run_id, "failed", note)
        self._alert_failed_run(run_id, scenario, note)

    def _alert_failed_run(self, run_id: str, scenario: str, note: str) -> None:
        next_step = f"correct it, then vetrina retry {run_id}; the champion serves on meanwhile"
        send_alert(self._shop_context, f"run:{scenario}", f"{scenario}: run {run_id} failed ({note})", next_step)

    def _stop_run_processes(self) -> None:
        for scenario in list(self._run_processes):
            self._stop_run_process(scenario)

    def _stop_run_process(self, scenario: str) -> None:
        process = self._run_processes.pop(scenario).process
        process.terminate()
        try:
            process.wait(_TERMINATE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _clean_up(self) -> None:
        try:
            freed_bytes = clean_up(self._shop_context)
        except Conflict:  # somebody is ingesting; tomorrow is soon enough
            return
        if freed_bytes:
            self._echo(f"{freed_bytes / 1e6:.0f} MB of old versions and snapshots removed")


def operate(shop_context: ShopContext, echo: Callable[[str], None], stop: threading.Event) -> None:
    """Take turns until ``stop`` is set. A store that cannot be reached is waited for, longer each time.

    Args:
        shop_context: The shop.
        echo: Receives one line for each thing done.
        stop: Ends the loop after the current turn.
    """
    controller = Controller(shop_context, echo)
    was_leading = None
    wait_seconds = TICK_SECONDS
    controller.start()
    try:
        while not stop.is_set():
            try:
                is_leading = controller.tick()
                if is_leading != was_leading:
                    echo(_LEADING_TEXTS[is_leading])
                was_leading = is_leading
                wait_seconds = TICK_SECONDS
            except Exception as error:  # noqa: BLE001 - nothing but its owner ends the controller
                wait_seconds = min(2 * wait_seconds, _MAX_STORE_RETRY_SECONDS)
                _LOG.error("the turn failed (%s); the next one is in %.0f s", describe_cause(error), wait_seconds)
            stop.wait(wait_seconds)
    finally:
        controller.close()


def _host_name() -> str:
    """The name of this machine, as far as the store has room for it."""
    return socket.gethostname()[:_MAX_HOST_NAME]


def _run_environment() -> dict[str, str]:
    """Environment of a run beside another one: their numerical libraries share the cores, and do not spin while they wait."""
    threads = max(1, (os.cpu_count() or 1) // MAX_PARALLEL_RUNS)
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def _next_step(code: str) -> str:
    """What to do about an alert."""
    return next(text for beginning, text in _NEXT_STEPS.items() if code.startswith(beginning))
