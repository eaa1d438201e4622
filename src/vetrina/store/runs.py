"""Requests to train, and what became of each: asked by a person, over HTTP, or by the loop."""

from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Engine, Row, insert, select, update

from vetrina.core import clock
from vetrina.core.errors import Conflict, NotFound
from vetrina.store.database import lock_log
from vetrina.store.tables import runs, stages

RunState = Literal["queued", "running", "done", "failed", "cancelled"]
PRIORITY_MANUAL = 10
PRIORITY_AUTOMATIC = 0
_UNFINISHED = ("queued", "running")


class RunStore:
    """All reads and writes about runs of one shop. A run goes queued, running, then done, failed or cancelled."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def enqueue(self, scenario: str, reason: str, priority: int = PRIORITY_AUTOMATIC) -> str:
        """Queue a run. One that is queued or running for the scenario already is meant by the same wish: its id."""
        with self._engine.begin() as connection:
            lock_log(connection, "runs")
            query = select(runs.c.id).where(runs.c.scenario == scenario, runs.c.state.in_(_UNFINISHED))
            if there := connection.execute(query).scalar():
                return there
            name = uuid4().hex[:12]
            row = {"id": name, "scenario": scenario, "state": "queued", "priority": priority, "why": reason}
            connection.execute(insert(runs).values(asked=clock.now(), attempts=1, halvings=0, **row))
        return name

    def next_run(self) -> str | None:
        """What should run now: a run that was cut off first, then by priority and age."""
        order = (runs.c.state.desc(), runs.c.priority.desc(), runs.c.asked)  # "running" sorts after "queued"
        with self._engine.connect().execution_options(read_only=True) as connection:
            return connection.execute(select(runs.c.id).where(runs.c.state.in_(_UNFINISHED)).order_by(*order)).scalar()

    def start(self, run: str) -> None:
        """From queued to running; a run that was cut off begins again. Raises Conflict when it has ended."""
        row = self.get_run(run)
        if row["state"] not in _UNFINISHED:
            raise Conflict(run, f"is {row['state']}", f"vetrina retry {run} queues it again")
        self._update(run, state="running", started=row["started"] or clock.now())

    def finish(self, run: str, state: RunState, note: str) -> None:
        """The outcome in one line. A run that was cancelled meanwhile stays cancelled."""
        with self._engine.begin() as connection:
            here = (runs.c.id == run, runs.c.state.in_(_UNFINISHED))
            connection.execute(update(runs).where(*here).values(state=state, ended=clock.now(), note=note))

    def cancel(self, run: str) -> None:
        """Queued or running to cancelled: it begins no further step. Raises Conflict when it has ended."""
        if self.get_run(run)["state"] not in _UNFINISHED:
            raise Conflict(run, f"is {self.get_run(run)['state']} already", "vetrina runs lists them")
        self.finish(run, "cancelled", "cancelled by hand")

    def retry(self, run: str) -> None:
        """Failed or cancelled to queued. What its steps finished before is used again."""
        row = self.get_run(run)
        if row["state"] in (*_UNFINISHED, "done"):
            raise Conflict(run, f"is {row['state']}", "only a failed or cancelled run can be tried again")
        self._update(run, state="queued", started=None, ended=None, note=None, attempts=row["attempts"] + 1)

    def halve_batch_size(self, run: str) -> None:
        """What the run does at once is halved from its next step on."""
        with self._engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(halvings=runs.c.halvings + 1))

    def get_run(self, run: str) -> dict[str, Any]:
        """A run with its finished stages. Raises NotFound."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).first()
            done = connection.execute(select(stages).where(stages.c.run == run).order_by(stages.c.seq)).all()
        if row is None:
            raise NotFound(run, "is no run of this shop", "vetrina runs lists them")
        columns = ("stage", "started", "seconds", "peak_mb", "cpu_seconds")
        return {**_to_dict(row), "stages": [{c: getattr(s, c) for c in columns} for s in done]}

    def list_runs(self, limit: int = 100) -> list[dict[str, Any]]:
        """Runs, newest first."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(select(runs).order_by(runs.c.asked.desc()).limit(limit)).all()
        return [_to_dict(r) for r in rows]

    def _update(self, run: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(**values))


def _to_dict(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)
