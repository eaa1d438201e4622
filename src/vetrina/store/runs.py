"""Queue of training runs and their outcomes.

Runs are queued by an operator, over HTTP or by the controller. What a run does is up to ``pipeline``.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class RunRecord:
    """A training run on record.

    Attributes:
        id: Its id.
        scenario: What is trained.
        state: Where it stands.
        priority: Runs of a higher priority start first.
        asked: When it was queued, in seconds since 1970.
        started: When it started; None before.
        ended: When it ended; None before.
        attempts: How often it was queued.
        halvings: How often its chunk size was halved because memory was short.
        why: Why it was queued.
        note: Its outcome in a line; None before it ended.
    """

    id: str
    scenario: str
    state: RunState
    priority: int
    asked: float
    started: float | None
    ended: float | None
    attempts: int
    halvings: int
    why: str
    note: str | None

    @property
    def is_unfinished(self) -> bool:
        """Whether it is queued or running."""
        return self.state in _UNFINISHED

    @property
    def seconds(self) -> float | None:
        """Wall time from its start to its end; None where it did not start or end."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started


@dataclass(frozen=True)
class ResourceUsage:
    """Wall seconds, CPU seconds and peak memory (megabytes) of a stage."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class FinishedStage:
    """A finished stage of a run.

    Attributes:
        stage: Its name.
        started: When it started, in seconds since 1970.
        seconds: Wall time.
        peak_mb: Peak memory in megabytes.
        cpu_seconds: CPU time; None in records of 0.1.0.
    """

    stage: str
    started: float
    seconds: float
    peak_mb: float
    cpu_seconds: float | None


@dataclass(frozen=True)
class RunDetails(RunRecord):
    """A training run with its finished stages."""

    stages: tuple[FinishedStage, ...]


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
            if run.scenario not in except_scenarios:
                return run.id
        return None

    def list_unfinished(self) -> list[RunRecord]:
        """Interrupted, running and queued runs, in the order in which they start."""
        order = (runs.c.state.desc(), runs.c.priority.desc(), runs.c.asked)  # "running" sorts before "queued"
        query = select(runs).where(runs.c.state.in_(_UNFINISHED)).order_by(*order)
        with read(self._engine) as connection:
            return [RunRecord(**row) for row in connection.execute(query).mappings()]

    def start(self, run: str) -> None:
        """Mark a queued run as running; an interrupted run stays running. Raises Conflict if it has ended."""
        started_at = self.get_run(run).started or clock.now()
        if not self._update(run, _UNFINISHED, state="running", started=started_at):
            raise Conflict(run, f"is {self.get_run(run).state}", f"vetrina retry {run} queues it again")

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
        record = self.get_run(run)
        if not record.is_unfinished:
            raise Conflict(run, f"is {record.state} already", "vetrina runs lists them")
        self.finish(run, "cancelled", "cancelled by an operator")

    def retry(self, run: str) -> None:
        """Queue a failed or cancelled run again; what it fitted is not fitted again. Raises Conflict for other runs."""
        again = {"state": "queued", "started": None, "ended": None, "note": None, "attempts": runs.c.attempts + 1}
        if not self._update(run, _REPEATABLE, **again):
            rule = f"is {self.get_run(run).state}"
            raise Conflict(run, rule, "only a failed or cancelled run can be tried again")

    def halve_batch_size(self, run: str) -> None:
        """Let a run process half as much at once, from its next step on."""
        with self._engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(halvings=runs.c.halvings + 1))

    def get_run(self, run: str) -> RunDetails:
        """A run with its finished stages. Raises NotFound."""
        stage_query = select(stages).where(stages.c.run == run).order_by(stages.c.seq)
        with read(self._engine) as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).mappings().first()
            stage_rows = connection.execute(stage_query).all()
        if row is None:
            raise NotFound(run, "is no run of this shop", "vetrina runs lists them")
        return RunDetails(**row, stages=tuple(_stage_of(stage) for stage in stage_rows))

    def list_runs(self, limit: int = 100) -> list[RunRecord]:
        """Runs, newest first."""
        query = select(runs).order_by(runs.c.asked.desc()).limit(limit)
        with read(self._engine) as connection:
            return [RunRecord(**row) for row in connection.execute(query).mappings()]

    def log_stage(self, run: str, scenario: str, stage: str, started: float, usage: ResourceUsage) -> None:
        """Record a finished stage.

        Args:
            run: Id of the run.
            scenario: The scenario.
            stage: Name of the stage.
            started: Start in seconds since 1970.
            usage: What the stage used.
        """
        row = {"run": run, "scenario": scenario, "stage": stage, "started": started, **asdict(usage)}
        with self._engine.begin() as connection:
            connection.execute(insert(stages).values(**row))

    def list_stages(self, scenario: str) -> list[FinishedStage]:
        """Finished stages of all runs of a scenario, oldest first."""
        query = select(stages).where(stages.c.scenario == scenario).order_by(stages.c.seq)
        with read(self._engine) as connection:
            return [_stage_of(row) for row in connection.execute(query)]

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


def _stage_of(row: Row[Any]) -> FinishedStage:
    return FinishedStage(row.stage, row.started, row.seconds, row.peak_mb, row.cpu_seconds)
