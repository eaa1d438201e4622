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
from vetrina.monitor.alarms import SHARED
from vetrina.pipeline.alert import alert
from vetrina.pipeline.clean import clean
from vetrina.pipeline.embed_images import ImageEmbedding
from vetrina.pipeline.loop import Look, look
from vetrina.pipeline.memory import ceiling_mb, resident_mb
from vetrina.pipeline.rollout import move_on
from vetrina.pipeline.workshop import Workshop
from vetrina.store.leases import Lease

TICK_SECONDS, LEASE_SECONDS, CLEAN_SECONDS = 1.0, 15.0, 24 * 3_600.0
_BUSY_SECONDS, _MOST_HALVINGS = 30.0, 3
_LOG = logging.getLogger("vetrina.operate")


class Operator:
    """One controller."""

    def __init__(self, workshop: Workshop, say: Callable[[str], None]) -> None:
        self._workshop, self._say = workshop, say
        self._lease = Lease(workshop.engine, "operate", f"{socket.gethostname()}-{os.getpid()}", LEASE_SECONDS)
        self._refuse_a_second_machine()
        self._ceiling = ceiling_mb(workshop.shop.settings.operate.memory_mb)
        self._images = ImageEmbedding(workshop)
        self._child: tuple[str, subprocess.Popen[bytes], float] | None = None
        self._looked = self._cleaned = self._moved = self._busy_until = 0.0

    def _refuse_a_second_machine(self) -> None:
        """The journal of runs lies beside the store only on PostgreSQL; elsewhere in the shop's folder, on one machine."""
        if self._workshop.engine.dialect.name == "postgresql":
            return
        leader = self._lease.holder()
        if leader and leader.rsplit("-", 1)[0] != socket.gethostname():
            rule = f"is operated by {leader} already, and only one machine can keep the journal of its runs"
            raise BadInput(str(self._workshop.shop.root), rule, "stop that one, or move the store to PostgreSQL")

    def turn(self) -> bool:
        """One turn of everything. False while another controller leads."""
        if self._lease.hold() is None:
            self._stop_child()
            return False
        now, chosen = clock.now(), self._workshop.shop.settings.operate
        if now - self._moved >= chosen.release_seconds:
            self._moved = now
            self._releases(now)
        self._images.turn()
        self._watch_child(now)
        if now - self._looked >= chosen.look_minutes * 60:
            self._looked = now
            self._ask_for_what_is_due(now)
        if self._child is None and now >= self._busy_until:
            self._start_next(now)
        if self._child is None and now - self._cleaned >= CLEAN_SECONDS:
            self._cleaned = now
            self._clean()
        return True

    def close(self) -> None:
        """Stop what this controller started and let another one lead. The run goes on with whoever comes next."""
        self._stop_child()
        self._images.close()
        self._lease.release()

    def _releases(self, now: float) -> None:
        for scenario, known in self._workshop.rollouts.running().items():
            try:
                decision = move_on(self._workshop, known, now)
            except Conflict as moved:
                _LOG.info("%s", moved)
                continue
            if decision.action == "stay":
                continue
            speaks = [r.text for r in decision.reasons if not r.passed] or [r.text for r in decision.reasons]
            text = f"{scenario}: {known.rollout.candidate} {_SAID[decision.action]} ({'; '.join(speaks)})"
            if decision.action in ("roll back", "return"):
                todo = f"vetrina releases {known.rollout.id} shows the numbers; the champion goes on, nothing has to be done"
                alert(self._workshop, f"release:{known.rollout.id}", text, todo)
            else:
                self._say(text)

    def _ask_for_what_is_due(self, now: float) -> None:
        rest = self._workshop.shop.settings.operate.rest_hours * 3_600
        busy = self._workshop.rollouts.running()
        ended = {r["scenario"]: r["ended"] or now for r in reversed(self._workshop.runs.all())}
        for scenario in plugins.names("scenarios"):
            seen = look(self._workshop, scenario)
            self._sound(scenario, seen)
            found, rests = seen.retrain, scenario in busy or now - ended.get(scenario, 0.0) < rest
            if found.retrain and not rests and self._may_begin(now):
                run = self._workshop.runs.ask(scenario, found.why)
                self._say(f"{scenario}: run {run} asked for ({found.why})")

    def _sound(self, scenario: str, seen: Look) -> None:
        """Tell what of a served scenario needs a person; what concerns the whole shop once, whoever saw it."""
        for alarm in seen.alarms if seen.health.version else ():
            todo = next(text for code, text in _TODO.items() if alarm.code.removeprefix(SHARED).startswith(code))
            where = "shop" if alarm.code.startswith(SHARED) else scenario
            alert(self._workshop, f"health:{where}:{alarm.code}", f"{where}: {alarm.text}", todo)

    def _may_begin(self, now: float) -> bool:
        """Whether the clock lets runs begin that nobody asked for; a span may reach over midnight."""
        first, last = self._workshop.shop.settings.operate.start_between
        local = time.localtime(now)
        hour = local.tm_hour + local.tm_min / 60
        return first <= hour < last if first <= last else hour >= first or hour < last

    def _start_next(self, now: float) -> None:
        run = self._workshop.runs.next()
        if run is None or self._workshop.runs.get(run)["scenario"] in self._workshop.rollouts.running():
            return
        command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(self._workshop.shop.root), "run", "--id", run]
        self._child = (run, subprocess.Popen(command, stdout=subprocess.DEVNULL), now)  # noqa: S603
        self._say(f"run {run} begins")

    def _watch_child(self, now: float) -> None:
        if self._child is None:
            return
        run, process, started = self._child
        row = self._workshop.runs.get(run)
        if row["state"] == "cancelled":
            self._stop_child()
        elif process.poll() is None and (taken := resident_mb(process.pid)) > self._ceiling:
            self._stop_child()
            self._go_on_smaller(run, row, taken)
        elif process.poll() is None and now - started > self._workshop.shop.settings.operate.budget_minutes * 60:
            self._stop_child()
            self._ended(run, row["scenario"], f"took longer than {(now - started) / 60:.0f} minutes")
        elif process.poll() is not None:
            self._child = None
            if row["state"] in ("queued", "running") and process.returncode == Conflict.exit_status:
                self._busy_until = now + _BUSY_SECONDS  # a person runs or ingests in front: what was asked for waits
            elif row["state"] in ("queued", "running"):
                self._ended(run, row["scenario"], f"ended with status {process.returncode}")
            elif row["state"] == "failed":
                self._tell_failed(run, row["scenario"], row["note"])
            else:
                self._say(f"run {run}: {row['state']}, {row['note']}")

    def _go_on_smaller(self, run: str, row: dict[str, Any], taken: float) -> None:
        """Before the system kills it: the run goes on after its last finished step and does less at once."""
        text = f"took {taken:,.0f} MB, {self._ceiling:,.0f} are allowed"
        if row["halvings"] >= _MOST_HALVINGS:
            note = f"{text} even in {2**_MOST_HALVINGS} pieces"
            self._ended(run, row["scenario"], note)
            return
        self._workshop.runs.halve(run)
        self._say(f"run {run} {text}: it goes on in pieces half as large")

    def _ended(self, run: str, scenario: str, note: str) -> None:
        self._workshop.runs.end(run, "failed", note)
        self._tell_failed(run, scenario, note)

    def _tell_failed(self, run: str, scenario: str, note: str) -> None:
        todo = f"correct it, then vetrina retry {run}; the champion goes on meanwhile"
        alert(self._workshop, f"run:{scenario}", f"{scenario}: run {run} failed ({note})", todo)

    def _stop_child(self) -> None:
        if self._child is None:
            return
        _, process, _ = self._child
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._child = None

    def _clean(self) -> None:
        try:
            freed = clean(self._workshop)
        except Conflict:  # somebody is ingesting; tomorrow is soon enough
            return
        if freed:
            self._say(f"{freed / 1e6:.0f} MB of old versions and snapshots removed")


def operate(workshop: Workshop, say: Callable[[str], None], stop: threading.Event) -> None:
    """Take turns until ``stop``. A store that is away for a moment is waited for."""
    operator, leading = Operator(workshop, say), None
    try:
        while not stop.is_set():
            try:
                leads = operator.turn()
                if leads != leading:
                    say("this controller leads" if leads else "another controller leads; waiting")
                leading = leads
            except (DBAPIError, OSError) as error:
                _LOG.error("the store cannot be reached (%s); trying again", error)
            except VetrinaError as error:
                _LOG.error("%s", error)
            stop.wait(TICK_SECONDS)
    finally:
        operator.close()


_TODO = {
    "drift": "vetrina status shows how far; if it was not meant, look at the shop or its feed; it alone retrains nothing",
    "dead-feed": "look at whoever sends events to POST /v1/events; releases wait meanwhile",
    "loss": "vetrina status; a new version is trained and judged if monitoring finds it due",
    "calibration": "vetrina status; scores no longer mean what they did, a new version will be fitted to it",
    "skew": "restart workers that are behind and see whether events or products come late",
}
_SAID = {
    "advance": "goes one step further",
    "promote": "is promoted",
    "roll back": "is rolled back",
    "return": "is returned",
}
