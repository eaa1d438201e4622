"""Requests to train, and what became of each: asked by a person, over HTTP, or by the loop."""

from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Engine, Row, insert, select, update

from vetrina.core import clock
from vetrina.core.errors import Conflict, NotFound
from vetrina.store.database import append_alone
from vetrina.store.tables import runs, stages

RunState = Literal["queued", "running", "done", "failed", "cancelled"]
BY_HAND, BY_LOOP = 10, 0
_OPEN = ("queued", "running")


class Runs:
    """All reads and writes about runs of one shop. A run goes queued, running, then done, failed or cancelled."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, scenario: str, why: str, priority: int = BY_LOOP) -> str:
        """Queue a run. One that is queued or running for the scenario already is meant by the same wish: its id."""
        with self._engine.begin() as connection:
            append_alone(connection, "runs")
            query = select(runs.c.id).where(runs.c.scenario == scenario, runs.c.state.in_(_OPEN))
            if there := connection.execute(query).scalar():
                return there
            name = uuid4().hex[:12]
            row = {"id": name, "scenario": scenario, "state": "queued", "priority": priority, "why": why}
            connection.execute(insert(runs).values(asked=clock.now(), attempts=1, halvings=0, **row))
        return name

    def next(self) -> str | None:
        """What should run now: a run that was cut off first, then by priority and age."""
        order = (runs.c.state.desc(), runs.c.priority.desc(), runs.c.asked)  # "running" sorts after "queued"
        with self._engine.connect().execution_options(read_only=True) as connection:
            return connection.execute(select(runs.c.id).where(runs.c.state.in_(_OPEN)).order_by(*order)).scalar()

    def begin(self, run: str) -> None:
        """From queued to running; a run that was cut off begins again. Raises Conflict when it has ended."""
        row = self.get(run)
        if row["state"] not in _OPEN:
            raise Conflict(run, f"is {row['state']}", f"vetrina retry {run} queues it again")
        self._set(run, state="running", started=row["started"] or clock.now())

    def end(self, run: str, state: RunState, note: str) -> None:
        """The outcome in one line. A run that was cancelled meanwhile stays cancelled."""
        with self._engine.begin() as connection:
            here = (runs.c.id == run, runs.c.state.in_(_OPEN))
            connection.execute(update(runs).where(*here).values(state=state, ended=clock.now(), note=note))

    def cancel(self, run: str) -> None:
        """Queued or running to cancelled: it begins no further step. Raises Conflict when it has ended."""
        if self.get(run)["state"] not in _OPEN:
            raise Conflict(run, f"is {self.get(run)['state']} already", "vetrina runs lists them")
        self.end(run, "cancelled", "cancelled by hand")

    def retry(self, run: str) -> None:
        """Failed or cancelled to queued. What its steps finished before is used again."""
        row = self.get(run)
        if row["state"] in (*_OPEN, "done"):
            raise Conflict(run, f"is {row['state']}", "only a failed or cancelled run can be tried again")
        self._set(run, state="queued", started=None, ended=None, note=None, attempts=row["attempts"] + 1)

    def halve(self, run: str) -> None:
        """What the run does at once is halved from its next step on."""
        with self._engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(halvings=runs.c.halvings + 1))

    def get(self, run: str) -> dict[str, Any]:
        """A run with its finished stages. Raises NotFound."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).first()
            done = connection.execute(select(stages).where(stages.c.run == run).order_by(stages.c.seq)).all()
        if row is None:
            raise NotFound(run, "is no run of this shop", "vetrina runs lists them")
        columns = ("stage", "started", "seconds", "peak_mb", "cpu_seconds")
        return {**_row(row), "stages": [{c: getattr(s, c) for c in columns} for s in done]}

    def all(self, most: int = 100) -> list[dict[str, Any]]:
        """Runs, newest first."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(select(runs).order_by(runs.c.asked.desc()).limit(most)).all()
        return [_row(r) for r in rows]

    def _set(self, run: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(**values))


def _row(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)
