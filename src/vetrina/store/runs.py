"""Queue of training runs and their outcomes.

Runs are queued by an operator, over HTTP or by the controller. What a run does is up to ``pipeline``.
"""

from collections.abc import Collection
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Engine, Row, insert, select, update

from vetrina.core import clock
from vetrina.core.errors import Conflict, NotFound
from vetrina.store.database import lock_log, read
from vetrina.store.tables import runs, stages

RunState = Literal["queued", "running", "done", "failed", "cancelled"]
# Runs of a higher priority start first.
PRIORITY_MANUAL = 10
PRIORITY_FOLLOW_UP = 5
PRIORITY_AUTOMATIC = 0
_UNFINISHED = ("queued", "running")
_REPEATABLE = ("failed", "cancelled")


class RunStore:
    """Runs of one shop. A run is queued, then running, then done, failed or cancelled."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def enqueue(self, scenario: str, reason: str, priority: int = PRIORITY_AUTOMATIC) -> str:
        """Queue a run, unless the scenario has an unfinished one.

        Args:
            scenario: The scenario.
            reason: Why it is trained.
            priority: Runs of a higher priority start first.

        Returns:
            Id of the new or the unfinished run.
        """
        query = select(runs.c.id).where(runs.c.scenario == scenario, runs.c.state.in_(_UNFINISHED))
        with self._engine.begin() as connection:
            lock_log(connection, "runs")
            unfinished_run = connection.execute(query).scalar()
            if unfinished_run:
                return unfinished_run
            row = _new_run(scenario, reason, priority)
            connection.execute(insert(runs).values(**row))
        return row["id"]

    def next_run(self, except_scenarios: Collection[str] = ()) -> str | None:
        """Id of the run to start next: an interrupted run first, then by priority and age.

        Args:
            except_scenarios: Scenarios whose runs are left out.
        """
        for run in self.list_unfinished():
            if run["scenario"] not in except_scenarios:
                return run["id"]
        return None

    def list_unfinished(self) -> list[dict[str, Any]]:
        """Interrupted, running and queued runs, in the order in which they start."""
        order = (runs.c.state.desc(), runs.c.priority.desc(), runs.c.asked)  # "running" sorts before "queued"
        query = select(runs).where(runs.c.state.in_(_UNFINISHED)).order_by(*order)
        with read(self._engine) as connection:
            return [_to_dict(row) for row in connection.execute(query)]

    def start(self, run: str) -> None:
        """Mark a queued run as running; an interrupted run stays running. Raises Conflict if it has ended."""
        started_at = self.get_run(run)["started"] or clock.now()
        if not self._update(run, _UNFINISHED, state="running", started=started_at):
            raise Conflict(run, f"is {self.get_run(run)['state']}", f"vetrina retry {run} queues it again")

    def finish(self, run: str, state: RunState, note: str, follow_up: str = "") -> None:
        """Record the outcome of a run. A run that was cancelled in the meantime stays cancelled.

        Args:
            run: Id of the run.
            state: Final state.
            note: The outcome in a line.
            follow_up: Why another run of the scenario is queued in the same transaction; empty for none.
        """
        is_unfinished = (runs.c.id == run, runs.c.state.in_(_UNFINISHED))
        scenario_query = select(runs.c.scenario).where(runs.c.id == run)
        outcome = {"state": state, "ended": clock.now(), "note": note}
        with self._engine.begin() as connection:
            updated = connection.execute(update(runs).where(*is_unfinished).values(**outcome))
            if follow_up and updated.rowcount:
                scenario = connection.execute(scenario_query).scalar_one()
                connection.execute(insert(runs).values(**_new_run(scenario, follow_up, PRIORITY_FOLLOW_UP)))

    def cancel(self, run: str) -> None:
        """Cancel a queued or running run: it starts no further step. Raises Conflict if it has ended."""
        state = self.get_run(run)["state"]
        if state not in _UNFINISHED:
            raise Conflict(run, f"is {state} already", "vetrina runs lists them")
        self.finish(run, "cancelled", "cancelled by an operator")

    def retry(self, run: str) -> None:
        """Queue a failed or cancelled run again; what it fitted is not fitted again. Raises Conflict for other runs."""
        again = {"state": "queued", "started": None, "ended": None, "note": None, "attempts": runs.c.attempts + 1}
        if not self._update(run, _REPEATABLE, **again):
            rule = f"is {self.get_run(run)['state']}"
            raise Conflict(run, rule, "only a failed or cancelled run can be tried again")

    def halve_batch_size(self, run: str) -> None:
        """Let a run process half as much at once, from its next step on."""
        with self._engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(halvings=runs.c.halvings + 1))

    def get_run(self, run: str) -> dict[str, Any]:
        """A run with its finished stages. Raises NotFound."""
        stage_query = select(stages).where(stages.c.run == run).order_by(stages.c.seq)
        with read(self._engine) as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).first()
            stage_rows = connection.execute(stage_query).all()
        if row is None:
            raise NotFound(run, "is no run of this shop", "vetrina runs lists them")
        finished_stages = [
            {
                "stage": stage.stage,
                "started": stage.started,
                "seconds": stage.seconds,
                "peak_mb": stage.peak_mb,
                "cpu_seconds": stage.cpu_seconds,
            }
            for stage in stage_rows
        ]
        return {**_to_dict(row), "stages": finished_stages}

    def list_runs(self, limit: int = 100) -> list[dict[str, Any]]:
        """Runs, newest first."""
        query = select(runs).order_by(runs.c.asked.desc()).limit(limit)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        return [_to_dict(row) for row in rows]

    def _update(self, run: str, states: Collection[str], **values: Any) -> bool:
        """Change a run that is in one of the states; false if it is not, by now."""
        is_in_state = (runs.c.id == run, runs.c.state.in_(states))
        with self._engine.begin() as connection:
            return connection.execute(update(runs).where(*is_in_state).values(**values)).rowcount == 1


def _new_run(scenario: str, reason: str, priority: int) -> dict[str, Any]:
    return {
        "id": uuid4().hex[:12],
        "scenario": scenario,
        "state": "queued",
        "priority": priority,
        "why": reason,
        "asked": clock.now(),
        "attempts": 1,
        "halvings": 0,
    }


def _to_dict(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)
